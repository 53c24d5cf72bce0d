"""Jobs: what lines and the command line come to, and batches of images of one shape."""

import io
import sys
from types import SimpleNamespace

import pytest
from PIL import Image

from cli.scripts import CFG
from jobs import job_lines
from jobs import jobs as jobs_module
from jobs.jobs import Jobs, batches, items, shape_of
from media.saving import save_png
from recipes import recipe as recipes
from values.errors import UserError

FLAGS = ("--model", "emoji")


@pytest.fixture
def grouped(read):
    """A function (text of a job file, size) -> batches as lists of (line, seed)."""

    def call(text, size):
        found = batches(items(read(text)), size, CFG)
        return [[(item.job.line, item.seed) for item in batch] for batch in found]

    return call


def test_what_a_line_does_not_say_the_command_line_does(read):
    text = "'a' 'cat' --steps 7\n'a dog' --seeds 3\n"
    jobs = read(text, "--steps", "9", "-n", "2", "oil:1").all
    assert [job.image.steps for job in jobs] == [7, 9]
    assert [len(job.image.seeds) for job in jobs] == [2, 1]
    assert [p.text for p in jobs[0].image.prompts] == ["a", "cat", "oil"]


def test_standard_input_is_read_once(monkeypatch):
    stdin = SimpleNamespace(buffer=io.BytesIO(b"cat\ndog --seed 3\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    jobs = Jobs(CFG, [*FLAGS, "--from-file", "-", "--dry-run"])
    assert [[item.job.line for item in items(jobs)] for _ in range(3)] == [[1, 2]] * 3


def test_a_file_and_a_png_are_two_sources(read, tmp_path):
    (tmp_path / "x.png").touch()
    with pytest.raises(UserError, match="--from-file and --from-png exclude each other"):
        read("cat", "--from-png", "x.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_picture_is_no_job_file(suffix, tmp_path):
    path = tmp_path / f"photo.{suffix}"
    Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(UserError, match=r"is a picture and no job file: --from-png .* draws it"):
        Jobs(CFG, [*FLAGS, "--from-file", str(path)])


def test_each_line_is_read_and_resolved_once(read, monkeypatch):
    calls = []

    def counted(module, name):
        real = getattr(module, name)

        def call(*arguments, **options):
            calls.append(name)
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, call)

    counted(job_lines, "parse")
    counted(jobs_module, "resolve_image")
    jobs = read("cat\n'dog' --steps 5\n" * 50)
    for batch in batches(items(jobs), 8, CFG):
        assert batch
    assert sorted(calls) == ["parse"] * 100 + ["resolve_image"] * 100


# Images.


def test_images_are_numbered_through_the_run(read):
    found = list(items(read("cat --seed 0 -n 2\ndog --seeds 7\n")))
    assert [item.index for item in found] == [0, 1, 2]
    assert [item.number for item in found] == [0, 1, 0]
    assert [item.fields["prompt"] for item in found] == ["cat", "cat", "dog"]


def test_choices_are_those_of_the_seed_and_recorded(read):
    found = list(items(read("'a {cat,dog}' -n 40\n")))
    texts = [item.prompts[0].text for item in found]
    assert set(texts) == {"a cat", "a dog"}
    assert [item.fields["prompt"] for item in found] == texts
    again = list(items(read("'a {cat,dog}' --seed 5\n")))
    assert again[0].prompts[0].text == texts[5]


def test_texts_that_become_one_are_one_prompt(read):
    (item,) = items(read("'{cat,cat}:2' cat:1\n"))
    assert [(p.text, p.weight) for p in item.prompts] == [("cat", 3)]


# Batches.


def test_images_of_many_lines_fill_a_batch(read):
    jobs = read("".join(f'"thing {i}" --seed {i}\n' for i in range(7)))
    assert [len(batch) for batch in batches(items(jobs), 3, CFG)] == [3, 3, 1]


def test_what_differs_in_shape_is_drawn_apart(grouped):
    text = "cat\ndog --steps 5\nfox\nbee --size 32 32\n'owl' 'bird'\nant:1\ncat --steps 5\n"
    assert grouped(text, 2) == [[(1, 0), (3, 0)], [(2, 0), (7, 0)], [(4, 0)], [(5, 0)], [(6, 0)]]


def test_weights_and_texts_may_differ_within_a_batch(grouped):
    assert len(grouped("cat:2\ndog:7\nfox:1.5\n", 8)) == 1


def test_weights_with_and_without_a_guidance_interval_are_drawn_apart(grouped):
    lines = "cat:2\nfox:-1\n'cat:2' --guidance-interval 0.17 1\n"
    assert grouped(lines, 8) == [[(1, 0), (2, 0)], [(3, 0)]]


def test_a_noised_image_shares_a_batch_with_others_of_its_timestep(read, tmp_path):
    text = "'cat' --init a.png -st 0.5\n'cat' -st 0.5\n'cat' -st 0.7\n'cat' --init b.png -st 0.5\n"
    shapes = [shape_of(item, CFG) for item in items(read(text))]
    assert shapes[0] == shapes[3]
    assert shapes[1] == shapes[2] != shapes[0]


def test_a_thousand_shapes_do_not_wait_for_each_other(monkeypatch):
    monkeypatch.setattr(jobs_module, "shape_of", lambda item, script: item)
    pulled = 0

    def source():
        nonlocal pulled
        for i in range(1000):
            pulled += 1
            yield i

    for taken, _ in enumerate(batches(source(), 8, CFG)):
        assert pulled - taken <= jobs_module.MAX_OPEN + 1
    assert (pulled, taken) == (1000, 999)


def test_noise_for_no_picture_is_refused():
    with pytest.raises(UserError, match="--starting-timestep is of --init"):
        Jobs(CFG, [*FLAGS, "cat", "-st", "0.5"])


def test_a_misspelt_flag_is_no_prompt_even_with_a_space_in_its_value():
    with pytest.raises(UserError, match="did you mean --size"):
        Jobs(CFG, [*FLAGS, "cat", "--szie=64 64"])


# Negative prompts, weights and seeds that nobody chose.


def texts(*argv, script=CFG):
    jobs = Jobs(script, [*argv, "--model", "emoji"])
    return [[(p.text, p.weight) for p in job.image.prompts] for job in jobs.all]


def test_negative_is_a_prompt_with_a_minus():
    both = [("a cat", 3), ("blurry", -1), ("a dog", -0.5)]
    assert texts("a cat", "--negative", "blurry", "--negative", "a dog:0.5") == [both]
    assert texts("--negative", "blurry", "a cat") == [both[:2]]
    assert texts("a cat", "blurry:1", "--negative", "blurry") == [[("a cat", 3)]]
    # It takes one text: what follows is a prompt of its own, wherever the others stand.
    ugly = [("a cat", 3), ("ugly", 3), ("blurry", -1)]
    assert texts("a cat", "--negative", "blurry", "ugly") == [ugly]
    assert sorted(texts("--negative", "blurry", "ugly", "a cat")[0]) == sorted(ugly)
    with pytest.raises(UserError, match="has a minus twice"):
        texts("a cat", "--negative", "blurry:-1")


def test_negative_and_weight_are_added_to_a_recipe(tmp_path):
    recipe = {"script": CFG.name, "model": "emoji", "prompts": [["a {b,c}", 2.0]], "method": "ab23"}
    save_png(Image.new("RGB", (8, 8)), tmp_path / "a.png", recipes.texts(recipe))
    given = ("--from-png", str(tmp_path / "a.png"))
    assert texts(*given, "--negative", "d", "--weight", "4") == [[("a {b,c}", 4), ("d", -1)]]
    jobs = Jobs(CFG, [*given, "--negative", "{d,d}"])
    assert [[p.text for p in item.prompts] for item in items(jobs)] == [["a {b,c}", "d"]]
    assert texts(*given, "--sweep", "weight=1,5") == [[("a {b,c}", w)] for w in (1, 5)]
    # The interval is that of the new weight: at 1 nothing is guided away from anything.
    assert Jobs(CFG, [*given, "--weight", "1"]).all[0].image.guidance_interval == [0, 1]


def test_weight_is_that_of_the_first_prompt():
    assert texts("a:2", "b:1", "--weight", "5") == [[("a", 5), ("b", 1)]]
    assert texts("a", "--sweep", "weight=1,3") == [[("a", 1)], [("a", 3)]]
    with pytest.raises(UserError, match="--weight is of a prompt"):
        texts("--weight", "5")


def test_tables_and_json_give_weights_and_negatives(read):
    jobs = read("prompt,weight,negative\na,2,b\nc,,\n")
    assert [[(p.text, p.weight) for p in job.image.prompts] for job in jobs.all] == [
        [("a", 2), ("b", -1)],
        [("c", 3)],
    ]


def test_random_seed_is_drawn_and_told(capsys):
    (job,) = Jobs(CFG, ["a cat", "--seed", "random", "-n", "2", "--model", "emoji"]).all
    first, second = job.image.seeds
    assert (second, capsys.readouterr().err) == (first + 1, f"seed: {first}\n")
    (other,) = Jobs(CFG, ["a cat", "--seed", "random"]).all
    assert list(other.image.seeds) != [first]
    with pytest.raises(UserError, match="write random"):
        Jobs(CFG, ["a cat", "--seed", "-1"])
