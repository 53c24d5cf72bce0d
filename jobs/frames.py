"""Animations between prompts or noises: a job whose prompts or noise move is a job for each frame.

What a frame says is what a command line says that draws it alone, so a frame is an image like any
other, and its recipe is that of one.
"""

from dataclasses import replace
from typing import NamedTuple

from cli.options import options_of
from cli.parser import refuse_both
from jobs.recall import value_of
from recipes import recipe as recipes
from values.errors import UserError, printable
from values.prompts import Prompt, each, format_prompt, merge
from values.types import existing_file
from values.variations import LATENTS, Variation
from values.wildcards import Wildcards, chooses, escape, may_choose

FRAMES = 24  # of an animation, where nothing is said
_MOVING = ("morph", "frames", "variation")


class Frame(NamedTuple):
    """What an image is a frame of.

    Args:
        number: of the frame, from 0.
        count: how many frames there are.
        morph: the Prompts that the weights move between; of noise alone none.
        prompts: the other text prompts, with choices still to be made.
        variation: the Variation that moves, or stays; or None.
        batch: the shape of the batch to draw it in, as a recipe has it; or None.
    """

    number: int
    count: int
    morph: list[Prompt]
    prompts: list[Prompt]
    variation: Variation | None
    batch: list | None

    def recipe(self, frames, folder):
        """The recipe of the animation.

        Args:
            frames: those of its frames.
            folder: that of `--wildcards`.
        """
        frame, moving = frames[0], {"frames": self.count}
        batches = [recipe.get("batch", [1, 0]) for recipe in frames]
        if any(rows > 1 for rows, _ in batches):
            moving["frame_batches"] = batches
        if self.morph:
            prompts = each(self.prompts)
            texts = [prompt.text for prompt in prompts]
            if any(map(may_choose, texts)):
                texts = Wildcards(folder).expand(texts, frame["seed"])
            made = [replace(p, text=t) for t, p in zip(texts, prompts, strict=True)]
            moving["morph"] = [prompt.stored for prompt in self.morph]
            moving["prompts"] = [prompt.stored for prompt in merge(made) if prompt.weight]
        if self.variation:
            moving["variation"] = str(self.variation)
        facts = {name: frame[name] for name in frame if name not in ("batch", "index")}
        return {**facts, **moving}

    @property
    def words(self):
        """What moves, as on the command line."""
        words = [f'"{printable(format_prompt(prompt), 90)}"' for prompt in self.morph]
        return " to ".join([*words, *([str(self.variation)] if self.variation else [])])


def with_latents(script, said):
    """What is said with `--morph A.safetensors B.safetensors` as what it means: other flags.

    Raises:
        UserError: for latents among prompts, for one or three of them, and for weights.
    """
    texts = [prompt.text for prompt in said.get("morph") or []]
    latents = [text for text in texts if text.lower().endswith(LATENTS)]
    if not latents:
        return said
    shown = printable(" ".join(texts), 200)
    if len(latents) < len(texts):
        raise UserError(
            f"--morph {shown}: latents and prompts: give --latent A{LATENTS} --variation "
            f"B{LATENTS}:0-1, and --morph with the prompts"
        )
    if len(texts) != 2:
        raise UserError(f"--morph {shown}: it goes between two latents, not {len(texts)}")
    if any(prompt.weight != script.weight for prompt in said["morph"]):
        raise UserError(f"--morph {shown}: latents have no weights")
    if both := {"latent", "variation"} & set(said):
        raise UserError(f"--morph {shown}: says where to start: leave out --{both.pop()}")
    rest = {name: value for name, value in said.items() if name != "morph"}
    other = Variation(str(existing_file(texts[1])), 0.0, 1.0)
    found = {**rest, "latent": existing_file(texts[0]), "variation": other}
    refuse_both(script, found)
    return found


