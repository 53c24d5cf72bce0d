from types import SimpleNamespace

import pytest
import torch
from torch import nn

from models import NETWORKS
from runner.conditions import guided_model
from values.prompts import Prompt


class Net(nn.Module):
    chunk = 1

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, x, t, cond=None):
        self.sizes.append(len(x))
        return x


def model_of(net, name, chunk=None, low_memory=False):
    """The guided model of two images of one prompt each."""
    options = SimpleNamespace(network=NETWORKS[name], chunk=chunk, low_memory=low_memory)
    run = SimpleNamespace(options=options, network=net, guide=None, device=torch.device("cpu"))
    image = SimpleNamespace(
        guidance_interval=None, guidance="plain", size=(64, 64), coarse_until=None
    )
    return guided_model(run, image, [torch.ones(1, 256)] * 2, [[Prompt("a cat", 3.0)]] * 2)


@pytest.mark.parametrize(("chunk", "sizes"), [(None, [1] * 4), (3, [3, 1]), (4, [4])])
def test_network_is_called_with_as_many_images_as_it_is_best_called_with_unless_asked_otherwise(
    chunk, sizes
):
    x, net = torch.ones(2, 3, 64, 64), Net()
    v = model_of(net, "emoji", chunk)(x, torch.ones(2))
    assert net.sizes == sizes
    assert torch.equal(v, x)


@pytest.mark.parametrize(("chunk", "sizes"), [(None, [4]), (2, [2, 2])])
def test_network_that_says_nothing_is_called_with_all(chunk, sizes):
    net = Net()
    net.chunk = None
    model_of(net, "emoji", chunk)(torch.ones(2, 3, 64, 64), torch.ones(2))
    assert net.sizes == sizes


@pytest.mark.parametrize(("chunk", "sizes"), [(None, [1] * 4), (2, [2, 2])])
def test_where_memory_counts_images_are_drawn_one_by_one(chunk, sizes):
    net = Net()
    net.chunk = None
    model_of(net, "emoji", chunk, low_memory=True)(torch.ones(2, 3, 64, 64), torch.ones(2))
    assert net.sizes == sizes


def test_network_without_conditions_is_its_own_v():
    x, net = torch.ones(3, 3, 8, 8), Net()
    assert torch.equal(model_of(net, "wikiart_128", 2)(x, torch.ones(3)), x)
    assert net.sizes == [2, 1]
