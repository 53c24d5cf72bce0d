"""Files of latents, and what they say of themselves."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import recipes.latents
from runner import latents
from tests.fuzz import mutate
from tests.fuzz import tensor_corpus as corpus
from tests.fuzz.command_line import without_torch
from tests.fuzz.lines import one_line
from values.errors import UserError


def loads_or_is_refused(data):
    import torch

    path = Path("latents.safetensors")
    path.write_bytes(data)
    try:
        with without_torch():  # a mistake is told before it is imported
            head = recipes.latents.head(path)
        found, previous = latents.load(path, head.reversible)
    except UserError as error:
        one_line(error)
        return
    assert (len(found), *found.shape[1:]) == (head.count, *head.shape)
    assert torch.isfinite(found).all()
    assert (previous is not None) == head.reversible
    assert previous is None or previous.shape == found.shape


@given(
    mutate.damaged(corpus.latents, corpus.tensor_parts, corpus.join_tensors, mutate.changed_header)
)
def test_damaged_latents_load_or_are_refused_in_one_line(data):
    loads_or_is_refused(data)


@st.composite
def facts(draw):
    return mutate.changed_json_text(draw, json.dumps(corpus.FACTS))


@given(facts())
def test_latents_with_odd_facts_load_or_are_refused_in_one_line(facts):
    loads_or_is_refused(corpus.latents_with(facts))
