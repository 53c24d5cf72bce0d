"""THE table: a row for each option of each script, and all there is to say of it.

The parsers, `--help`, completion, job files, sweeps, recipes, `--from-png`, the command that
`png_info.py` prints, the shapes of batches and `docs/options.md` are derived from these rows. A
new option is a row here, and what it does.
"""

import re
from functools import cache, partial

from cli import defaults
from cli.option import Is, Option
from cli.scripts import (
    CFG,
    CLIP,
    DRAWING,
    EDITING,
    GALLERY,
    GRID,
    INFO,
    MODIFY,
    RESTORE,
    REVERSE,
    SAMPLING,
)
from diffusion.adaptive import TOLERANCE
from diffusion.guidance_rules import PLAIN, RULES
from diffusion.measurements import MEASUREMENTS
from diffusion.methods import DEFAULT, METHODS, WHOLE
from diffusion.schedules import SCHEDULES
from models.zoo import CLIPS, NETWORKS
from values import types
from values.names import DEFAULT_TEMPLATE, FIELDS, LATENT_FIELDS, LATENT_TEMPLATE, PICTURES, output
from values.picture_types import (
    ANIMATIONS,
    FITS,
    GAP,
    WHITE,
    colour,
    picture_file,
    trajectory_file,
)
from values.prompts import (
    ImagePrompt,
    NegativePrompt,
    RegionPrompt,
    TextPrompt,
    is_photo,
    may_be_file,
    may_be_image,
)
from values.types import (
    MAX_FRAMES,
    MAX_IMAGES,
    MAX_SEED,
    MAX_SIDE,
    MAX_STEPS,
    GuidanceRule,
    Name,
    Number,
    Seed,
    Text,
    Whole,
)
from values.variations import VariationType

PNGS = (CFG, CLIP, MODIFY, RESTORE)  # the scripts that save images
FROM_NOISE = (*DRAWING, RESTORE)  # of these, those that draw from noise
PHOTOS = (REVERSE, *EDITING)  # those that start from photos
FREE = (CFG, *PHOTOS)  # those whose guidance is classifier-free

STEADY = {name: row for name, row in METHODS.items() if row.eta != 1}  # without noise of their own
TRAINED = [name for name, row in METHODS.items() if not row.schedule]  # on the model's schedule
MODELS_OF = {  # students have learnt nothing but to be guided
    s: [name for name, row in NETWORKS.items() if s is CFG or not row.teacher] for s in SAMPLING
}
METHODS_OF = {
    CFG: METHODS,
    CLIP: METHODS,
    REVERSE: STEADY,
    # Editing goes from one given timestep to the next alike on both ways.
    MODIFY: {name: row for name, row in STEADY.items() if row.evaluations},
    # What is known is put in anew at each evaluation, whatever a step would tolerate.
    RESTORE: {name: row for name, row in METHODS.items() if row.evaluations},
}
FILE = Text(types.existing_file, stored=types.SOURCE.stored)
NAMES = "{" + "}, {".join(FIELDS) + "}"
DRAWN = (*FIELDS, "frame", "frames")
EDIT = (*FIELDS, "photo")
READS = "CLIP reads 77 tokens of each, that of emoji 24"
GUIDANCE = (
    "what becomes of the weighted sum: plain (nothing), or, against burnt colours at high weights, "
    + ", ".join(
        ":".join([name, *(p.name.upper() for p in row.parameters)])
        for name, row in RULES.items()
        if row.function
    )
    + " (values: defaults of the papers)"
)
COARSE = (
    "of images at least twice as wide and high as those that the model was trained on: down to "
    "this timestep it draws them at its own size, so that they become one thing; 1: at none "
    "(default: what the model is best with, 0.2 of emoji, 1 of others; 1 with {})"
)
WAYS = ("ddnm", "mmps", "pigdm", "level", "inversion")  # to make a drawing agree with what is known
MAX_FACTOR, MAX_BLUR = 64, 100
LATENT_NAMES = "{" + "}, {".join(LATENT_FIELDS) + "}"

IMAGES, RECORDED, SHAPE, FILES, JOINS = Is.IMAGES, Is.RECORDED, Is.SHAPE, Is.FILE, Is.JOINS
SHAPED = IMAGES | RECORDED | SHAPE  # what a batch shares: `batch.image.NAME`


