"""The table of options: one name means one thing, and a new row is all that an option needs."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from cli import completion, options, options_page
from cli.option import Option
from cli.options import SHAPED, options_of
from cli.parser import parse
from cli.scripts import CFG, CLIP, GALLERY, GRID, INFO, MODIFY, RESTORE, REVERSE, SAMPLING, SCRIPTS
from jobs.jobs import Jobs, items, shape_of
from media.saving import save_png
from recipes import commands
from recipes import recipe as recipes
from values.errors import UserError
from values.types import Name

# What one flag is said to be in all scripts but these, whose own words differ for a reason.
OWN = {
    "--clip-checkpoint": [CLIP],  # the CLIP that steers
    "--coarse-until": [RESTORE],  # when the default is 1
    "--from-png": [MODIFY],  # edits, where others draw
    "--json": [REVERSE, INFO],  # each prints what it finds
    "--method": SCRIPTS,  # which methods there are, and the default
    "--model": SCRIPTS,  # the default
    "--output": SCRIPTS,  # names of what is written
    "--overwrite": [GRID, GALLERY],  # of one file
    "--seed": [REVERSE],  # of the noise that is mixed in
    "--size": [GRID],  # of what is shown
    "--skip-existing": [GRID],
    "--steps": SCRIPTS,  # the default
    "--tolerance": [MODIFY],  # refused there, with a reason
    "--max-timestep": [MODIFY],  # what going far means for an edit
}


def meaning(option):
    values = {key: v for key, v in vars(option.type or object).items() if key != "weight"}
    kind = None if option.is_switch else (type(option.type), values)
    return option.help, option.many, option.metavar, kind


def test_a_flag_means_the_same_in_every_script():
    said = {}
    for script in SCRIPTS:
        for option in options_of(script).values():
            for flag in option.flags.split() if not option.is_positional else ():
                said.setdefault(flag, {})[script] = option
    for flag, found in said.items():
        flags = {flag for option in found.values() for flag in option.flags.split()}
        own = {script for flag in flags for script in OWN.get(flag, ())}
        names = {option.name for script, option in found.items() if script not in own}
        assert len(names) <= 1, f"{flag} is {names}"
        alike = [meaning(option) for script, option in found.items() if script not in own]
        assert all(one == alike[0] for one in alike), f"{flag}: {alike}"


def test_page_of_all_options_is_up_to_date():
    page = Path(__file__).parents[2] / "docs/options.md"
    assert page.read_text() == options_page.page() + "\n"


def test_exclusion_is_mutual():
    for script in SCRIPTS:
        for option in options_of(script).values():
            others = [options_of(script).get(name) for name in option.excludes]
            assert all(other is None or option.name in other.excludes for other in others), option


# A new row.


def forget():
    """Forgets all that was derived from the table."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("cli", "jobs", "recipes"):
            for value in list(vars(module).values()):
                getattr(value, "cache_clear", lambda: None)()


@pytest.fixture
def _sparkle(tmp_path, monkeypatch):
    """One more option of images, `--sparkle`."""
    names = Name("sparkle", ["none", "gold", "silver"])
    row = Option(
        "--sparkle -sp",
        SAMPLING,
        names,
        "NAME",
        "none",
        SHAPED,
        "dust on the image",
        own_name="dust",
    )
    monkeypatch.chdir(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        title = "the sampling"
        patch.setitem(options.TABLE, title, (*options.TABLE[title], row))
        forget()
        yield
    forget()


def jobs_of(*argv, script=CFG):
    return Jobs(script, ["--model", "emoji", *argv])


def dust_of(jobs):
    return [job.image.dust for job in jobs.all]


@pytest.mark.usefixtures("_sparkle")
def test_new_row_is_an_option_of_the_command_line(capsys):
    for script in SAMPLING:
        words = ["a.png", "a cat"] if script.takes_photos else ["a cat"]
        words += ["--task", "colourise"] if script is RESTORE else []
        assert dust_of(jobs_of(*words, script=script)) == ["none"]
        assert dust_of(jobs_of(*words, "--sparkle", "gold", script=script)) == ["gold"]
        assert dust_of(jobs_of(*words, "-sp=silver", script=script)) == ["silver"]
    for argv, told in (
        (["--sparkel", "gold"], "did you mean --sparkle?"),
        (["--sparkle", "golf"], 'argument --sparkle/-sp: no sparkle "golf": did you mean gold?'),
    ):
        with pytest.raises(UserError) as refused:
            parse(CFG, argv)
        assert told in str(refused.value)
    with pytest.raises(SystemExit):
        parse(CFG, ["--help"])
    assert "--sparkle NAME, -sp NAME" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"no --sparkle here: cfg_sample\.py has it"):
        parse(GRID, ["a.png", "--sparkle", "gold"])


