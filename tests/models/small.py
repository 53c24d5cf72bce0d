"""A small network and its checkpoints, good and bad."""

import hashlib
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from models.checkpoints import CheckpointError
from tests.weights import deterministic_state_dict


class Features(nn.Module):
    full_precision = True

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 1))


class Small(nn.Module):
    """A network with every kind of tensor a state_dict may hold."""

    def __init__(self):
        super().__init__()
        self.features = Features()
        self.conv = nn.Conv2d(3, 16, 3)
        self.linear = nn.Linear(16, 4)
        self.register_buffer("steps", torch.zeros(4, dtype=torch.int64))


def small_state():
    shapes = {key: value.shape for key, value in Small().state_dict().items() if key != "steps"}
    return deterministic_state_dict(shapes) | {"steps": torch.arange(4)}


def saved(path, state=None, **options):
    """A checkpoint in the format that the name asks for."""
    state = small_state() if state is None else state
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path, **options)
    return path


def row(path, **more):
    """The row of a published network whose checkpoint is the file at `path`."""
    facts = {
        "name": "small",
        "file": "small.pth",
        "url": "http://127.0.0.1:9/small.pth",
        "mirrors": (),
        "teacher": None,
    }
    return SimpleNamespace(**facts | {"sha256": digest(path)} | more)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def complains(function, *arguments):
    """The message of a CheckpointError, one line that can be shown on any terminal."""
    with pytest.raises(CheckpointError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 700
    return message
