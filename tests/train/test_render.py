import json
from pathlib import Path

import numpy as np
import pytest
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image

from models.zoo import CLIPS
from train import render
from train.first import CORE, FIRST_GROUNDS, FIRST_THINGS
from train.vocabulary import GROUND_WORDS, GROUNDS, NAMES, THINGS

installed = pytest.mark.skipif(
    not (Path(render.FONT).exists() and Path(render.ANNOTATIONS).exists()),
    reason="needs fonts-noto-color-emoji and unicode-cldr-core",
)


@pytest.fixture(scope="module")
def things():
    return render.read_things()


def read(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@installed
def test_same_seed_gives_the_same_folder_and_another_seed_another(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        render.main(["--output", str(tmp_path / name), "--count", "30", "--seed", str(seed)])
    a, b, c = (read(tmp_path / name) for name in "abc")
    assert a == b
    assert a.keys() == c.keys()
    assert a != c


@installed
def test_folder_never_shows_what_was_held_out(tmp_path, things):
    count = 3 * len(things)
    render.main(["--output", str(tmp_path), "--count", str(count)])
    held_out = {
        tuple(p) for p in json.loads((tmp_path / "vocabulary.json").read_text())["held_out"]
    }
    assert len(held_out) == pytest.approx(0.08 * len(things) * len(GROUNDS), abs=1)
    names = {value: name for name, value in GROUNDS.items()}
    shown = {}
    for i in range(count):
        with Image.open(tmp_path / f"{i:06}.png") as image:
            ground = names[image.getpixel((0, 0))]  # no sprite reaches a corner
        assert (things[i % len(things)].name, ground) not in held_out
        shown.setdefault(things[i % len(things)].name, set()).add(ground)
    assert len(shown) == len(THINGS)


@installed
def test_every_thing_keeps_some_ground_and_every_word_means_one_thing(things):
    held_out = render.held_out_pairs(things, seed=0)
    left = {t.name: len(GROUNDS) - sum(n == t.name for n, _ in held_out) for t in things}
    assert min(left.values()) >= 3 * len(GROUNDS) // 4
    words = [word for t in things for word in {t.name, *t.keywords}]
    assert len(words) == len(set(words))


def test_vocabulary_is_wide_and_its_names_are_plain():
    assert len(set(NAMES)) == len(THINGS) == 328
    assert len(GROUNDS) == 18
    assert list(THINGS)[: len(FIRST_THINGS)] == list(FIRST_THINGS)
    assert all(name == name.lower() and name for name in NAMES)


def test_pairs_that_the_first_weights_never_saw_stay_held_out():
    # And no others of their things and grounds.
    first = NAMES[: len(FIRST_THINGS)]
    held_out = render.held_out_pairs([render.Thing("", name, ()) for name in NAMES], seed=0)
    old = [pair for pair in held_out if pair[0] in first and pair[1] in FIRST_GROUNDS]
    assert len(old) == 84
    assert {("alarm clock", "black"), ("alien", "white"), ("yellow heart", "green")} <= set(old)
    of_first = [render.Thing("", name, ()) for name in first]
    assert old == render.held_out_pairs(of_first, seed=0, grounds=FIRST_GROUNDS)


@installed
def test_word_that_the_vocabulary_gives_to_a_thing_is_no_other_things(things):
    words = {word: thing.name for thing in things for word in (thing.name, *thing.keywords)}
    for emoji, given in THINGS.items():
        name, *others = given.split("|")
        for word in (name, *others):
            assert words[word] == name, (emoji, word)
    assert (words["kitty"], words["happy face"]) == ("cat", "smiling face")
    assert (words["football"], words["ufo"]) == ("american football", "flying saucer")


@installed
def test_every_caption_fits_the_clip(things):
    tokenizer = SimpleTokenizer()
    longest = CLIPS["emoji"].config["text_cfg"]["context_length"] - 2  # its start and its end
    others = [word for words in GROUND_WORDS.values() for word in words]
    longest_ground = render.article(max([*GROUNDS, *others], key=len))
    for thing in things:
        for word in (thing.name, *thing.keywords):
            two = f"a pair of {render.plural(word)}"
            line = f"{two} on {longest_ground} background"
            assert len(tokenizer.encode(line)) <= longest, line


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("cat", "cats"),
        ("fox", "foxes"),
        ("fairy", "fairies"),
        ("monkey", "monkeys"),
        ("teddy bear", "teddy bears"),
        ("maple leaf", "maple leaves"),
        ("mouse", "mice"),
        ("sheep", "sheep"),
        ("jeans", "jeans"),
        ("blueberries", "blueberries"),
        ("potato", "potatoes"),
        ("cherry", "cherries"),
        ("tomato", "tomatoes"),
        ("sunglasses", "sunglasses"),
        ("slice of pizza", "slices of pizza"),
        ("pair of eyes", "pairs of eyes"),
    ],
)
def test_plural_is_what_people_write(one, two):
    assert render.plural(one) == two


