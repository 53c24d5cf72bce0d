"""Checkpoints of the bundled CLIP, which hold its tokenizer as well."""

import functools
import json
import os
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import clip, zoo
from models.checkpoints import CheckpointError
from tests.fuzz import mutate
from tests.fuzz import tensor_corpus as corpus
from tests.fuzz.lines import one_line

pytestmark = pytest.mark.skipif(
    not os.environ.get("FUZZ_CASES"), reason="open_clip takes long to import: `make fuzz` does"
)
MERGES = "a c\nac a\nt h\nth e</w>\nc at</w>"
ROW = zoo.ClipRow(
    file="clip",
    config={
        "embed_dim": 4,
        "vision_cfg": {
            "image_size": 8, "patch_size": 8, "width": 8, "layers": 1, "head_width": 8,
        },
        "text_cfg": {"context_length": 6, "width": 8, "heads": 1, "layers": 1},
    },
)  # fmt: skip


@functools.cache
def state():
    return clip.build(ROW.config, clip.tokenizer_of(MERGES, 6).vocab_size).state_dict()


def with_merges(text):
    """A checkpoint whose tokenizer is a text, which should be JSON."""
    from safetensors.torch import save

    return save(state(), {"merges": text})


@functools.cache
def checkpoints():
    return {"tiny": with_merges(json.dumps(MERGES))}


@st.composite
def odd_merges(draw):
    text = mutate.changed(draw, MERGES.encode()).decode(errors="replace")
    return with_merges(draw(st.just(json.dumps(text)) | changed_json(json.dumps(MERGES))))


@st.composite
def changed_json(draw, text):
    return mutate.changed_json_text(draw, text)


@given(
    mutate.damaged(checkpoints, corpus.tensor_parts, corpus.join_tensors, mutate.changed_header)
    | odd_merges()
)
def test_damaged_clip_loads_or_is_refused_in_one_line(data):
    path = Path("clip.safetensors")
    path.write_bytes(data)
    try:
        with patch.dict(clip.CLIPS, {"tiny": ROW}):
            reader = clip.load("tiny", path)
    except CheckpointError as error:
        one_line(error)
    else:
        assert reader.encode_text(["the cat"]).shape == (1, 4)
