"""What the arguments come to: recipe and defaults filled in, and all that depends on several flags.

A flag beats the recipe of `--from-png`, and the recipe beats the defaults. A recipe is a stranger's
file: its values pass the same checks as the flags they stand for.
"""

import argparse
import math
import os
from pathlib import Path

import diffusion
from cli import flag_types, metadata, outputs, prompts, wildcards
from cli.errors import UserError, printable
from diffusion.adaptive import TOLERANCE
from diffusion.methods import NEGLIGIBLE, WHOLE
from models.checkpoints import is_present
from models.zoo import NETWORKS
from runner import latents

DEFAULTS = {
    "batch_size": 1,
    "dry_run": False,
    "dtype": "auto",
    "from_file": None,
    "gallery": None,
    "grid": None,
    "images": [],
    "json": False,
    "keep_going": False,
    "n": 1,
    "prompts": [],
    "results": None,
    "seed": 0,
    "shard": None,
}
MAX_PROMPTS = 1000  # in a recipe


def settle(args, script):
    """Fills in every value that was not given, and checks what depends on several flags.

    Args:
        args: as parsed; its values are set in place. Besides those of flags: `note` (which model
            was chosen where none was named, or None), `policy` (for `outputs.plan`), `seeds` (of
            all images), `found` (the head of --latent, or None), `latent_indices` (which of them to
            draw), `asks_anew` (whether flags name prompts or a method, if only beside a recipe),
            `timesteps` (those of the way to the latents, descending, where they are to be visited
            again; or None), `expected` (hashes that the recipe names), `batch` ([rows, row]
            to draw in, or None), `makes_choices` (whether prompts hold alternatives or lists) and
            `needs_gradients` (False: a script that steers sets it).
        script: a row of `cli.scripts`.
    Returns:
        args.
    Raises:
        UserError: for flags that do not go together and for recipes that cannot be followed.
    """
    args.prompts = args.prompts or None  # argparse gives an empty list where there are none
    if args.seeds is not None and (args.seed is not None or args.n is not None):
        raise UserError("--seeds names all seeds: leave out --seed and -n")
    args.n_is_default = args.n is None
    args.needs_gradients = False
    texts = [prompt.text for prompt in args.prompts or []]  # those of a recipe have been chosen
    args.makes_choices = hasattr(args, "wildcards") and any(map(wildcards.may_choose, texts))
    recipe = metadata.read(args.from_png) if args.from_png else {}
    made_by = recipe.get("script", script.name)
    if made_by != script.name:
        raise UserError(
            f"{printable(args.from_png)} was made by {printable(made_by, 40)}, not by "
            f"{script.name}: draw it again with that"
        )
    if args.init and args.latent:
        raise UserError("--init and --latent are two starts: give one of them")
    args.found = latents.head(args.latent) if args.latent else None
    _settle_model(args, recipe, args.from_png, script)
    args.asks_anew = bool(args.prompts or args.images or args.method)
    _settle_recipe(args, recipe, args.from_png, script)
    _settle_way(args, recipe, script)
    _fill(args, {**DEFAULTS, "method": script.method, "starting_timestep": script.start})
    method = diffusion.METHODS[args.method]
    _fill(args, {"steps": script.steps if script.steps and method.evaluations else method.steps})
    row = NETWORKS[args.model]
    _settle_method(args, row)
    _settle_size(args, row)
    _settle_latents(args)
    _settle_seeds(args)
    _settle_prompts(args, row, script)
    if hasattr(args, "guidance_interval"):
        _settle_interval(args, script)
    _settle_policy(args)
    return args


def default_model(args, large):
    """The network to use where none is named, and a note that says which and why."""
    if is_present(NETWORKS[large]) or args.checkpoint:
        return large, f"model: {large} (use --model emoji for the small one)"
    return "emoji", (
        f"model: emoji, which comes with the suite (use --model {large} to download the large "
        "one, 2.4 GB)"
    )


def _fill(args, values):
    for name, value in values.items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)


def _settle_model(args, recipe, source, script):
    if not recipe and args.found:
        recipe, source = args.found.recipe, args.latent
    args.note, known = None, recipe.get("model")
    if args.model is None and known is not None:
        if known not in NETWORKS:
            raise UserError(
                f"{printable(source)} was made with the model {_quote(known)}, which is not "
                "known here: give another with --model"
            )
        row = NETWORKS[known]
        # A file must not make anybody download gigabytes.
        if row.url and not args.checkpoint and not is_present(row):
            raise UserError(
                f"{printable(source)} was made with {known}, whose checkpoint is not here: "
                f"--model {known} downloads it"
            )
        args.model = known
    if args.model is None:
        args.model, args.note = default_model(args, script.large)
    same = args.model == known
    hashes = ("model_sha256", "clip_sha256", "guiding_clip_sha256")
    args.expected = {k: recipe.get(k) if same else None for k in hashes}


