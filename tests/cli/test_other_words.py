"""Words of other tools: whoever writes one is told which flag does it."""

import pytest

from cli import other_words
from cli.options import options_of
from cli.parser import parse
from cli.scripts import CFG, MODIFY, RESTORE, SCRIPTS
from jobs.jobs import Jobs
from values.errors import UserError

TOLD = {
    "--prompt": "write a prompt without a flag",
    "--negative-prompt": "write --negative",
    "--cfg-scale": "--weight 5",
    "--guidance_scale": "--weight 5",
    "--sampler": "write --method",
    "--width": "write --size WIDTH HEIGHT",
    "--height": "write --size WIDTH HEIGHT",
    "--num-images": "write -n",
    "--output-dir": "write -o FOLDER/",
    "--outdir": "write -o FOLDER/",
    "--strength": "write -st with --init",
    "--mask": "cfg_modify_image.py has it",
    "-s": "write --steps",
    "--inpaint": "restore_sample.py has --task",
    "--upscale": "restore_sample.py has --task",
    "--variation-seed": "write --variation SEED:SHARE",
    "--animate": "write --morph",
    "-b": "write --batch-size",
}


def refusal(script, *argv):
    with pytest.raises(UserError) as refused:
        parse(script, argv)
    return str(refused.value)


@pytest.mark.parametrize("word", TOLD)
def test_flag_of_another_tool_is_told_with_ours(word):
    for argv in (["a cat", word, "5"], [f"{word}=5", "a cat"]):
        message = refusal(CFG, *argv)
        assert message.startswith(f"there is no {word}")
        assert TOLD[word] in message


def test_a_word_that_is_a_flag_of_a_script_is_not_another_tool_s():
    assert parse(MODIFY, ["a.png", "a cat", "--strength", "0.5"])["starting_timestep"] == 0.5
    assert "write --mask" in refusal(MODIFY, "a.png", "a cat", "--inpaint", "m.png")
    assert "--task inpaint --mask HOLE.png" in refusal(RESTORE, "a.png", "--inpaint", "m.png")
    assert "--task upscale --factor N" in refusal(RESTORE, "a.png", "--upscale", "2")
    assert "name the photo first" in refusal(MODIFY, "--input", "a.png")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"prompt": "a", "negative_prompt": "b"}', "write --negative"),
        ('{"prompt": "a", "cfg_scale": 5}', "--weight 5"),
        ('"a cat" --sampler plms', "write --method"),
        ("prompt,sampler\na,plms", "write --method"),
    ],
)
def test_keys_and_lines_are_told_alike(tmp_path, line, told):
    (tmp_path / "jobs").write_text(line)
    with pytest.raises(UserError, match=told):
        Jobs(CFG, ["--from-file", str(tmp_path / "jobs"), "--model", "emoji"])


def test_sweeps_are_told_alike():
    with pytest.raises(UserError, match="--weight 5"):
        Jobs(CFG, ["a", "--sweep", "cfg_scale=1,3"])


def test_a_flag_of_another_script_is_told_with_its_name():
    with pytest.raises(UserError, match=r"no --cutn here: clip_sample\.py has it"):
        parse(CFG, ["a cat", "--cutn", "3"])
    with pytest.raises(UserError, match=r"did you mean steps\?"):
        Jobs(CFG, ["a", "--sweep", "stepz=1,3"])


def test_rows_name_flags_that_there_are():
    flags = {flag for s in SCRIPTS for o in options_of(s).values() for flag in o.flags.split()}
    for words, flag, _ in other_words.ROWS:
        assert not flag or flag in flags
        assert words == words.lower()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_version(script, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(script, ["--version"])
    assert not stop.value.code
    assert capsys.readouterr().out.startswith("v-diffusion ")