def test_every_plain_render_is_among_all_of_them():
    picture = Image.new("RGBA", (100, 100))
    picture.paste((200, 30, 60, 255), (10, 20, 90, 70))
    known = {image.tobytes() for image in render.all_plain(picture, (1, 2, 3), 64)}
    assert 20 < len(known) < 40
    for seed in range(60):
        rng = render.random.Random(seed)
        assert render.compose(picture, (1, 2, 3), 64, "plain", rng).tobytes() in known


@installed
def test_things_differ_from_each_other_at_a_glance(things):
    ground = GROUNDS["white"]
    rng = [render.random.Random(0) for _ in things]
    pictures = np.stack(
        [
            np.asarray(render.compose(render.sprite(t.emoji), ground, 64, "plain", r), float)
            for t, r in zip(things, rng, strict=True)
        ]
    )
    assert np.ptp(pictures, axis=(1, 2)).max(axis=1).min() > 50  # none is blank
    flat = pictures.reshape(len(things), -1)
    for i in range(len(things) - 1):
        assert np.sqrt(np.mean((flat[i + 1 :] - flat[i]) ** 2, axis=1)).min() > 10


def test_captions_name_the_thing_in_plain_words():
    thing = render.Thing("🍎", "red apple", ("apple",))
    rng = render.random.Random(0)
    plain = {line for _ in range(99) for line in render.captions(thing, "blue", "plain", rng)}
    assert {"a red apple", "an apple", "a red apple on a blue background"} <= plain
    small = render.captions(thing, "blue", "small", rng, count=50)
    assert {line.removeprefix("a ").split()[0] for line in small} == {"small", "tiny", "little"}
    two = render.captions(thing, "blue", "two", rng, count=50)
    assert all(" apples" in line or line.endswith("apples") for line in two)
    assert {line.split()[0] for line in two} == {"two", "2", "a"}
    assert 0.5 < sum("blue" in line for line in small + two) / 100 < 0.9

    gray = render.captions(thing, "gray", "plain", rng, count=99)
    assert {"gray", "grey"} <= set(" ".join(gray).split())


@installed
def test_size_is_that_of_the_images_and_things_stay_in_the_middle(tmp_path):
    for name in ("64", "96x64", "64x96", "128"):
        render.main(["--output", str(tmp_path / name), "--count", "9", "--size", name])
    folders = {name: tmp_path / name for name in ("64", "96x64", "64x96", "128")}
    for i in range(9):
        found = {n: np.asarray(Image.open(f / f"{i:06}.png")) for n, f in folders.items()}
        assert {n: a.shape[:2] for n, a in found.items()} == {
            "64": (64, 64),
            "96x64": (64, 96),
            "64x96": (96, 64),
            "128": (128, 128),
        }
        assert np.array_equal(found["96x64"][:, 16:80], found["64"])
        assert np.array_equal(found["64x96"][16:80], found["64"])
        assert (found["96x64"][:, :16] == found["64"][0, 0]).all()
        texts = {(f / f"{i:06}.txt").read_text() for f in folders.values()}
        assert len(texts) == 1
    with pytest.raises(SystemExit):
        render.main(["--output", str(tmp_path / "no"), "--size", "64x64x64"])


@installed
def test_folder_lists_its_things_and_grounds(tmp_path):
    render.main(["--output", str(tmp_path), "--count", "2"])
    listed = json.loads((tmp_path / "vocabulary.json").read_text())
    assert [thing["name"] for thing in listed["things"]] == NAMES
    assert list(listed["grounds"]) == list(GROUNDS)


@installed
def test_core_is_the_simple_things_one_to_an_image(tmp_path):
    render.main(["--output", str(tmp_path), "--count", str(2 * len(CORE)), "--core"])
    vocabulary = json.loads((tmp_path / "vocabulary.json").read_text())
    assert sorted(thing["name"] for thing in vocabulary["things"]) == sorted(CORE)
    lines = [line for p in tmp_path.glob("*.txt") for line in p.read_text().splitlines()]
    assert len(lines) == 4 * 2 * len(CORE)
    assert not [line for line in lines if line.startswith(("two ", "small ", "a small "))]


@installed
def test_kinds_are_those_that_are_asked_for(tmp_path):
    render.main(["--output", str(tmp_path), "--count", "12", "--kinds", "two"])
    lines = [line for p in tmp_path.glob("*.txt") for line in p.read_text().splitlines()]
    assert len(lines) == 4 * 12
    assert all(line.startswith(tuple(render.TWO)) for line in lines)
    with pytest.raises(SystemExit, match="2"):
        render.main(["--output", str(tmp_path / "no"), "--kinds", "two", "--core"])


def test_missing_font_is_one_line_that_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(render, "FONT", tmp_path / "none.ttf")
    with pytest.raises(SystemExit, match=r"^\S+none.ttf is missing: install it .*fonts-noto"):
        render.main(["--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