@pytest.mark.usefixtures("_sparkle")
def test_new_row_is_completed_and_in_the_page():
    for shell in completion.SHELLS:
        text = completion.script(shell)
        assert "--sparkle" in text
        assert "gold" in text
    row = "| `--sparkle NAME`, `-sp` | `none` | dust on the image |"
    assert options_page.page().split("\n").count(row) == len(SAMPLING)


@pytest.mark.usefixtures("_sparkle")
def test_new_row_is_one_of_job_files_and_sweeps():
    lines = [
        "'a cat' --sparkle gold",
        '{"prompt": "a cat", "sparkle": "silver"}',
        '{"dust": "gold"}',
    ]
    Path("jobs.txt").write_text("\n".join([*lines, "a dog"]))
    jobs = jobs_of("--from-file", "jobs.txt", "-sp", "silver")
    assert dust_of(jobs) == ["gold", "silver", "gold", "silver"]
    Path("jobs.csv").write_text("prompt,sparkle\na cat,gold\n")
    assert dust_of(jobs_of("--from-file", "jobs.csv")) == ["gold"]
    Path("jobs.txt").write_text('{"sparkel": "gold"}')
    with pytest.raises(UserError, match=r"column 2: .*did you mean sparkle\?"):
        jobs_of("--from-file", "jobs.txt")
    swept = jobs_of("a cat", "--sweep", "sparkle=none,gold")
    assert dust_of(swept) == ["none", "gold"]
    assert [job.swept for job in swept.all] == [{"sparkle": "none"}, {"sparkle": "gold"}]


@pytest.mark.usefixtures("_sparkle")
def test_new_row_is_recorded_and_drawn_again():
    jobs = jobs_of("a cat", "--sparkle", "gold")
    recipe = {"script": CFG.name, **recipes.of(jobs.run, jobs.all[0].image)}
    save_png(Image.new("RGB", (8, 8)), "a.png", recipes.texts(recipe))
    found = recipes.read("a.png")
    assert found["dust"] == "gold"
    assert dust_of(jobs_of("--from-png", "a.png")) == ["gold"]
    assert dust_of(jobs_of("--from-png", "a.png", "--sparkle", "none")) == ["none"]
    line = commands.command(found, "a.png").line()
    assert line.endswith("--sparkle gold")
    del recipe["dust"]
    assert "--sparkle" not in commands.command(recipes.checked(recipe), "a.png").line()
    save_png(Image.new("RGB", (8, 8)), "b.png", recipes.texts({**recipe, "dust": "mud"}))
    with pytest.raises(
        UserError, match=r"the recipe of b\.png: no sparkle \"mud\".*give --sparkle"
    ):
        jobs_of("--from-png", "b.png")
    with pytest.raises(ValueError, match="dust cannot be 5"):
        recipes.texts({**recipe, "dust": 5})


@pytest.mark.usefixtures("_sparkle")
def test_images_of_a_batch_have_a_new_row_in_common():
    swept = jobs_of("a cat", "-n", "2", "--sweep", "sparkle=none,gold")
    first, second, third, _ = (shape_of(item, CFG) for item in items(swept))
    assert first == second != third
