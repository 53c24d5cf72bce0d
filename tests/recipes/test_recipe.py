import contextlib
import json
import random
import struct
import zlib

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from media.images import open_image
from media.saving import save_png
from recipes import info, parameters, png_texts
from recipes import recipe as recipes
from values.errors import UserError

RECIPE = {
    "script": "cfg_sample",
    "prompts": [["a cat", 3.0]],
    "images": [["photo.png", 1.5]],
    "region": [["a hat", 2.0, "@0-0.6", "left.png"], ["a cat", -1.0, "", "right.png"]],
    "soft_edge": 0.2,
    "seed": 2**63 - 1,
    "index": 7,
    "steps": 50,
    "method": "plms",
    "schedule": "spliced",
    "eta": 0.5,
    "tolerance": 0.01,
    "coarse_until": 0.3,
    "starting_timestep": 0.9,
    "max_timestep": 1,
    "init": "start.png",
    "source": [["a dog", 1.0]],
    "mask": "mask.png",
    "direct": True,
    "task": ["outpaint", "colourise"],
    "pad": [8, 0, 8, 16],
    "factor": 2,
    "blur": 1.5,
    "noise": 25,
    "by": "mmps",
    "travel": 3,
    "strength": 0.5,
    "latent": "noise.safetensors",
    "latent_index": 2,
    "variation": "b.safetensors:0.25-1",
    "morph": [["a cat", 3.0], ["a fox", 2.0]],
    "frames": 24,
    "frame_batches": [[2, 0], [2, 1]],
    "batch": [4, 3],
    "unpacked": True,
    "chunk": 2,
    "size": [256, 192],
    "model": "cc12m_1_cfg",
    "model_sha256": "4fc95ee1b3205a3f7422a07746383776e1dbc367eaf06a5b658ad351e77b7bda",
    "checkpoint": "cc12m_1_cfg.pth",
    "clip": "ViT-B-16",
    "clip_sha256": "5" * 64,
    "clip_guidance_scale": 500,
    "cutn": 16,
    "cut_pow": 0.5,
    "clip_model": "ViT-B-16",
    "guiding_clip_sha256": "6" * 64,
    "guide_every": 2,
    "guidance": "rescale:0.7",
    "guide": "weak.safetensors",
    "guide_sha256": "7" * 64,
    "files_sha256": {"photo.png": ["8" * 64]},
    "guidance_interval": [0.1, 0.9],
    "low_memory": True,
    "timesteps_of_latent": True,
    "dtype": "float32",
    "device": "cuda",
    "software": "v-diffusion 1.0",
}


def written(tmp_path, recipe):
    path = tmp_path / "a.png"
    save_png(Image.new("RGB", (4, 4)), path, recipes.texts(recipe), overwrite=True)
    return path


def with_chunk(tmp_path, text, key=recipes.KEY):
    path = tmp_path / "a.png"
    save_png(Image.new("RGB", (4, 4)), path, {key: text}, overwrite=True)
    return path


def refusal(path):
    with pytest.raises(UserError) as refused:
        recipes.read(path)
    message = str(refused.value)
    assert message.isprintable()
    assert len(message) < 400
    return message


def chunks(path):
    data, place = path.read_bytes(), 8
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        yield kind, data[place : place + 12 + length]
        place += 12 + length


def test_recipe_comes_back_as_it_was_written(tmp_path):
    assert set(RECIPE) == set(recipes.fields())
    assert recipes.read(written(tmp_path, RECIPE)) == RECIPE
    assert recipes.read(written(tmp_path, {})) == {}


def test_every_field_can_be_shown(tmp_path):
    shown = dict(info.rows(info.find(written(tmp_path, RECIPE))))
    assert set(shown) == {name.replace("_", " ") for name in RECIPE}
    assert shown["files sha256"] == f"photo.png {'8' * 64}"


def test_any_prompt_comes_back(tmp_path):
    source = random.Random(0)
    kinds = [(0, 32), (32, 127), (127, 256), (0x590, 0x700), (0x3040, 0x9FFF), (0x1F300, 0x1FAFF)]
    for _ in range(50):
        text = "".join(chr(source.randrange(*source.choice(kinds))) for _ in range(40))
        recipe = {"prompts": [[text, source.gauss(0, 3)], ["\x00\x1b[2J\u202e\ud800", -1.0]]}
        assert recipes.read(written(tmp_path, recipe)) == recipe


def test_largest_prompts_come_back(tmp_path):
    recipe = {"prompts": [["😀" * 10_000, float(i)] for i in range(10)]}
    assert recipes.read(written(tmp_path, recipe)) == recipe


def test_fields_that_are_none_are_left_out(tmp_path):
    assert recipes.read(written(tmp_path, {"seed": 0, "init": None})) == {"seed": 0}