def frames_of(script, said):
    """What each frame of a job says.

    Args:
        script: one of `cli.scripts.DRAWING`; of the others nothing moves.
        said: as `jobs.resolve.resolve_image` takes it.
    Returns:
        a list of (what the frame says, its Frame); of a job that is no animation [(said, None)].
    Raises:
        UserError: for --morph with one prompt, and --frames where nothing moves.
    """
    if "morph" not in options_of(script):
        return [(said, None)]
    source = said.get("from_png")
    recipe = recipes.read(source) if source else {}
    recalled = _recalled(script, said, recipe)
    said = {**recalled, **said}
    morph, variation = said.get("morph") or [], said.get("variation")
    if morph and "morph" not in recalled:
        morph = _literal(morph)
    if morph and len(morph) < 2:
        raise UserError(
            f'--morph "{printable(morph[0].text, 60)}": goes nowhere: give two prompts or more'
        )
    if not morph and (variation is None or variation.last is None):
        if said.get("frames"):
            raise UserError(
                f'--frames {said["frames"]}: nothing moves: give --morph "a cat" "a fox", or '
                "--variation 7:0-1"
            )
        return [(said, None)]
    count = said.get("frames") or FRAMES
    others = [*said.get("prompts", []), *said.get("negative", [])]
    batches, found = _batches(said, recipe, count), []
    for number in range(count):
        frame = {**said, "morph": None, "frames": None}
        if morph:
            weights = weights_at([prompt.weight for prompt in morph], number, count)
            parts = zip(morph, weights, strict=True)
            moving = [replace(p, text=escape(p.text), weight=w) for p, w in parts if w]
            frame["prompts"] = [*moving, *said.get("prompts", [])]
        if variation:
            frame["variation"] = variation.at(number / (count - 1))
        found.append((frame, Frame(number, count, morph, others, variation, batches[number])))
    return found


def weights_at(weights, number, count):
    """The weights of prompts at a frame, on the way from the first of them alone to the last alone.

    Args:
        weights: those that prompts have where they are reached; two or more.
        number, count: of the frame, from 0, and of all.
    """
    # In whole numbers, so that each end, and a prompt that a frame reaches, is exactly reached.
    reached, rest = divmod(number * (len(weights) - 1), count - 1)
    found = [0.0] * len(weights)
    found[reached] = weights[reached] * (count - 1 - rest) / (count - 1)
    if rest:
        found[reached + 1] = weights[reached + 1] * rest / (count - 1)
    return found


def _recalled(script, said, recipe):
    """What the recipe of an animation says of its movement, as far as it is not said here."""
    if "frames" not in recipe:
        return {}
    options = options_of(script)
    names = [name for name in _MOVING if name in recipe and name not in said]
    found = {name: value_of(options[name], recipe[name], said["from_png"]) for name in names}
    if recipe.get("morph") and "prompts" not in said and recipe.get("prompts"):
        prompts = value_of(options["prompts"], recipe["prompts"], said["from_png"])
        found["prompts"] = [replace(prompt, text=escape(prompt.text)) for prompt in prompts]
    return found


def _batches(said, recipe, count):
    """The shapes of the batches that frames were drawn in, so that they are rounded alike, or None.

    As for an image that is drawn again: unless flags say how many are drawn at once.
    """
    known = recipe.get("frame_batches", [])
    asked = {"batch_size", "n", "seeds"} & set(said)
    return known if len(known) == count and not asked else [None] * count


def _literal(morph):
    """Prompts whose braces are text; UserError for those that are choices."""
    for prompt in morph:
        if prompt.text == "-":
            raise UserError("--morph -: standard input is one prompt: give texts")
        if prompt.then:
            text = printable(prompt.text, 60)
            raise UserError(
                f'--morph "{text}->...": a prompt that changes on the way moves nowhere'
            )
        if chooses(prompt.text):
            raise UserError(
                f'--morph "{printable(prompt.text, 60)}": no choices there: every frame needs the '
                r"same text (\{ and \__ are text)"
            )
    texts = Wildcards().expand([prompt.text for prompt in morph], 0)
    return [replace(p, text=text) for text, p in zip(texts, morph, strict=True)]
