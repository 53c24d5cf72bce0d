"""What was asked for: the command line, a line of a job file, a recipe and the defaults, as one.

A line of a job file beats the command line, that beats the recipe of `--from-png`, and a recipe
beats the defaults.
"""

import math
import os
from dataclasses import replace
from functools import cache

from cli import defaults
from cli.options import options_of
from cli.scripts import CLIP, DRAWING, EDITING, MODIFY, RESTORE, REVERSE
from jobs import checks, restoring
from jobs.outputs import Policy
from jobs.recall import recalled, without_prompts
from jobs.resolved import classes
from models.checkpoints import is_present
from models.zoo import NETWORKS
from recipes import latents
from recipes import recipe as recipes
from values import wildcards
from values.errors import UserError, counted, printable
from values.files import expanded
from values.names import Template
from values.prompts import each, merge, weighing
from values.types import MAX_SEED

HASHES = ("model_sha256", "clip_sha256", "guiding_clip_sha256", "guide_sha256")
EDITED = Template("out.png")  # the name of a single edit


def resolve(script, said, is_job=True):
    """All options of a run and of the images of one job.

    Args:
        script: one of `cli.scripts.SAMPLING`.
        said: as `cli.parser.parse` returns it, with the line of a job file put over it.
        is_job: whether there are images to be drawn of it; else lines of a job file add to it.
    Returns:
        (RunOptions, ImageOptions).
    Raises:
        UserError: for options that do not go together and for recipes that cannot be followed.
    """
    run_options, image_options = classes()
    values, of_run, of_image = _resolve(script, said, is_job)
    of_run["policy"] = _policy(script, values, said)
    rest = {n: v for n, v in values.items() if n not in image_options.__dataclass_fields__}
    return run_options(script=script, **of_run, **rest), _image(values, of_image)


def resolve_image(script, said, frame=None):
    """The ImageOptions alone, where those of the run are known; as `resolve`.

    Args:
        frame: what they are a frame of, as `jobs.frames.frames_of` has it.
    """
    values, _, of_image = _resolve(script, said, is_job=True)
    batch = of_image["batch"] or (frame and frame.batch)
    return _image(values, {**of_image, "frame": frame, "batch": batch})


def _image(values, of_image):
    _, image_options = classes()
    names = image_options.__dataclass_fields__
    return image_options(**{n: v for n, v in values.items() if n in names}, **of_image)


def _resolve(script, said, is_job):
    """The values of all options; and what else there is to say of the run, and of the images."""
    given = {name: value for name, value in said.items() if value != []}
    source = given.get("from_png")
    recipe = recipes.read(source) if source else {}
    made_by = recipe.get("script", script.name)
    if made_by != script.name:
        raise UserError(
            f"{printable(source)} was made by {printable(made_by, 40)}, not by "
            f"{script.name}: draw it again with that"
        )
    if script.takes_photos:
        _name_photos(script, given, is_job)
    head = latents.head(given["latent"]) if "latent" in given else None
    made_with, file = (recipe, source) if recipe or not head else (head.recipe, given["latent"])
    known = made_with.get("model")
    given["model"] = _model(script, given, known, file)
    expected = {name: recipe.get(name) if given["model"] == known else None for name in HASHES}
    expected |= {name: recipe.get(name) for name in ("files_sha256", "model")}
    values = recalled(script, recipe, given, source) | given
    if "latent" in values and head is None:  # the recipe has named it
        head = latents.head(values["latent"])
    again = head is not None and not {"steps", "schedule"} & set(values)
    if head and not recipe:
        values = recalled(script, without_prompts(head.recipe, given), given, file) | values
    _fold_prompts(values, given, is_job)
    values = _with_defaults(script, values, head)
    network = NETWORKS[values["model"]]
    if is_job:  # else lines and sweeps may say otherwise
        checks.check_method(values)
        checks.check_size(values["size"], network)
        checks.check_end(script, values, network)
    derived = {
        **_latents(values, head, recipe, said),
        "latent_timesteps": head.timesteps[::-1] if again and head.timesteps else None,
        "head": head,
        # Rows of a batch are rounded alike where the batch has the same shape.
        "batch": None if {"batch_size", "n", "seeds"} & set(given) else recipe.get("batch"),
        "unpacked": recipe.get("unpacked", False),
        "makes_choices": makes_choices(script, given),
        "other_head": _other_head(values, head, given, recipe, again),
        "asks": bool(values["prompts"] or values["images"]),
    }
    _resolve_seeds(values, derived["latent_indices"])
    _resolve_prompts(script, values, network)
    if script is CLIP:
        checks.check_plain(script, values)
    if network.takes_weight:
        checks.check_student(script, values, network)
    checks.check_texts(script, given)
    checks.check_dtype(values)
    if is_job:
        checks.check_interval(script, values)
        checks.check_soft_edge(given, values)
        checks.check_coarse(script, given, values, network)
        checks.check_guidance(script, values, network)
        if script is CLIP:
            checks.check_steering(values, derived["asks"])
        if script in DRAWING:
            checks.check_start(given, values)
        if script is MODIFY:
            checks.check_edit(values)
        if script is RESTORE:
            restoring.check(values)
        if script is REVERSE:
            checks.check_round_trip(values)
    return values, {"network": network, "expected": expected}, derived


