import numpy as np
import pytest
import torch
from PIL import Image

from media.images import open_image
from media.saving import save_png
from media.tensors import to_image, to_tensor
from values.errors import UserError


def test_round_trip_changes_no_level(tmp_path):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([levels, levels.T, 255 - levels], axis=2))
    tensor = to_tensor(image)
    assert tensor.shape == (3, 16, 16)
    assert tensor.dtype == torch.float32
    assert (tensor.min(), tensor.max()) == (-1, 1)
    save_png(to_image(tensor), tmp_path / "a.png")
    again = open_image(tmp_path / "a.png")
    assert np.array_equal(np.array(again), np.array(image))


def test_channels_rows_and_columns_keep_their_places():
    image = Image.new("RGB", (3, 2))
    image.putpixel((2, 1), (255, 0, 0))
    tensor = to_tensor(image)
    assert tensor[0, 1, 2] == 1
    assert tensor.sum() == 1 - 17
    assert to_image(tensor).getpixel((2, 1)) == (255, 0, 0)


def test_values_are_rounded_and_clamped():
    tensor = torch.tensor([-9.0, -1 + 0.9 / 127.5, 9.0]).view(3, 1, 1)
    assert to_image(tensor).getpixel((0, 0)) == (0, 1, 255)
    assert to_image(tensor.bfloat16().requires_grad_()).getpixel((0, 0))[2] == 255


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused(value):
    tensor = torch.zeros(3, 2, 2)
    tensor[1, 1, 1] = value
    with pytest.raises(UserError, match="not finite"):
        to_image(tensor)
