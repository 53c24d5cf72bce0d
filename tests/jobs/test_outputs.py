import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from jobs.outputs import Policy, check_folder, plan
from media.saving import publish
from recipes import recipe as recipes
from values.errors import UserError
from values.names import Template, slug

ROOT = Path(__file__).parents[2]
PICTURE = Image.new("RGB", (4, 4))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def images(count, **fields):
    return [{"index": i, "seed": 100 + i, "prompt": "a cat", **fields} for i in range(count)]


def run(template, count=1, policy=None, **fields):
    return [
        str(publish(PICTURE, target, {"seed": target.image["seed"]}))
        for target in plan(template, images(count, **fields), policy)
    ]


def refusal(function, *arguments):
    with pytest.raises(UserError) as refused:
        function(*arguments)
    message = str(refused.value)
    assert message.isprintable()
    assert len(message) < 400
    return message


# Templates


def test_fields_are_filled_in():
    template = Template("runs/{model}/{prompt:.3}_{seed:04}_{index}{{x}}.PNG")
    image = {"index": 3, "seed": 42, "prompt": "two cats", "model": "cc12m_1", "other": None}
    assert template.path(image) == Path("runs/cc12m_1/two_0042_3{x}.PNG")


@pytest.mark.parametrize(
    "field",
    [
        "{}", "{0}", "{lines}", "{Index}", "{index.__class__}", "{index[0]}", "{prompt.x}",
        "{index!r}", "{index:>9}", "{index:999999999}", "{index:x}", "{index:.3}", "{index:{seed}}",
        "{prompt:5}", "{prompt:.0}", "{prompt:.999}", "{index", "index}", "{index:05}}", "{ index}",
        "{seed:٣}", "{index!}", "{\x1b[2J}",
    ],
)  # fmt: skip
def test_other_fields_are_refused_with_the_list_of_fields(field):
    message = refusal(Template, f"out_{field}.png")
    for name in ("{index}", "{seed}", "{prompt}", "{model}"):
        assert name in message


@pytest.mark.parametrize(
    "text", ["", "out", "out.jpg", ".png", "folder/.png", "out.png/", "a.png\n"]
)
def test_only_png_names_are_taken(text):
    assert ".png" in refusal(Template, text)


@pytest.mark.parametrize("text", ["\ud800.png", "{index}\udbff.png"])
def test_only_what_the_file_system_can_spell_is_taken(text):
    assert "not valid Unicode" in refusal(Template, text)
    assert Template("\udcff.png").path({"index": 0}) == Path(os.fsdecode(b"\xff.png"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a cat, 3:00", "a_cat_3_00"),
        ("../../etc/passwd", "etc_passwd"),
        (r"..\..\x", "x"),
        ("-rf *", "rf"),
        (".hidden", "hidden"),
        ("v1.5 well-made", "v1_5_well-made"),
        ("", "image"),
        ("🚀?!", "image"),
        ("NUL", "NUL_"),
        ("com1", "com1_"),
        ("COM¹", "COM1_"),
        ("nul.png", "nul_png"),
        ("Füße für 猫", "Füße_für_猫"),
        ("हिन्दी", "हिन्दी"),
        ("a\x00b\x1bc\u202ed\ud800", "a_b_c_d"),
        ("℀", "a_c"),  # a compatibility character that stands for a/c
    ],
)
def test_prompts_become_safe_names(text, expected):
    assert slug(text) == expected


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{prompt:.3}.png", "nul_.png"),
        ("{prompt:.5}.png", "null.png"),
        ("{prompt:.4}x.png", "nullx.png"),
    ],
)
def test_cut_prompts_are_safe_names_too(template, name):
    image = {"index": 7, "prompt": "null pointer"}
    assert Template(template).path(image) == Path(name)
    assert Template(template).numbered(image).fullmatch(name)


@pytest.mark.parametrize("text", ["x" * 999, "é" * 999, "猫" * 999, "a " * 999, "𝒳猫é" * 99])
def test_slugs_are_at_most_80_bytes(text):
    assert 70 < len(slug(text).encode()) <= 80