def makes_choices(script, given):
    """Whether prompts that are given hold alternatives or lists; those of a recipe never do."""
    asked = each(p for name in ("prompts", "negative", "region") for p in given.get(name, []))
    return script in DRAWING and any(wildcards.may_choose(prompt.text) for prompt in asked)


def _fold_prompts(values, given, is_job):
    """--negative, --region and --weight as what they mean: prompts."""
    prompts, weight = list(values.get("prompts", [])), values.pop("weight", None)
    more = {name: values.pop(name, []) for name in ("negative", "region")}
    parts = {"prompts": prompts, **more}
    if any(wildcards.may_choose(p.text) for name in more for p in each(given.get(name, []))):
        for name in parts:
            if name not in given:  # a recipe's prompts are what became of all choices
                parts[name] = [replace(p, text=wildcards.escape(p.text)) for p in parts[name]]
    prompts = parts["prompts"]
    if weight is not None and prompts:
        prompts[0] = weighing(prompts[0], weight)
    elif weight is not None and is_job:
        raise UserError("--weight is of a prompt without a flag: give one")
    if any(parts.values()):
        values["prompts"] = each([*prompts, *parts["negative"], *parts["region"]])
    for name in ("images", "source"):
        if name in values:
            values[name] = each(values[name])


def _name_photos(script, given, is_job):
    photos = given.pop("photos", [])
    if not photos and "from_png" not in given and is_job:
        if prompts := given.get("prompts"):
            first = prompts[0].text
            if os.path.isdir(expanded(first)):
                raise UserError(f"{printable(first, 200)}: is a folder: name a photo in it")
            raise UserError(f'"{printable(first, 60)}": no such file: the first is a photo')
        raise UserError("name the photo to start from, then the prompts")
    if script in EDITING:
        if len(photos) > 1:
            raise UserError(f"one photo at a time: {printable(photos[1], 100)} is another")
        if photos:
            given["init"] = photos[0]
    else:
        given["photos"], given["n"] = photos, len(photos)


def default_model(script, checkpoint):
    """The network to use where none is named."""
    large = script.large
    return large if is_present(NETWORKS[large]) or checkpoint else "emoji"


def _model(script, given, known, source):
    """The network's name; known: that of the recipe, or None."""
    if "model" in given:
        return given["model"]
    if known is None:
        return default_model(script, given.get("checkpoint"))
    if known not in NETWORKS:
        raise UserError(
            f'{printable(source)} was made with the model "{printable(known, 100)}", which is not '
            "known here: give another with --model"
        )
    row = NETWORKS[known]
    # A file must not make anybody download gigabytes.
    if row.url and "checkpoint" not in given and not is_present(row):
        raise UserError(
            f"{printable(source)} was made with {known}, whose checkpoint is not here: "
            f"--model {known} downloads it"
        )
    return known


