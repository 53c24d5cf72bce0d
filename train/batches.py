"""What a diffusion network is trained on: random batches of images, each with a condition."""

import hashlib
import json

import torch
from torchvision.transforms.functional import center_crop

from train.data import replace_file


@torch.inference_mode()
def embed(clip, images, captions):
    """Everything a condition can be.

    Of an image that is not a square CLIP sees the square in its middle.

    Returns:
        (image embeddings [N, D], text embeddings [M, D] of the distinct captions, and for each
        image the rows of its captions).
    """
    side = min(images.shape[2:])
    square = center_crop(images, [side, side])
    texts = sorted({line for lines in captions for line in lines})
    row = {text: i for i, text in enumerate(texts)}
    image_embeds = torch.cat(
        [
            clip.encode_image(
                torch.nn.functional.interpolate(
                    part.float() / 127.5 - 1, clip.image_size, mode="area"
                )
            )
            for part in square.split(256)
        ]
    )
    return image_embeds, clip.encode_text(texts), [[row[t] for t in lines] for lines in captions]


def kept_embeddings(path, clip, images, captions):
    """What `embed` returns; it takes minutes, so the file `path` keeps it with what it is of."""
    made_of = hashlib.sha256(json.dumps(captions).encode())
    made_of.update(images.numpy())
    for weight in clip.model.state_dict().values():
        made_of.update(weight.float().cpu().numpy().tobytes())
    made_of = made_of.hexdigest()
    if path.exists():
        kept = torch.load(path, weights_only=True)
        if kept["made_of"] == made_of:
            return kept["images"], kept["texts"], kept["rows"]
    image_embeds, text_embeds, rows = embed(clip, images, captions)
    kept = {"made_of": made_of, "images": image_embeds, "texts": text_embeds, "rows": rows}
    replace_file(path, lambda p: torch.save(kept, p))
    return image_embeds, text_embeds, rows


def batch(images, image_embeds, text_embeds, rows, size, image_share, generator):
    """`size` random images [size, 3, H, W] in [-1, 1] and a condition for each [size, D]."""
    chosen = torch.randint(len(images), (size,), generator=generator)
    u = torch.rand(2, size, generator=generator)
    texts = [rows[i][int(v * len(rows[i]))] for i, v in zip(chosen.tolist(), u[0], strict=True)]
    by_image = (u[1] < image_share)[:, None]
    embeds = torch.where(by_image, image_embeds[chosen], text_embeds[texts])
    return images[chosen].float() / 127.5 - 1, embeds