def test_folders_and_addresses_stay_private(tmp_path):
    recipe = {
        "images": [
            ["/home/me/secret/photo.png", 1.0],
            [r"C:\Users\me\photo.png", 1.0],
            ["https://me:password@host/a/photo.png?token=1#x", 1.0],
            ["https://host", 1.0],
        ],
        "init": "../up/start.png",
        "checkpoint": "/data/models/x.pth",
        "region": [["a cat", 1.0, "", "/home/me/secret/mask.png"]],
    }
    path = written(tmp_path, recipe)
    assert recipes.read(path) == {
        "images": [["photo.png", 1.0]] * 3 + [["host", 1.0]],
        "init": "start.png",
        "checkpoint": "x.pth",
        "region": [["a cat", 1.0, "", "mask.png"]],
    }
    for private in (b"secret", b"Users", b"password", b"token", b"models"):
        assert private not in path.read_bytes()


def test_recipe_is_json_of_version_1_under_our_key(tmp_path):
    with Image.open(written(tmp_path, RECIPE)) as image:
        text = image.text["v-diffusion"]
    assert text.isascii()
    assert json.loads(text) == {"version": 1, **RECIPE}


@pytest.mark.parametrize(
    "wrong",
    [
        {"sede": 1},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": True},
        {"seed": 1.0},
        {"steps": 0},
        {"eta": float("nan")},
        {"eta": "1"},
        {"size": [256]},
        {"prompts": "a cat"},
        {"prompts": [["a cat"]]},
        {"prompts": [["a cat", "3"]]},
        {"prompts": [["a cat", 3.0, "@0-2"]]},
        {"prompts": [["a cat", 3.0, "[0,0,0,1]"]]},
        {"prompts": [["a cat", 3.0, "", "left.png"]]},
        {"region": [["a cat", 3.0]]},
        {"region": [["a cat", 3.0, "x", "left.png"]]},
        {"model_sha256": "abc"},
        {"files_sha256": {"photo.png": ["abc"]}},
        {"files_sha256": {"photo.png": "8" * 64}},
        {"files_sha256": ["8" * 64]},
    ],
)
def test_wrong_recipe_is_not_written(wrong):
    with pytest.raises(ValueError, match=r"unknown field|cannot be"):
        recipes.texts(wrong)


# What viewers show


def test_viewers_are_shown_the_common_form():
    recipe = {**RECIPE, "seed": 0, "init": None, "images": [], "region": [], "eta": None}
    assert parameters.text_of(recipe) == (
        "a cat\n"
        "Steps: 50, Sampler: plms, Schedule type: spliced, CLIP guidance scale: 500, Seed: 0, "
        "Size: 256x192, Model hash: 4fc95ee1b3, Model: cc12m_1_cfg, Version: v-diffusion 1.0"
    )


def test_several_prompts_show_their_weights_and_negative_ones_stand_apart():
    recipe = {"prompts": [["a cat", 3], ["blurry", -1.0], ["12:30", 2], ["text", -0.5]], "steps": 9}
    assert parameters.text_of(recipe) == (
        "a cat:3\n12:30:2\nNegative prompt: blurry:-1\ntext:-0.5\nSteps: 9, CFG scale: 5"
    )


def test_a_single_negative_prompt_is_one():
    text = parameters.text_of({"prompts": [["blurry", -1.0]], "steps": 9})
    assert text == "Negative prompt: blurry\nSteps: 9"


def test_viewers_are_shown_when_and_where_prompts_count():
    recipe = {"prompts": [["a cat", 3.0, "@0-0.6"]], "region": RECIPE["region"], "seed": 1}
    assert parameters.text_of(recipe) == (
        "a cat:3@0-0.6\nCFG scale: 3, Seed: 1, "
        'Prompts of regions: "a hat:2@0-0.6 left.png | a cat:-1 right.png"'
    )


def test_image_prompts_are_shown_quoted():
    text = parameters.text_of({"images": [["a.png", 2.0], ["b.png", -1.0]], "seed": 1})
    assert text == 'CFG scale: 2, Seed: 1, Image prompts: "a.png:2 | b.png:-1"'


def test_prompt_cannot_forge_lines_or_drive_the_terminal(tmp_path):
    prompt = "a cat\r\nNegative prompt: x\u2028Steps: 1\x1b[2J\x00"
    path = written(tmp_path, {"prompts": [[prompt, 3.0]], "steps": 9})
    with Image.open(path) as image:
        text = image.text["parameters"]
    assert text == ("a cat Negative prompt: x Steps: 1\\x1b[2J\\x00\nSteps: 9, CFG scale: 3")
    assert b"\x1b" not in path.read_bytes()