def _settle_way(args, recipe, script):
    """Goes the way that led to the latents, under the same prompts, unless flags say otherwise."""
    args.timesteps = None
    if not args.latent:
        return
    if args.found is None:  # the recipe has named them
        args.found = latents.head(args.latent)
    again = args.steps is None and args.schedule is None
    if not recipe:
        known = dict(args.found.recipe)
        if args.prompts or args.images:
            known.update(prompts=None, images=None)
        _settle_recipe(args, known, args.latent, script)
    if again and args.found.timesteps:
        args.timesteps = args.found.timesteps[::-1]


def _settle_recipe(args, recipe, path, script):
    """Fills in what the recipe in a file says of the flags that were not given."""
    if not recipe:
        args.batch = None
        return
    source = printable(path)

    def fill(name, read, flag=None, text=str):
        if getattr(args, name) is None and recipe.get(name) is not None:
            try:
                setattr(args, name, read(text(recipe[name])))
            except (argparse.ArgumentTypeError, UserError) as error:
                flag = flag or "--" + name.replace("_", "-")
                raise UserError(f"the recipe of {source}: {error}: give {flag}") from None

    # Rows of a batch are rounded alike where the batch has the same shape.
    alone = args.batch_size is None and args.n is None and args.seeds is None
    args.batch = recipe.get("batch") if alone else None
    if args.method in (None, recipe.get("method")):
        fill("eta", flag_types.number(0, 1))
        fill("tolerance", flag_types.number(0, 2, above=True))
    if args.model == recipe.get("model") and args.size is None and "size" in recipe:
        side = flag_types.whole(1, flag_types.MAX_SIDE)
        fill("size", lambda sides: [side(str(s)) for s in sides], text=list)
    if args.seeds is None:
        fill("seed", flag_types.whole(0, flag_types.MAX_SEED))
    if not recipe.get("timesteps_of_latent"):
        fill("steps", flag_types.whole(1, flag_types.MAX_STEPS))
        fill("schedule", flag_types.name_of("schedule", diffusion.SCHEDULES))
    fill("chunk", flag_types.whole(1, flag_types.MAX_IMAGES))
    fill("starting_timestep", flag_types.number(0, 1, above=True))
    fill("method", flag_types.name_of("method", diffusion.METHODS))
    fill("dtype", flag_types.name_of("dtype", ["float32", "bfloat16", "float16"]))
    near = path.parent
    if args.init is None and args.latent is None:
        fill("init", lambda name: _found(name, near, "--init"))
        fill("latent", lambda name: Path(_found(name, near, "--latent")))
        args.latent_index = recipe.get("latent_index", 0) if args.latent else None
    if hasattr(args, "mask"):
        fill("mask", lambda name: _found(name, near, "--mask"))
        fill("direct", lambda said: said == "True")
        fill("source", _prompts, text=_pairs)
    if hasattr(args, "guidance_interval"):
        _settle_interval_of(recipe, args, fill, script)
    if script.guides_any:
        _settle_guidance(fill)
    elif NETWORKS[args.model].clip is None:
        return
    # By way of the command line, for the checks that prompts pass there.
    fill("prompts", _prompts, flag="prompts", text=_pairs)
    fill(
        "images",
        lambda pairs: [prompts.Prompt(_found(p.text, near, "--images"), p.weight) for p in pairs],
        text=_pairs,
    )


def _settle_interval_of(recipe, args, fill, script):
    """Takes a recipe's interval, unless that was the usual one and flags ask for other things."""
    method = recipe.get("method")
    if method not in diffusion.METHODS:
        return
    asked = [*(recipe.get("prompts") or []), *(recipe.get("images") or [])]
    usual = _usual_interval(method, [weight for _, weight in asked], script)
    everywhere = list(WHOLE)  # where a recipe names none
    if not args.asks_anew or recipe.get("guidance_interval", everywhere) != usual:
        t = flag_types.number(0, 1)
        fill("guidance_interval", lambda ends: [t(str(end)) for end in ends], text=list)
        _fill(args, {"guidance_interval": everywhere})


def _usual_interval(method, weights, script):
    return list(WHOLE if script.guides_any else diffusion.default_interval(method, weights))


def _settle_guidance(fill):
    """What a recipe of clip_sample.py says beside the others."""
    positive = flag_types.whole(1, flag_types.MAX_STEPS)
    fill("clip_guidance_scale", flag_types.number(0, flag_types.MAX_SCALE))
    fill("cutn", positive)
    fill("cut_pow", flag_types.number(0, flag_types.MAX_POWER, above=True))
    fill("guide_every", positive)
    fill("clip_model", flag_types.clip_name)
    fill("low_memory", lambda said: said == "True")


def _prompts(pairs):
    return [prompts.parse(prompts.format_prompt(pair)) for pair in pairs]


def _pairs(pairs):
    if len(pairs) > MAX_PROMPTS:
        raise UserError(f"{len(pairs):,} prompts are too many")
    return [prompts.Prompt(text, weight) for text, weight in pairs]


