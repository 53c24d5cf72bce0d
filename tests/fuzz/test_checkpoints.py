"""Checkpoints, strangers' files: whatever is in them, no code runs and no memory is wasted."""

import os
from pathlib import Path

from hypothesis import given

from models.checkpoints import CheckpointError
from models.networks import load_weights
from tests.fuzz import mutate
from tests.fuzz import tensor_corpus as corpus
from tests.fuzz.lines import one_line


def loads_or_is_refused(data):
    from tests.models.small import Small

    path = Path("checkpoint")
    path.write_bytes(data)
    try:
        net = load_weights(Small, path)
    except CheckpointError as error:
        one_line(error)
    else:
        assert not any(value.is_meta for value in net.state_dict().values())
    assert os.listdir() == ["checkpoint"]  # code would have left a trace


def within_zip(draw, content):
    """A change of a file in an archive; if it is a pickle, mostly of its instructions."""
    if content[:1] != b"\x80":
        return mutate.changed(draw, content)
    parts = corpus.pickle_parts(content)
    return corpus.join_pickle(mutate.change_parts(draw, parts, parts, mutate.changed))


def damaged_zip(originals):
    return mutate.damaged(originals, corpus.zip_parts, corpus.join_zip, within_zip)


def damaged_pickle(originals):
    return mutate.damaged(originals, corpus.pickle_parts, corpus.join_pickle)


@given(damaged_zip(corpus.zips) | damaged_pickle(corpus.pickles))
def test_damaged_pth_loads_or_is_refused_in_one_line(data):
    loads_or_is_refused(data)


@given(damaged_zip(corpus.attacking_zips) | damaged_pickle(corpus.attacking_pickles))
def test_code_in_a_damaged_pth_does_not_run(data):
    loads_or_is_refused(data)


@given(
    mutate.damaged(
        corpus.safetensors, corpus.tensor_parts, corpus.join_tensors, mutate.changed_header
    )
)
def test_damaged_safetensors_loads_or_is_refused_in_one_line(data):
    loads_or_is_refused(data)