def _with_defaults(script, values, head):
    """All options of a script, by name, with the defaults where nothing says otherwise."""
    plain, derived = _defaults(script)
    given = {name: value for name, value in values.items() if value is not None}
    values = {"script": script, "init": None} | plain | given
    if "method" not in given:
        values["method"] = defaults.method(values, values["method"])
    if head and values.get("size") is None:
        values["size"] = list(head.shape[:0:-1])  # that of the latents
    for option in derived:
        if values.get(option.name) is None:
            values[option.name] = option.default(values)
    del values["script"]
    return values


@cache
def _defaults(script):
    """Default values, by name, and the options whose defaults depend on the values of others."""
    options = options_of(script).values()
    plain = {o.name: o.default for o in options if not callable(o.default)}
    return plain, [option for option in options if callable(option.default)]


def _latents(values, head, recipe, said):
    """Which latents of a file to start from."""
    if not head:
        return {"latent_indices": None}
    path = values["latent"]
    latents.check_fit(path, head, values["model"], tuple(values["size"]))
    index = None if {"init", "latent"} & set(said) else recipe.get("latent_index", 0)
    if index is not None and index >= head.count:
        raise UserError(
            f"{printable(path)} holds {counted(head.count, 'latent')}, the recipe needs more"
        )
    indices = range(head.count) if index is None else [index]
    wanted = len(values["seeds"]) if values["seeds"] else said.get("n", len(indices))
    if wanted != len(indices):
        raise UserError(
            f"{printable(path)} holds {counted(len(indices), 'latent')}, but "
            f"{counted(wanted, 'image')} {'is' if wanted == 1 else 'are'} asked for"
        )
    values["n"] = wanted
    return {"latent_indices": indices}


def _other_head(values, head, given, recipe, again):
    """What the file of latents says that those of `latent` are turned towards; or None.

    Args:
        head, again: of `latent`, and whether its way back is the way that they were found.
        given, recipe: as for `_resolve`.
    """
    variation = values.get("variation")
    if variation is None or (isinstance(variation.other, int) and not head):
        return None
    flag = f"--variation {printable(variation, 200)}"
    if isinstance(variation.other, int):
        raise UserError(f"{flag}: a latent is turned towards another: FILE.safetensors:SHARE")
    if not head:
        raise UserError(f"{flag}: turns one latent towards another: give --latent FILE, too")
    other = latents.head(variation.other)
    same = ["method"] if "method" not in given and not recipe else []
    if not ({"prompts", "images"} & set(given) or recipe):
        same += ["prompts", "images"]
    latents.check_alike(values["latent"], head, variation.other, other, same, again)
    return other


def _resolve_seeds(values, latent_indices):
    """All seeds, as `seeds`, and their number as `n`."""
    if not values.get("seeds"):
        first, n = values["seed"], values["n"]
        if first + n - 1 > MAX_SEED:
            raise UserError(f"{n} images go past the largest seed, {MAX_SEED}: lower --seed")
        values["seeds"] = range(first, first + n)
    values["n"] = len(values["seeds"])


def _resolve_prompts(script, values, network):
    """Prompts of one text as one, and none of weight 0."""
    source = values.get("source", [])
    asked = [*values["prompts"], *values["images"]]
    if network.clip is None and (asked or source) and not script.guides_any:
        raise UserError(
            f"{network.name} takes no prompts: leave them out, or choose a model that does: "
            f"{', '.join(row.name for row in NETWORKS.values() if row.clip)}"
        )
    if not math.isfinite(sum(prompt.weight for prompt in asked)):
        raise UserError("the weights of the prompts are too large to add up")
    for name in ("prompts", "images", "source"):
        if name in values:
            values[name] = [prompt for prompt in merge(values[name]) if prompt.weight]


def _policy(script, values, said):
    if script is MODIFY and not {"output", "n", "seeds", "from_file", "sweep", "interactive"} & set(
        said
    ):
        values["output"] = EDITED
    if not (values["skip_existing"] or values["overwrite"]):
        return None
    if values["output"] is None or values["output"].goes_on:
        flag = "--skip-existing" if values["skip_existing"] else "--overwrite"
        raise UserError(f"{flag} needs to know the names: give them with --output")
    return Policy.SKIP if values["skip_existing"] else Policy.OVERWRITE