@pytest.mark.parametrize(
    ("prompt", "kind"), [("a cat", b"tEXt"), ("ein Käfer", b"iTXt"), ("猫", b"iTXt")]
)
def test_text_beyond_ascii_is_written_as_unicode(tmp_path, prompt, kind):
    path = written(tmp_path, {"prompts": [[prompt, 3.0]]})
    found = [k for k, data in chunks(path) if data[8:].startswith(b"parameters\0")]
    assert found == [kind]
    with Image.open(path) as image:
        assert image.text["parameters"].startswith(prompt + "\n")


def test_chunks_do_not_change_the_pixels(tmp_path):
    assert open_image(written(tmp_path, RECIPE)).getextrema() == ((0, 0),) * 3


# Reading what others have written


def test_recipe_behind_the_pixels_is_found(tmp_path):
    path = written(tmp_path, RECIPE)
    parts = list(chunks(path))
    text = b"".join(data for kind, data in parts if kind == b"tEXt")
    rest = b"".join(data for kind, data in parts if kind not in (b"tEXt", b"IEND"))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + rest + text + parts[-1][1])
    assert recipes.read(path) == RECIPE


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ('{"version": 1', "not valid JSON"),
        ('{"version": 1, "eta": NaN}', "not valid JSON"),
        ('{"version": 1, "seed": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1]", "no JSON object"),
        ("null", "no JSON object"),
        ("{}", "version None"),
        ('{"version": 2}', "version 2"),
        ('{"version": "\\u001b[2J"}', "version \\x1b[2J"),
        ('{"version": true}', "version True"),
        ('{"version": 1.0}', "version 1.0"),
        ('{"version": [[[[1]]]]}', "version a list"),
        ('{"version": 1, "seed": "0"}', "seed cannot be 0"),
        ('{"version": 1, "seed": ' + "9" * 400 + "}", "seed cannot be 999"),
        ('{"version": 1, "eta": 1e999}', "eta cannot be inf"),
        ('{"version": 1, "eta": ' + "9" * 400 + "}", "eta cannot be 999"),
        ('{"version": 1, "prompts": {"a": 1}}', "prompts cannot be a dict"),
        ('{"version": 1, "prompts": [null]}', "prompts cannot be a list"),
        ('{"version": 1, "prompts": [[["x"], 1]]}', "prompts cannot be a list"),
        ('{"version": 1, "size": [0, 5]}', "size cannot be a list"),
        ('{"version": 1, "method": "' + "x" * 30_000 + '"}', "method cannot be xxx"),
        ('{"version": 1, "clip_sha256": "' + "G" * 64 + '"}', "clip_sha256 cannot be GGG"),
    ],
)
def test_damaged_recipe_is_refused_in_one_line(tmp_path, text, words):
    assert words in refusal(with_chunk(tmp_path, text))


def test_unknown_fields_are_not_handed_on(tmp_path):
    assert recipes.read(with_chunk(tmp_path, '{"version": 1, "seed": 3, "x": {}}')) == {"seed": 3}


def test_files_without_a_recipe_are_refused(tmp_path):
    assert "holds no recipe" in refusal(with_chunk(tmp_path, "a cat", key="parameters"))
    path = tmp_path / "b.png"
    Image.new("RGB", (4, 4)).save(path, "JPEG")
    assert "holds no recipe" in refusal(path)
    path.write_bytes(b"")
    assert "not a PNG" in refusal(path)
    assert "no such file" in refusal(tmp_path / "missing.png")
    assert "folder" in refusal(tmp_path)


def test_too_large_texts_are_refused(tmp_path):
    huge = json.dumps({"version": 1, "method": "x" * png_texts.MAX_BYTES})
    assert "too large" in refusal(with_chunk(tmp_path, huge))


def test_text_that_unpacks_to_very_much_is_refused(tmp_path):
    info = PngInfo()
    info.add_text(recipes.KEY, "x" * 100_000_000, zip=True)
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)
    assert path.stat().st_size < 200_000
    refusal(path)


def test_damaged_files_are_refused_or_read_but_never_crash(tmp_path):
    path = written(tmp_path, RECIPE)
    whole, source = path.read_bytes(), random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[source.randrange(len(whole))] = source.randrange(256)
        path.write_bytes(damaged[: source.randrange(len(whole))])
        with contextlib.suppress(UserError):  # and nothing but a UserError
            assert isinstance(recipes.read(path), dict)


def test_every_cut_of_the_json_is_refused(tmp_path):
    text = json.dumps({"version": 1, "seed": 3, "prompts": [["a", 1]]})
    for end in range(len(text)):
        refusal(with_chunk(tmp_path, text[:end]))


def test_checksums_are_those_of_a_valid_png(tmp_path):
    for kind, data in chunks(written(tmp_path, RECIPE)):
        assert struct.pack(">I", zlib.crc32(data[4:-4])) == data[-4:], kind