def test_no_character_gets_out_of_the_folder():
    for code in range(sys.maxunicode // 8):  # all of the common planes
        name = slug(f"{chr(code)}..{chr(code)}")
        assert name
        assert name[0] not in "-."
        assert not set(name) & set('/\\:*?"<>|. \0\n')


# Planning


def test_names_follow_the_images():
    expected = [Path("out/100.png"), Path("out/101.png")]
    assert [Template("out/{seed}.png").path(image) for image in images(2)] == expected
    assert [target.path for target in plan("out/{seed}.png", images(2))] == expected
    assert os.listdir() == []  # nothing is made before there is an image


def test_two_images_of_one_name_are_refused():
    message = refusal(plan, "{prompt}.png", images(2))
    assert "a_cat.png" in message
    assert "{index}" in message
    # They would meet on a file system that ignores case.
    both = [{"index": 0, "prompt": "Cat"}, {"index": 1, "prompt": "cat"}]
    refusal(plan, "{prompt}.png", both, Policy.OVERWRITE)
    assert len(plan("{prompt}.png", images(1))) == 1


def test_existing_files_stop_a_run_before_any_work():
    run("x_{index}.png", 3)
    message = refusal(plan, "x_{index}.png", images(5))
    assert "x_0.png and 2 more already exist" in message
    assert "--skip-existing" in message
    assert "--overwrite" in message
    os.remove("x_0.png")
    os.remove("x_1.png")
    assert "x_2.png already exists" in refusal(plan, "x_{index}.png", images(3))


def test_links_that_lead_nowhere_count_as_existing():
    os.symlink("nowhere", "x.png")
    assert "x.png already exists" in refusal(plan, "x.png", images(1))


def test_finished_images_are_skipped():
    run("x_{index}.png", 2)
    before = Path("x_0.png").stat()
    targets = plan("x_{index}.png", images(4), "skip")
    assert [target.image["index"] for target in targets] == [2, 3]
    assert run("x_{index}.png", 4, "skip") == ["x_2.png", "x_3.png"]
    assert Path("x_0.png").stat().st_mtime_ns == before.st_mtime_ns


def test_overwrite_replaces():
    Path("x.png").write_bytes(b"old")
    assert run("x.png", 1, "overwrite") == ["x.png"]
    assert recipes.read("x.png") == {"seed": 100, "index": 0}


def test_names_that_cannot_be_made_are_refused():
    os.mkdir("folder.png")
    assert "is a folder" in refusal(plan, "folder.png", images(1), "overwrite")
    assert "too long" in refusal(plan, "x" * 252 + ".png", images(1))
    Path("file").touch()
    assert "is not a folder" in refusal(plan, "file/x.png", images(1))
    assert "is not a folder" in refusal(plan, "file/a/b/x.png", images(1))
    os.symlink("nowhere", "link")
    assert "is not a folder" in refusal(plan, "link/x.png", images(1))
    assert "{index}" in refusal(plan, "x.png", images(1), "number")
    assert "{index}" in refusal(plan, "{index}/{index}.png", images(1), "number")


def test_folder_that_cannot_be_written_is_refused_early(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    assert "cannot be written" in refusal(check_folder, "new/folder")
    assert "cannot be written" in refusal(plan, None, images(1))


def test_missing_folders_are_made_at_the_first_image():
    assert run("a/b/{seed}/x.png", 2) == ["a/b/100/x.png", "a/b/101/x.png"]


# Publishing


def test_default_names_go_on_at_the_next_free_number():
    assert run(None, 2) == ["out_00000.png", "out_00001.png"]
    assert run(None, 2) == ["out_00002.png", "out_00003.png"]
    os.remove("out_00000.png")  # a gap stays one: images of two runs do not mix
    Path("out_00007.png").touch()
    for other in ("out_00099.jpg", "xout_00099.png", "out_x.png", f"out_{'9' * 99}.png"):
        Path(other).touch()
    assert run(None, 1) == ["out_00008.png"]
    Path("out_99999.png").touch()
    assert run(None, 1) == ["out_100000.png"]


def test_metadata_holds_the_number_of_the_file():
    run(None, 3)
    run(None, 1)
    assert recipes.read("out_00003.png") == {"seed": 100, "index": 3}


def test_other_templates_can_be_numbered_too():
    template = "{prompt}/{seed}_(a+b)_{index:03}.png"
    assert run(template, 1, "number") == ["a_cat/100_(a+b)_000.png"]
    assert run(template, 1, "number") == ["a_cat/100_(a+b)_001.png"]


def test_file_that_appears_after_planning_is_not_replaced():
    for policy in ("refuse", "skip", "number"):
        target = plan(None if policy == "number" else f"{policy}.png", images(1), policy)[0]
        theirs = Path("out_00000.png" if policy == "number" else f"{policy}.png")
        theirs.write_bytes(b"theirs")
        if policy == "refuse":
            assert "appeared while" in refusal(publish, PICTURE, target, {})
        else:
            expected = Path("out_00001.png") if policy == "number" else None
            assert publish(PICTURE, target, {}) == expected
        assert theirs.read_bytes() == b"theirs"


def test_taken_number_that_the_folder_does_not_list_is_passed_over(monkeypatch):
    # As on a file system that ignores case, where OUT_00000.PNG is in the way.
    target = plan(None, images(1))[0]
    run(None, 2)
    monkeypatch.setattr(os, "listdir", lambda folder: [])
    assert publish(PICTURE, target, {}) == Path("out_00002.png")


def test_disk_errors_are_one_line():
    target = plan("a/x.png", images(1))[0]
    Path("a").touch()
    assert "cannot be written" in refusal(publish, PICTURE, target, {})


def test_several_runs_at_once_share_a_folder(tmp_path):
    code = (
        "import sys; from PIL import Image\n"
        "from jobs.outputs import plan; from media.saving import publish\n"
        "sys.stdin.readline()\n"
        "picture, seed = Image.new('RGB', (4, 4)), int(sys.argv[1])\n"
        "images = [{'index': i, 'seed': seed + i} for i in range(25)]\n"
        "for target in plan(None, images): publish(picture, target, {'seed': target.image['seed']})"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(1000 * i)],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for i in range(4)
    ]
    for process in runs:
        process.stdin.write(b"\n")
        process.stdin.flush()
    assert [process.wait(timeout=1000) for process in runs] == [0] * 4
    for process in runs:
        process.stdin.close()
    assert sorted(os.listdir()) == [f"out_{i:05}.png" for i in range(100)]
    found = [recipes.read(f"out_{i:05}.png") for i in range(100)]
    assert [recipe["index"] for recipe in found] == list(range(100))
    seeds = [recipe["seed"] for recipe in found]
    assert sorted(seeds) == [1000 * i + j for i in range(4) for j in range(25)]