def is_name(word):
    """Whether a word may be the name of a model, and no prompt."""
    return re.fullmatch(r"[\w-]+", word) is not None


def of(usual, **other):
    """What an option is for the sampling scripts, and for those for which it is something else."""
    by_name = {"cfg": CFG, "clip": CLIP, "reverse": REVERSE, "modify": MODIFY, "restore": RESTORE}
    return {s: other.get(name, usual) for name, s in by_name.items()}


# A row: flags, scripts, type, metavar, default, what it is, help; then what few rows have.
# fmt: off
TABLE = {
"what to draw": (
    # Of these words the first name photos; the others are prompts.
    Option("photos", PHOTOS, types.SOURCE, "PHOTO [TEXT[:WEIGHT] ...]", [], IMAGES, of("",
        reverse="photos, files or http(s) addresses, then prompts to find their noise under "
        "(default weight 3; none: unconditionally)",
        modify="a photo, a file or an http(s) address, then prompts for what it is to become "
        "(default weight 3; negative: away from it)",
        restore="a photo, a file or an http(s) address, of which something is not known, then "
        "prompts for what it shows (default weight 3; negative: away from it)"), many="*"),
    Option("prompts", SAMPLING, {script: TextPrompt(script.weight) for script in SAMPLING},
        "TEXT[:WEIGHT]", [], IMAGES | RECORDED | JOINS, of(
        "text prompts with weights (default weight 3; negative: away from it); behind the weight "
        "@0-0.6 are timesteps and [0,0,0.5,1] is a box, left, top, right, bottom, in which it "
        f'counts; "a cat->a fox@0.6" changes there; {READS}',
        clip=f"text prompts with weights (default weight 1; negative: away from it); {READS}"),
        many="*"),
    Option("--negative", SAMPLING, NegativePrompt(), "TEXT[:WEIGHT]", [], IMAGES | JOINS,
        'a prompt to lead away from: "blurry" and "blurry:1" are the prompt "blurry:-1"; may be '
        "given several times", many="+", takes=lambda word: False),
    Option("--weight", SAMPLING, Number(-types.MAX_SCALE, types.MAX_SCALE), "X", None, IMAGES,
        "weight of the first prompt, in the place of its own", excludes=("morph",)),
    Option("--morph", DRAWING, {script: TextPrompt(script.weight) for script in DRAWING},
        "TEXT[:WEIGHT]", None, IMAGES | RECORDED, "an animation from the first of these prompts to "
        "the last, from one noise: -o morph.gif; or between two latents, A.safetensors "
        "B.safetensors", many="+", takes=lambda word: True, excludes=("weight",)),
    Option("--frames", DRAWING, Whole(2, MAX_FRAMES), "N", None, IMAGES | RECORDED,
        "pictures of an animation by --morph or --variation (24)"),
    Option("--images", SAMPLING, {script: ImagePrompt(script.weight) for script in SAMPLING},
        "IMAGE[:WEIGHT]", [], IMAGES | RECORDED | FILES | JOINS,
        "image prompts: files or http(s) addresses", many="+", takes=may_be_image),
    Option("--region", FREE, RegionPrompt(), "TEXT[:WEIGHT] MASK", [],
        IMAGES | RECORDED | FILES | JOINS, "a prompt for a part of the image, and a picture that "
        "is white there and black elsewhere; may be given several times", many="+",
        joint=RegionPrompt.joint),
    # At weight 1 a way up is steady, and costs one evaluation a step.
    Option("--source", (MODIFY,), TextPrompt(1.0), "TEXT[:WEIGHT]", [], IMAGES | RECORDED,
        "what the photo shows (default weight 1); may be given several times", many="+",
        takes=lambda word: False if is_photo(word) else None),
    Option("--task", (RESTORE,), Name("task", MEASUREMENTS), "NAME", [], SHAPED,
        f"what to do: {', '.join(MEASUREMENTS)}; several, like upscale colourise, where they fit "
        "together", many="+", takes=lambda word: word in MEASUREMENTS),
    Option("--mask", EDITING, types.SOURCE, "IMAGE", None, SHAPED | FILES,
        "a picture as large as the photo: white where it may change, black where it stays"),
    Option("--pad", (RESTORE,), Whole(0, MAX_SIDE), ("LEFT", "TOP", "RIGHT", "BOTTOM"), None,
        SHAPED, "of outpaint: pixels of the image to draw around the photo, which fills the rest",
        many=4),
    Option("--factor", (RESTORE,), Whole(2, MAX_FACTOR), "N", None, SHAPED,
        "of upscale: how many times as wide and high as the photo to draw, 2 or 4 for example"),
    Option("--blur", (RESTORE,), Number(0, MAX_BLUR, above=True), "SIGMA", None, SHAPED,
        "of deblur: the standard deviation of the Gaussian that has blurred the photo, in pixels "
        "of the photo as it is scaled to --size"),
    Option("--noise", (RESTORE,), Number(0, 255), "LEVEL", 0.0, SHAPED,
        "of denoise and any other: the standard deviation of the photo's noise, as it is scaled, "
        "in grey levels of 255"),
    Option("--by", (RESTORE,), Name("way", WAYS), "NAME", defaults.by, SHAPED,
        "ddnm puts in what is known; mmps, for photos with noise, weighs it by the "
        "gradient of the network, and pigdm moves along that behind each step; level, of denoise, "
        "starts where drawings have as much noise; inversion, of upscale, finds the noise of the "
        "enlarged photo part of the way (default: what suits the task)", follows=("task", "noise")),
    Option("--travel", (RESTORE,), Whole(1, 100), "N", defaults.travel, SHAPED,
        "go each part of the way N times, with fresh noise in between: the drawn agrees more with "
        "the known (2 by ddnm, else 1)", follows=("task", "noise", "by")),
    Option("--strength", (RESTORE,), Number(0, 1, above=True), "T",
        defaults.strength, SHAPED, "of --by inversion: how far to go towards noise; lower keeps "
        "more of the enlarged photo (0.5)", follows=("by",)),
),
"the guidance": (
    Option("--guidance", FREE, GuidanceRule(), "NAME[:VALUE...]", PLAIN, SHAPED, GUIDANCE),
    Option("--guide", FREE, FILE, "FILE", None, RECORDED | FILES,
        "a weaker checkpoint of the model, which guidance leads away from instead of no prompt: "
        ".pth or .safetensors", follows=("model",)),
    Option("--guidance-interval", FROM_NOISE, Number(0, 1), ("LOW", "HIGH"), list(WHOLE), SHAPED,
        "guide between these timesteps alone: 0 is the image, 1 the noise (0 1)", many=2),
    Option("--soft-edge", FREE, Number(0, 1), "X", 0.1, SHAPED,
        "how wide a prompt's box fades at its edges, as a share of the image's shorter side"),
    Option("--clip-guidance-scale -cs", (CLIP,), Number(0, types.MAX_SCALE), "X", 500.0, SHAPED,
        "how strongly CLIP steers; 0: not at all, then only a conditional model follows the "
        "prompts"),
    Option("--cutn", (CLIP,), Whole(1, 4096), "N", 16, SHAPED,
        "random crops of the image that CLIP looks at in each step"),
    Option("--cut-pow", (CLIP,), Number(0, types.MAX_POWER, above=True), "X", 1.0, SHAPED,
        "above 1: more small crops, below 1: more large ones"),
    Option("--guide-every", (CLIP,), Whole(1, MAX_STEPS), "K", 1, SHAPED,
        "look at every K-th evaluation and keep the direction in between: faster"),
    Option("--clip-model", (CLIP,), Text(types.clip_name), "NAME", defaults.clip_model,
        RECORDED, f"the CLIP that steers: {', '.join(CLIPS)} or a name of open_clip, like "
        "ViT-L-14:openai (default: the one the model reads prompts with, else ViT-B-16)"),
),
"what to start from": (
    Option("--init", DRAWING, types.SOURCE, "IMAGE", None, IMAGES | RECORDED | FILES,
        "start from this image with noise: a file or an address", excludes=("latent",)),
    Option(of("--starting-timestep -st", modify="--strength --max-timestep -mt"),
        (*DRAWING, MODIFY),
        Number(0, 1, above=True), "T", of(0.9, modify=1.0), IMAGES | RECORDED, of(
        "how much noise --init gets, above 0 (little) and up to 1 (nothing else)",
        modify="how far to go towards noise: lower keeps more of the photo"),
        own_name="starting_timestep"),
    Option("--max-timestep -mt", (REVERSE,), Number(0, 1, above=True), "T", 1.0, SHAPED,
        "how far to go, above 0 (near the photo) and up to 1 (noise)"),
    Option("--direct", (MODIFY,), None, None, False, SHAPED,
        "do not find the photo's noise; change it along the difference of two flows instead"),
    Option("--latent", DRAWING, FILE, "FILE", None, SHAPED | FILES,
        "start from the latent noise in this .safetensors file", excludes=("init",)),
    Option("--variation", DRAWING, VariationType(), "SEED:SHARE", None, IMAGES | RECORDED,
        "turn the noise towards that of another seed, from 0 (not at all) to 1 (it is the "
        "other's), or --latent towards another, FILE:SHARE; 7:0-1 is an animation",
        follows=("latent",)),
    Option("--from-png", PNGS, FILE, "FILE", None, Is.RUNS, of(
        "draw this image (PNG, JPEG, WebP) or animation again; flags given beside it win",
        modify="edit as for this image; flags given beside it win"),
        excludes=("from_file", "interactive")),
),
"the model": (
    Option("--model", SAMPLING, Name("model", NETWORKS), "NAME", None, RECORDED,
        {s: f"one of {', '.join(MODELS_OF[s])}; default: {s.large} if its checkpoint is there or "
        "given, else emoji, which comes with the suite" for s in SAMPLING}),
    Option("--list-models", SAMPLING, Name("model", NETWORKS), "NAME", None, Is.RUNS,
        "list the models and stop, or say more of one", many="?", takes=is_name),
    Option("--list-prompts", SAMPLING, Name("model", NETWORKS), "MODEL", None, Is.RUNS,
        "list the things that emoji, or another model, was trained to draw, and stop", many="?",
        takes=is_name),
    Option("--checkpoint", SAMPLING, FILE, "FILE", None, Is.RUNS,
        "the model's weights, .pth or .safetensors (default: in checkpoints/)"),
    Option("--clip-checkpoint", SAMPLING, FILE, "FILE", None, Is.RUNS, of(
        "the weights of the CLIP that reads the prompts (default: open_clip finds them)",
        clip="the weights of the CLIP that steers (default: open_clip finds them)")),
    Option("--no-embedding-cache", SAMPLING, None, None, False, Is.RUNS,
        "read the prompts anew; without this, what CLIP made of a text is kept on disk"),
    Option("--mirror", SAMPLING, Text(types.address), "URL", None, Is.RUNS,
        "download checkpoints from this folder instead (or set V_DIFFUSION_MIRROR)"),
    Option("--device", SAMPLING, Text(types.device), "NAME", None, Is.RUNS,
        "cuda, cuda:1, xpu, mps or cpu (default: the fastest there is)"),
    Option("--dtype", SAMPLING, Name("dtype", ["auto", "float32", "bfloat16", "float16", "int8"]),
        "NAME", "auto", RECORDED, "what the network computes in: float32, bfloat16, float16 or "
        "auto, which takes one of these; or int8, on a CPU: less exact, fast on many without "
        "bfloat16"),
    Option("--low-memory", SAMPLING, None, None, False, RECORDED,
        "take less memory and more time: images one by one, on a CPU in two bytes or with large "
        "weights left in their file; where CLIP steers, parts of the network twice instead"),
    Option("--threads", SAMPLING, Whole(1, 1024), "N", None, Is.RUNS,
        "threads of a CPU to compute with (default: as OMP_NUM_THREADS says, else one for each "
        "core, shared by the processes of torchrun)"),
    Option("--compile", FREE, None, None, False, Is.RUNS,
        "have torch.compile make the network faster, which takes a minute or more first"),
),
"the sampling": (
    Option("-n", PNGS, Whole(1, MAX_IMAGES), "N", 1, IMAGES, "images to draw", excludes=("seeds",)),
    Option("--seed", SAMPLING, Seed(0, MAX_SEED), "N", 0, IMAGES | RECORDED, of(
        "of the first image, then up; random: one that is drawn and told",
        reverse="of the first photo's fresh noise, then up; random: one that is drawn and told"),
        excludes=("seeds",)),
    Option("--seeds", PNGS, Text(types.seeds), "LIST", None, IMAGES,
        "of all images, like 1,5-9", excludes=("n", "seed")),
    Option("--batch-size -bs", SAMPLING, Whole(1, 4096), "N", 1, Is.RUNS,
        "images at once: faster on a GPU, takes more memory"),
    Option("--size", SAMPLING, Whole(1, MAX_SIDE), ("W", "H"), defaults.size, SHAPED,
        "width and height in pixels, 64 64 or 64x64; one number: a square (default: what the model "
        "was trained on)", many=2, spelt=types.sides, follows=("model",)),
    Option("--coarse-until", FROM_NOISE, Number(0, 1, above=True), "T", defaults.coarse_until,
        SHAPED, of(COARSE.format("--latent and --init"),
                   restore=COARSE.format("--by pigdm, level and inversion")),
        follows=of(("model", "size", "init", "starting_timestep", "latent"),
                   restore=("model", "size", "task", "noise", "by"))),
    Option("--method", SAMPLING, {s: Name("method", METHODS_OF[s]) for s in SAMPLING}, "NAME",
        of(DEFAULT, clip="ddpm", reverse="exact", modify="plms", restore="ddpm"), SHAPED,
        {s: ", ".join(METHODS_OF[s]) for s in SAMPLING}),
    Option("--steps", SAMPLING, Whole(1, MAX_STEPS), "N", defaults.steps, SHAPED, of(
        f"steps to take (default: the method's, {METHODS[DEFAULT].steps} of {DEFAULT}); of "
        "adaptive, at least", clip="steps to take (1000); of adaptive, at least",
        restore="steps to take (25), each as often as --travel says",
        reverse="steps to take (50); of adaptive, at least", modify="steps to take (50)")),
    Option("--tolerance", (CFG, CLIP, REVERSE), Number(0, 2, above=True), "X", defaults.tolerance,
        SHAPED, f"the error that a step of adaptive may make ({TOLERANCE:g}; range: -1 to 1)",
        follows=("method",)),
    Option("--schedule", SAMPLING, Name("schedule", SCHEDULES), "NAME", defaults.schedule, SHAPED,
        f"of the timesteps: {', '.join(SCHEDULES)} (default: what the method is best on; for "
        f"{', '.join(TRAINED)} what the model was trained on)"),
    Option("--eta", FROM_NOISE, Number(0, 1), "X", defaults.eta, SHAPED,
        "fresh noise in each step, of ddim and others that take it: 0 (none) to 1 (ddpm)",
        follows=("method",)),
    Option("--chunk", SAMPLING, Whole(1, MAX_IMAGES), "N", None, RECORDED,
        "images in one call of the network, prompts times batch (default: all that fit, or 1 where "
        "more would only take memory)"),
),
"what to do with the latent": (
    Option("--normalise-latent", (REVERSE,), None, None, False, IMAGES,
        "bring it to a standard deviation of 1"),
    Option("--noise-mix", (REVERSE,), Number(0, 1), "A", 0.0, IMAGES,
        "blend in fresh noise, from 0 (none) to 1 (nothing else), keeping the variance"),
    Option("--round-trip", (REVERSE,), None, None, False, Is.RUNS,
        "go forward again and say how far from the photo that ends"),
    Option("--preview", (REVERSE,), None, None, False, Is.RUNS,
        "save a picture of each latent, too"),
),
"many jobs": (
    Option("--from-file", SAMPLING, Text(types.job_file), "FILE", None, Is.RUNS,
        "a job a line: prompts and flags of images as on the command line, or a JSON object of "
        "them; - is standard input, read as it comes", excludes=("from_png", "interactive")),
    Option("--interactive", SAMPLING, None, None, False, Is.RUNS,
        "ask for prompts and draw each as it is typed, with the model loaded; a line is as in a "
        "job file", excludes=("from_file", "from_png", "sweep", "shard", "dry_run", "grid")),
    Option("--sweep", SAMPLING, Text(types.sweep), "FLAG=A,B,...", [], Is.RUNS,
        "draw with each of these values, and each combination where several flags are swept",
        many="+", takes=types.may_be_sweep, excludes=("interactive",)),
    Option("--wildcards", DRAWING, Text(types.existing_folder), "FOLDER", None, Is.RUNS,
        "where the lists of __NAME__ in prompts lie, as NAME.txt (wildcards)"),
    Option("--keep-going", SAMPLING, None, None, False, Is.RUNS,
        "leave out lines and images that fail, finish the rest and exit with 3"),
    Option("--shard", SAMPLING, Text(types.shard), "I/N", None, Is.RUNS,
        "draw the I-th of N shares of the images; other processes draw the others",
        excludes=("interactive",)),
    Option("--dry-run", SAMPLING, None, None, False, Is.RUNS,
        "say what would be drawn, and draw nothing", excludes=("interactive",)),
),
"what to show": (
    Option("pictures", (GRID,), types.SOURCE, "IMAGE", None, Is.RUNS,
        'files, folders and patterns like "runs/*.png"; what a folder or a pattern holds is shown '
        "in the order of the names, 2 before 10", many="+"),
    Option("--size", (GRID,), Whole(1, MAX_SIDE), ("W", "H"), None, Is.RUNS,
        "width and height of each image, as 64 64 or 64x64 (default: the largest there are)",
        many=2, spelt=types.sides),
    Option("--fit", (GRID,), Name("way to fit", FITS), "HOW", None, Is.RUNS,
        "what becomes of images of another size: contain shows them whole, cover fills the place "
        "and cuts off what sticks out, stretch changes their shape (default: contain with --size; "
        "without, all must be alike)"),
    Option("--scale", (GRID,), Whole(1, 64), "N", 1, Is.RUNS,
        "show images N times as wide and high, each pixel as a square"),
    Option("folder", (GALLERY,), Text(types.path), "FOLDER", None, Is.RUNS,
        "the folder with the PNGs"),
    Option("--recursive -r", (GALLERY,), None, None, False, Is.RUNS,
        "show those in the folders within it, too"),
    Option("files", (INFO,), types.SOURCE, "FILE", None, Is.RUNS,
        'images by these scripts, or with a "parameters" text by other tools', many="+"),
),
"how to arrange them": (
    Option("--nrow", (GRID,), Whole(1, MAX_SIDE), "N", None, Is.RUNS,
        "images in a row (default: as many as the titles say, or as make a square)"),
    Option("--spacing", (GRID,), Whole(0, 1000), "N", None, Is.RUNS,
        f"pixels between images and around them (0; with labels or titles {GAP})"),
    Option("--background", (GRID,), Text(colour), "COLOUR", WHITE, Is.RUNS,
        "like black or #202020 (white)"),
),
"what to write": (
    Option("--label", (GRID,), Text(types.comma_list), "FIELDS", [], Is.RUNS,
        "below each image, by its recipe: prompt, prompts (with weights), seed, steps, method, "
        "model, ... or file, its name; several like seed,prompt"),
    Option("--title", (GRID,), Text(), "TEXT", None, Is.RUNS, "above all"),
    Option("--row-titles", (GRID,), Text(), "TEXT", [], Is.RUNS, "at the left of each row",
        many="+", takes=lambda word: None if is_photo(word) else True),
    Option("--column-titles", (GRID,), Text(), "TEXT", [], Is.RUNS, "above each column", many="+",
        takes=lambda word: None if is_photo(word) else True),
),
"where to save": (
    Option("--output -o", (GRID,), Text(picture_file), "FILE", lambda _: picture_file("grid.png"),
        Is.RUNS, "a PNG, or a folder for it (grid.png)"),
    Option("--output -o", (GALLERY,), Text(types.path), "FILE", None, Is.RUNS,
        "the page, an .html file or a folder (default: index.html in the folder); a gallery "
        "that is there is replaced"),
    Option("--output -o", SAMPLING, of(
        Text(partial(output, suffix=(*PICTURES, *ANIMATIONS), fields=DRAWN)),
        modify=Text(partial(output, suffix=PICTURES, fields=EDIT)),
        restore=Text(partial(output, suffix=PICTURES, fields=EDIT)),
        reverse=Text(partial(output, usual=LATENT_TEMPLATE, suffix=".safetensors",
        fields=LATENT_FIELDS))), "NAME", None, Is.RUNS, of(
        f"name of the images, .png, .jpg or .webp, with {NAMES}; or a folder, FOLDER/; default "
        f"{DEFAULT_TEMPLATE}, numbered on from the files there; with --morph .gif, .webp, .apng or "
        ".mp4, or that of its frames, with {frame}",
        reverse=f"name of the latents, with {LATENT_NAMES}; or a folder, FOLDER/; default "
        f"{LATENT_TEMPLATE}, numbered on from the files there",
        modify=f"name of the image, .png, .jpg or .webp, with {NAMES} and {{photo}}; or a folder, "
        "FOLDER/; default out.png, or numbered ones for several",
        restore=f"name of the images, .png, .jpg or .webp, with {NAMES} and {{photo}}; or a "
        f"folder, FOLDER/; default {DEFAULT_TEMPLATE}, numbered on from the files there")),
    Option("--skip-existing", (*SAMPLING, GRID), None, None, False, Is.RUNS,
        {**of("leave out images whose file exists"), GRID: "do nothing if it exists"},
        excludes=("overwrite",)),
    Option("--overwrite", (*SAMPLING, GRID, GALLERY), None, None, False, Is.RUNS,
        {**of("replace files that exist"), GRID: "replace it if it exists",
        GALLERY: "replace any other file, too"}, excludes=("skip_existing",)),
    Option("--no-metadata", PNGS, None, None, False, Is.RUNS,
        "save images without how they were made"),
    Option("--grid", PNGS, Text(picture_file), "FILE", None, Is.RUNS,
        "put the images on one picture as well, labelled with what is swept",
        excludes=("interactive",)),
    Option("--results", SAMPLING, Text(types.path), "FILE", None, Is.RUNS,
        "add a line of JSON to this file for each finished image"),
    Option("--json", SAMPLING, None, None, False, Is.RUNS, of(
        "print these lines instead of the files' names",
        reverse="print what is found as JSON, on stdout")),
    Option("--gallery", PNGS, Text(types.page), "FILE", None, Is.RUNS,
        "write a page of the images' folder at the end (default: index.html in it)", many="?",
        takes=may_be_file),
),
"watching the run": (
    Option("--show", PNGS, None, None, False, Is.RUNS,
        "show the images in the terminal, and with --preview-every what is being drawn; needs "
        "textual-image (pip install textual-image)"),
    Option("--preview-every", SAMPLING, Whole(1, MAX_STEPS), "K", None, Is.RUNS,
        "keep a picture of what is being drawn in preview.png beside the output, renewed every K "
        "steps"),
    Option("--trajectory", SAMPLING, Text(trajectory_file), "FILE", None, Is.RUNS,
        "show how the first batch came about: a strip (.png) or an animation (.gif, .webp, .apng, "
        ".mp4)"),
    Option("--fps", SAMPLING, Number(1, 50), "X", None, Is.RUNS,
        "frames a second of an animation, by --trajectory or --morph (10)"),
),
"what to print": (
    Option("--quiet -q", (*SAMPLING, GRID, GALLERY), None, None, False, Is.RUNS,
        "print no notes and no progress, only names of files and errors", excludes=("verbose",)),
    Option("--verbose -v", SAMPLING, None, None, False, Is.RUNS,
        "say what is computed with, and how long each image took", excludes=("quiet",)),
    Option("--json", (INFO,), None, None, False, Is.RUNS, "a JSON object for each file, in a line",
        excludes=("command",)),
    Option("--command", (INFO,), None, None, False, Is.RUNS,
        "the command that draws the image again, for a shell: bash, zsh or ksh",
        excludes=("json",)),
),
}
# fmt: on


@cache
def options_of(script):
    """The options of a script as a dict from their names, in the order of the table."""
    rows = [(title, row) for title, rows in TABLE.items() for row in rows if script in row.scripts]
    options = [row.of(script, title) for title, row in rows]
    return {option.name: option for option in options}


@cache
def marked(script, mark):
    """Those of the options of a script of which `is_` says something, like `options_of`."""
    return {name: option for name, option in options_of(script).items() if mark in option.is_}


@cache
def named(script):
    """The options of a script as a dict from what a job file or a sweep may call them.

    That is a flag without its dashes, `-` and `_` alike: `steps`, `guidance_interval`, `cs`.
    """
    options = options_of(script).values()
    return {
        word.lstrip("-").replace("-", "_"): option
        for option in options
        for word in [option.name, *option.flags.split()]
    }
