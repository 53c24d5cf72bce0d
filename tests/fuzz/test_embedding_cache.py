"""Entries of the cache of embeddings: a damaged one is as good as none."""

import functools
from pathlib import Path

from hypothesis import given

from runner import embedding_cache
from runner.embedding_cache import Entry
from tests.fuzz import mutate
from tests.fuzz import tensor_corpus as corpus

KEY = "0123456789abcdef" * 4
DIM = 8


def embedding():
    import torch

    return torch.linspace(-1, 1, DIM)


@functools.cache
def entries():
    place = Path("entries")
    embedding_cache.write(place, KEY, Entry(embedding()))
    embedding_cache.write(place, KEY[::-1], Entry(embedding() * 2))
    return {path.name: path.read_bytes() for path in sorted(place.iterdir())}


@given(mutate.damaged(entries, corpus.tensor_parts, corpus.join_tensors))
def test_damaged_entry_is_missed_or_has_the_right_embedding(data):
    Path(f"{KEY}.safetensors").write_bytes(data)
    found = embedding_cache.read(Path(), KEY, DIM)
    assert found is None or found.embed.equal(embedding())
