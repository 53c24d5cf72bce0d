"""A folder of captioned images, `name.png` with `name.txt` beside it, as tensors."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def read_folder(folder, size):
    """All captioned images of a folder, in the order of their names.

    Args:
        folder: holds `name.png` (or .jpg, .webp) and `name.txt`, one caption a line.
        size: (width, height) in pixels that images are scaled and centre-cropped to; None: that of
            the first of them.
    Returns:
        (images, captions): uint8 tensor [N, 3, H, W], and a list of N lists of captions.
    Raises:
        SystemExit: if there are none, or an image has no captions or cannot be read.
    """
    from media.images import open_image, resize_and_crop

    folder = Path(folder)
    files = sorted(p for p in folder.glob("*") if p.suffix in (".png", ".jpg", ".jpeg", ".webp"))
    if not files:
        sys.exit(f"{folder}: no images in it: name a folder with name.png and name.txt files")
    if size is None:
        try:
            with Image.open(files[0]) as image:
                size = image.size
        except OSError as error:
            sys.exit(f"{files[0]}: {error}")
    width, height = size
    images = torch.empty(len(files), 3, height, width, dtype=torch.uint8)
    captions = [None] * len(files)

    def read(i):
        try:
            lines = files[i].with_suffix(".txt").read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        captions[i] = [line.strip() for line in lines if line.strip()]
        if not captions[i]:
            raise ValueError(f"{files[i]} has no captions: write some to {files[i].stem}.txt")
        with Image.open(files[i]) as image:
            as_is = image.mode == "RGB" and image.size == size
            picture = np.asarray(image) if as_is else None
        if picture is None:
            picture = np.asarray(resize_and_crop(open_image(files[i]), size))
        images[i] = torch.from_numpy(picture.copy()).permute(2, 0, 1)

    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(read, range(len(files))))
    except Exception as error:
        sys.exit(str(error))
    return images, captions


def read_folders(folders, size):
    """All captioned images of some folders, one after the other, as `read_folder` gives them."""
    read = [read_folder(folder, size) for folder in folders]
    return torch.cat([images for images, _ in read]), [c for _, captions in read for c in captions]


def replace_file(path, write):
    """Writes a file through `write(temporary path)`, so that it is whole or absent."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.touch()
    mode = part.stat().st_mode
    write(part)
    part.chmod(mode)  # safetensors makes files that nobody else can read
    os.replace(part, path)