def _found(name, folder, flag):
    """The file of a recipe, which holds no folders, beside the PNG or where we are."""
    for path in (folder / name, Path(name)):
        if os.path.isfile(path):  # also answers for what can be no name
            return str(path)
    raise UserError(f"the recipe needs {_quote(name)}, which is not here: give it with {flag}")


def _settle_method(args, row):
    method = diffusion.METHODS[args.method]
    low, high = method.eta_range
    args.eta = (method.eta or 0.0) if args.eta is None else args.eta
    if not low <= args.eta <= high:
        what = "is ddim with eta 1" if args.method == "ddpm" else "adds no noise"
        raise UserError(f"--eta {args.eta:g}: {args.method} {what}: leave it out or use ddim")
    if method.evaluations is None:
        _fill(args, {"tolerance": TOLERANCE})
    elif args.tolerance is not None:
        raise UserError(f"--tolerance: {args.method} takes the steps it is given: use adaptive")
    if args.schedule is None:
        args.schedule = method.schedule or ("ddpm" if row.min_t > 0 else "spliced")


def _settle_interval(args, script):
    weights = [prompt.weight for prompt in [*args.prompts, *args.images]]
    if args.guidance_interval is None:
        args.guidance_interval = _usual_interval(args.method, weights, script)
    low, high = args.guidance_interval
    flag = f"--guidance-interval {low:g} {high:g}"
    if low >= high:
        raise UserError(f"{flag}: the first must be below the second")
    if weights and (low > 0 or high < 1) and not script.guides_any:
        total = math.fsum(weights)
        if total <= NEGLIGIBLE:
            raise UserError(
                f"{flag}: outside of it the prompts' mean is drawn, but their weights add up to "
                f"{total:g}: make that more than 0, or take --guidance-interval 0 1"
            )


def _settle_size(args, row):
    if args.size is None and args.found:
        args.size = args.found.shape[:0:-1]  # that of the latents
    if args.size is None:
        args.size = (row.shape[2], row.shape[1])
    args.size = tuple(args.size)
    multiple = row.size_multiple
    if any(side % multiple for side in args.size):
        w, h = args.size
        sizes = dict.fromkeys(
            f"{max(multiple, round_to(w))} {max(multiple, round_to(h))}"
            for round_to in (
                lambda side: side // multiple * multiple,
                lambda side: -(-side // multiple) * multiple,
            )
        )
        raise UserError(
            f"--size {w} {h}: {row.name} draws sides that are multiples of {multiple}: "
            f"the nearest are {' and '.join(sizes)}"
        )


def _settle_latents(args):
    args.latent_indices = None
    if not args.latent:
        return
    latents.check_fit(args.latent, args.found, args.model, args.size)
    n = args.found.count
    of_recipe = getattr(args, "latent_index", None)
    if of_recipe is not None and of_recipe >= n:
        raise UserError(f"{printable(args.latent)} holds {n} latents, the recipe needs more")
    args.latent_indices = range(n) if of_recipe is None else [of_recipe]


def _settle_seeds(args):
    if args.latent_indices is not None:
        n = len(args.latent_indices)
        wanted = n if args.n_is_default else args.n
        wanted = wanted if args.seeds is None else len(args.seeds)
        if wanted != n:
            raise UserError(
                f"{printable(args.latent)} holds {n} latents, but {wanted} images are asked for"
            )
        args.n = n
    if args.seeds is None:
        if args.seed + args.n - 1 > flag_types.MAX_SEED:
            raise UserError(
                f"-n {args.n} goes past the largest seed, {flag_types.MAX_SEED}: lower --seed"
            )
        args.seeds = range(args.seed, args.seed + args.n)
    args.n = len(args.seeds)


def _settle_prompts(args, row, script):
    if row.clip is None and (args.prompts or args.images) and not script.guides_any:
        raise UserError(
            f"{row.name} takes no prompts: leave them out, or choose a model that does: "
            f"{', '.join(r.name for r in NETWORKS.values() if r.clip)}"
        )
    if not math.isfinite(sum(p.weight for p in [*args.prompts, *args.images])):
        raise UserError("the weights of the prompts are too large to add up")
    args.asks = bool(args.prompts or args.images)  # if only by prompts of weight 0
    args.prompts, args.images = prompts.merge(args.prompts), prompts.merge(args.images)
    args.prompts = [p for p in args.prompts if p.weight]  # one of weight 0 is no prompt
    args.images = [p for p in args.images if p.weight]


def _settle_policy(args):
    args.policy = None
    if args.skip_existing or args.overwrite:
        args.policy = outputs.Policy.SKIP if args.skip_existing else outputs.Policy.OVERWRITE
        if args.output is None:
            flag = "--skip-existing" if args.skip_existing else "--overwrite"
            raise UserError(f"{flag} needs to know the names: give them with --output")


def _quote(text):
    return f'"{printable(text, 100)}"'
