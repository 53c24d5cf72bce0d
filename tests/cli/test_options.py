"""Flags: one name means one thing, and a wrong name is put right."""

import functools
import importlib

import pytest

from cli.completion import SCRIPTS

# What one flag is said to be in all scripts but these, whose own words differ for a reason.
OWN = {
    "--clip-checkpoint": ["clip_sample"],  # the CLIP that steers
    "--from-png": ["cfg_modify_image"],  # edits, where others draw
    "--guidance-interval": ["*"],  # the default
    "--json": ["reverse_sample", "png_info"],  # each prints what it finds
    "--method": ["*"],  # which methods there are, and the default
    "--model": ["*"],  # the default
    "--output": ["*"],  # names of what is written
    "--overwrite": ["make_grid", "make_gallery"],  # of one file
    "--seed": ["reverse_sample"],  # of the noise that is mixed in
    "--size": ["make_grid"],  # of what is shown
    "--skip-existing": ["make_grid"],
    "--steps": ["*"],  # the default
    "--tolerance": ["cfg_modify_image"],  # refused there, with a reason
    "--max-timestep": ["cfg_modify_image"],  # what going far means for an edit
}


def actions(script):
    return importlib.import_module(script).make_parser()._actions


def kind(read):
    """What tells one type function from another."""
    if isinstance(read, functools.partial):
        return kind(read.func), read.args
    if read is None or not getattr(read, "__closure__", None):
        return read
    cells = (cell.cell_contents for cell in read.__closure__)
    return read.__qualname__, *(kind(c) if callable(c) else str(c) for c in cells)


def test_a_flag_means_the_same_in_every_script():
    said = {}
    for script in SCRIPTS:
        for action in actions(script):
            for flag in action.option_strings:
                meaning = (action.help, action.nargs, action.metavar, kind(action.type))
                said.setdefault(flag, {})[script] = (action.option_strings[0], meaning)
    for flag, meanings in said.items():
        names = {name for name, _ in meanings.values()}
        assert len(names) == 1, f"{flag} is short for {names}"
        own = OWN.get(names.pop(), [])
        alike = [m for script, (_, m) in meanings.items() if script not in own and own != ["*"]]
        assert all(meaning == alike[0] for meaning in alike), f"{flag}: {set(alike)}"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--stesp 5", "--stesp 5: did you mean --steps?"),
        ("--sede=3", "--sede=3: did you mean --seed?"),
        ("--sede 3 --modell emoji", "did you mean --seed, --model?"),
        ("--nonsense", "unrecognized arguments: --nonsense\n"),
    ],
)
def test_unknown_flag_is_told_with_what_may_be_meant(cfg_sample, given, meant):
    status, out, err = cfg_sample("a cat", *given.split())
    assert (status, out) == (2, [])
    assert meant in err
    assert len(err.splitlines()) == 1
