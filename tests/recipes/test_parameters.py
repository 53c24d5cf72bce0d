import pytest

from recipes.parameters import parse, text_of

USUAL = """\
masterpiece, a (lighthouse:1.2) in a storm
second line
Negative prompt: lowres, bad hands
and more
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x768, Model: some-model, \
Lora hashes: "a: 12, \\"b\\": 3", Hashes: {"model": "0123", "lora:a": "45"}, Version: v1.6"""


def test_usual_text_is_taken_apart():
    assert parse(USUAL) == {
        "prompt": "masterpiece, a (lighthouse:1.2) in a storm\nsecond line",
        "negative_prompt": "lowres, bad hands\nand more",
        "settings": {
            "Steps": "20",
            "Sampler": "Euler a",
            "CFG scale": "7",
            "Seed": "965400086",
            "Size": "512x768",
            "Model": "some-model",
            "Lora hashes": 'a: 12, "b": 3',
            "Hashes": '{"model": "0123", "lora:a": "45"}',
            "Version": "v1.6",
        },
    }


def test_text_of_ours_is_read_like_the_others():
    recipe = {
        "prompts": [["a cat, 3:00", 3.0], ["blurry", -1.0]],
        "images": [["a.png", 2.0], ["b.png", -1.0]],
        "steps": 9,
        "method": "plms",
        "seed": 2**63 - 1,
        "size": [64, 32],
    }
    assert parse(text_of(recipe)) == {
        "prompt": "a cat, 3:00:3",
        "negative_prompt": "blurry:-1",
        "settings": {
            "Steps": "9",
            "Sampler": "plms",
            "CFG scale": "5",
            "Seed": "9223372036854775807",
            "Size": "64x32",
            "Image prompts": "a.png:2 | b.png:-1",
        },
    }


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat",
        "a cat: asleep",
        "time: 3:00, place: here",
        "Steps to heaven, a: b",
        '"a": 1, "b": 2',
    ],
)
def test_prompt_without_settings_stays_a_prompt(prompt):
    assert parse(prompt) == {"prompt": prompt, "negative_prompt": "", "settings": {}}


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("Steps: 9", {"Steps": "9"}),
        ("Steps: 9,", {"Steps": "9"}),
        ("Steps: 9, Empty: , Seed: 1", {"Steps": "9", "Empty": "", "Seed": "1"}),
        ('Steps: 9, Odd: "no end, Seed: 1', {"Steps": "9", "Odd": '"no end', "Seed": "1"}),
        ('Steps: 9, Odd: "a" b, Seed: 1', {"Steps": "9", "Odd": '"a" b', "Seed": "1"}),
        ("Steps: 9, Steps: 8", {"Steps": "9"}),
        ("Steps: 9\r\n", {"Steps": "9"}),
    ],
)
def test_odd_settings_lose_nothing(text, settings):
    assert parse(f"a cat\n{text}") == {
        "prompt": "a cat",
        "negative_prompt": "",
        "settings": settings,
    }


@pytest.mark.parametrize("part", ['a: "', "[", "a:[", " ", "a", 'x: "a", ', "x: {}, ", ","])
def test_a_megabyte_of_anything_is_done_with_soon(part):
    text = (part * 1_000_000)[:1_000_000]  # in quadratic time this would be hours
    assert parse(text) == {"prompt": text.strip(), "negative_prompt": "", "settings": {}}


def test_of_two_lines_of_settings_the_first_is_no_prompt():
    found = parse("a cat\nSteps: 20, Sampler: a, Seed: 5,\nHires: yes, Note: see, Time: 12:30")
    assert found["prompt"] == "a cat"
    assert found["settings"]["Steps"] == "20"
    assert found["settings"]["Time"] == "12:30"


def test_an_object_of_settings_within_an_object_is_no_graph():
    settings = parse('{"image_params": {"prompt": "a cat", "seed": 7}}')["settings"]
    assert "made by" not in settings
    assert "7" in settings["image_params"]


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted", "settings"),
    [
        (
            '{"prompt": "a cat", "uc": "blurry", "steps": 28}',
            *("a cat", "blurry", {"steps": "28"}),
        ),
        (
            '{"positive_prompt": "a cat", "negative_prompt": "", "seed": 7}',
            *("a cat", "", {"seed": "7"}),
        ),
        (
            '[{"prompt": "a cat"}, 2]',
            *("", "", {"made by": "a list of 2 parts, of another tool"}),
        ),
    ],
)
def test_json_of_other_tools_is_told_as_what_it_is(text, wanted, unwanted, settings):
    found = parse(text)
    assert (found["prompt"], found["negative_prompt"]) == (wanted, unwanted)
    assert settings.items() <= found["settings"].items()
