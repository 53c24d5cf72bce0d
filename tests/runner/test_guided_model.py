from argparse import Namespace

import torch
from torch import nn

from models import NETWORKS
from runner.guided_model import chunk_of, guide


class Net(nn.Module):
    chunk = 1

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, x, t, cond):
        self.sizes.append(len(x))
        return x


def test_network_is_called_with_as_many_images_as_it_is_best_called_with_unless_asked_otherwise():
    x, t, embeds = torch.ones(2, 3, 64, 64), torch.ones(2), [torch.ones(1, 256)]
    for chunk, sizes in [(None, [1, 1, 1, 1]), (3, [3, 1]), (4, [4])]:
        net = Net()
        v = guide(Namespace(chunk=chunk), net, NETWORKS["emoji"], embeds, [[3.0]])(x, t)
        assert net.sizes == sizes
        assert torch.equal(v, x)


def test_network_that_says_nothing_is_called_with_all():
    assert chunk_of(Namespace(chunk=None), nn.Identity()) is None
    assert chunk_of(Namespace(chunk=2), lambda x, t: x) == 2
