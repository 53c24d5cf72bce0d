"""The scripts of the suite: a table, one row a script."""

import os
import re
import sys
from dataclasses import dataclass

SOFTWARE = "v-diffusion 1.0"  # this program: its name and version


@dataclass(frozen=True, eq=False)  # each is itself alone, and a quick key of dicts
class Script:
    """A row of the table.

    Args:
        name: the file.
        about: what it does, in a sentence.
        examples: command lines for `--help`.
        large: the network used where none is named and its checkpoint is there; None: the script
            uses no network.
        weight: of a prompt that names none.
        steps: to take where none are named; None: those that the method suggests.
        takes_photos: whether the first words of its command line name photos.
        guides_any: whether prompts also guide networks that take none.
    """

    name: str
    about: str
    examples: tuple[str, ...]
    large: str | None = None
    weight: float = 3.0
    steps: int | None = None
    takes_photos: bool = False
    guides_any: bool = False


CFG = Script(
    "cfg_sample.py",
    "Draw images from weighted text and image prompts, by classifier-free guidance.",
    (
        'cfg_sample.py "a red apple on a blue background" -n 4',
        'cfg_sample.py "the rise of consciousness:5" "oil painting:2" --model cc12m_1_cfg',
        'cfg_sample.py "a cat:2" "a fox:1" --negative "a dog" -n 4 --seed 0',
        'cfg_sample.py "a fox" --init photo.jpg -st 0.7 -o "{prompt}_{seed}.png"',
        "cfg_sample.py --from-png out_00000.png --steps 100",
        'cfg_sample.py --morph "a cat:3" "a fox:3" --frames 24 -o morph.gif',
        'cfg_sample.py --from-file jobs.txt -bs 8 -o "runs/{line:06}_{seed:06}.png" '
        "--skip-existing",
        'cfg_sample.py "a {red,blue} heart" -n 4 --sweep steps=5,10,20 method=plms,ab23',
    ),
    large="cc12m_1_cfg",
)
CLIP = Script(
    "clip_sample.py",
    "Draw images with any model, steered by what CLIP sees in them towards weighted prompts.",
    (
        'clip_sample.py "a red apple" --model emoji --steps 50 -n 4',
        'clip_sample.py "a lighthouse in a storm" --model yfcc_1 -cs 1000 -n 4 --seed 0',
        'clip_sample.py "oil painting:2" "blurry:-1" --images photo.jpg --init photo.jpg -st 0.6',
        "clip_sample.py --from-png out_00000.png --cutn 32",
        'clip_sample.py --from-file jobs.txt -o "runs/{line:06}_{seed:06}.png" --skip-existing',
    ),
    large="cc12m_1",
    weight=1.0,
    steps=1000,
    guides_any=True,
)
REVERSE = Script(
    "reverse_sample.py",
    "Find the latent noise that yields a photo, by running the sampling loop backwards.",
    (
        "reverse_sample.py photo.jpg -o photo.safetensors",
        'reverse_sample.py photo.jpg "a cat:1" --method plms --steps 100 --round-trip',
        "reverse_sample.py *.jpg -bs 8 -o 'latents/{photo}.safetensors' --preview",
        'cfg_sample.py "a tiger:4" --latent photo.safetensors',
    ),
    large="cc12m_1_cfg",
    steps=50,
    takes_photos=True,
)
MODIFY = Script(
    "cfg_modify_image.py",
    "Edit a photo with prompts: find its noise, or not even that, and draw it again under others.",
    (
        'cfg_modify_image.py photo.jpg "an oil painting of a dog:4" --source "a dog" -o edited.png',
        'cfg_modify_image.py photo.jpg "a blue heart" --source "a red heart" --strength 0.7',
        'cfg_modify_image.py photo.jpg "a straw hat" --mask head.png',
        'cfg_modify_image.py photo.jpg "a tiger" --source "a cat" --direct -n 4',
    ),
    large="cc12m_1_cfg",
    steps=50,
    takes_photos=True,
)
RESTORE = Script(
    "restore_sample.py",
    "Draw what is not known of a photo: a hole, its surroundings, its details or its colours.",
    (
        'restore_sample.py photo.png "a cat" --task inpaint --mask hole.png -n 4',
        'restore_sample.py photo.png "a cat" --task outpaint --pad 16 0 16 0',
        'restore_sample.py small.png "a cat" --task upscale --factor 2',
        'restore_sample.py grey.png "a red apple:2" --negative "a pear" --task colourise',
        "restore_sample.py noisy.png --task denoise --noise 25",
    ),
    large="cc12m_1_cfg",
    steps=25,
    takes_photos=True,
)
GRID = Script(
    "make_grid.py",
    "Put images in a grid, in rows from left to right, with labels and titles if you like.",
    (
        "make_grid.py out_*.png -o grid.png --nrow 4",
        "make_grid.py runs/ --label seed,prompt --overwrite",
        "make_grid.py a.png b.png c.png d.png --column-titles before after --row-titles ddim plms",
        "make_grid.py photos/ --size 256 256 --fit cover --spacing 4 --background black",
    ),
)
GALLERY = Script(
    "make_gallery.py",
    "Write a page of a folder's images: to look through, filter, compare and draw again.",
    ("make_gallery.py runs", "make_gallery.py runs --recursive -o runs/all.html"),
)
INFO = Script(
    "png_info.py",
    "Print how PNGs were made, and the command that draws an image again.",
    (
        "png_info.py out_00000.png",
        "png_info.py --json *.png",
        "png_info.py --command out_00000.png",
    ),
)

DRAWING = (CFG, CLIP)
EDITING = (MODIFY, RESTORE)  # what becomes of one photo
SAMPLING = (CFG, CLIP, REVERSE, MODIFY, RESTORE)
SCRIPTS = (*SAMPLING, GRID, GALLERY, INFO)


def as_called(text):
    """A text with the names of scripts like that of the running one: installed, without .py."""
    running = os.path.basename(sys.argv[0]).removesuffix(".exe")
    files = {script.name.removesuffix(".py"): script.name for script in SCRIPTS}
    if running not in files:
        return text
    return re.sub(rf"\b({'|'.join(files)})\.py\b", r"\1", text)
