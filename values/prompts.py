"""Weighted prompts: `TEXT[:WEIGHT]` on the command line, for texts and for images.

Behind the weight may stand when and where it counts, as `values.extents` has it.
"""

import itertools
import math
import os
import re
from dataclasses import dataclass, replace

from diffusion.spans import ALWAYS, Span
from values import extents
from values.errors import UserError, quoted
from values.files import expanded, file_name
from values.types import MAX_TEXT, is_number

MAX_LENGTH = 10_000  # characters; a longer one is a file pasted by mistake
_ODD = re.compile(r"[:(\[<{}@]|AND|--|->")  # some of which other tools' prompts have
_SURROGATE = re.compile("[\ud800-\udfff]")  # half of a character, or a byte that is none


@dataclass(frozen=True)
class Prompt:
    """A text, or the path or URL of an image, and its weight in the guidance.

    Args:
        when: the timesteps at which it counts.
        place: where it counts: a box (left, top, right, bottom) in shares of the image, or the path
            or URL of a mask; None: everywhere.
        then: the next Prompt of `A->B@0.6`, until `each` takes them apart.
    """

    text: str
    weight: float
    when: Span = ALWAYS
    place: tuple[float, float, float, float] | str | None = None
    then: "Prompt | None" = None

    @property
    def box(self):
        return self.place if isinstance(self.place, tuple) else None

    @property
    def mask(self):
        return self.place if isinstance(self.place, str) else None

    @property
    def is_plain(self):
        """Whether it counts at all timesteps, everywhere."""
        return self.when == ALWAYS and self.place is None

    @property
    def stored(self):
        """As JSON has it: text and weight, its extent if it has one, and its mask."""
        extent = extents.written(self.when, self.box)
        if self.mask is not None:
            return [self.text, self.weight, extent, self.mask]
        return [self.text, self.weight, extent] if extent else [self.text, self.weight]

    @classmethod
    def of(cls, stored):
        """The Prompt of what `stored` returned."""
        text, weight, extent, mask = [*stored, *["", None][len(stored) - 2 :]]
        when, box = extents.read(extent) if extent else (None, None)
        return cls(text, weight, when or ALWAYS, box or mask)


def each(prompts):
    """Prompts with those of `A->B@0.6` side by side."""
    found = []
    for prompt in prompts:
        while prompt:
            found.append(replace(prompt, then=None) if prompt.then else prompt)
            prompt = prompt.then
    return found


def weighing(prompt, weight):
    """A prompt of another weight, and those that follow it over time, too."""
    then = prompt.then and weighing(prompt.then, weight)
    return replace(prompt, weight=weight, then=then)


class TextPrompt:
    r"""The type of a text prompt `TEXT[:WEIGHT]`, as `values.types` has types; in JSON also a pair.

    The weight is what follows the last colon where that is a number; otherwise the colon is text.
    A colon is made text by a backslash (`ratio 16\:9`). Other backslashes stay as they are, but
    for those right before a colon, which are doubled to stand for themselves.

    Calling it and `check` raise a UserError for an empty text, one of more than `MAX_LENGTH`
    characters, one that is not Unicode, and for a weight that is infinite or nan.

    Args:
        weight: of a prompt that names none.
    """

    kind = "prompt"

    def __init__(self, weight=3.0):
        self.weight = float(weight)

    def __call__(self, argument):
        before, extent = extents.split_extent(argument)
        if extent.when or not extents.is_chain(before):
            text, weight = self._weighted(before, argument)
            when = extent.when or ALWAYS
            weight = self.weight if weight is None else weight
            return self._checked(Prompt(text, weight, when, extent.box), argument)
        return self._chain(extents.links(before), extent.box, argument)

    def _chain(self, links, box, argument):
        """A Prompt with those that follow it; without a weight of its own each has the last's."""
        weight, then = None, None
        for part, when in reversed(links):
            part, extent = (
                extents.split_extent(part) if len(links) > 1 else (part, extents.Extent())
            )
            if extent.when or (box and extent.box):
                raise UserError(
                    f"the {self.kind} {quoted(argument)} says twice when or where {quoted(part)} "
                    "counts: leave out one"
                )
            text, own = self._weighted(part, argument)
            weight = weight if weight is not None else self.weight if own is None else own
            own = weight if own is None else own
            then = replace(
                self._checked(Prompt(text, own, when, box or extent.box), argument), then=then
            )
        return then

    def _weighted(self, argument, whole):
        """(text, weight or None) of what stands before the extent."""
        before, colon, after = argument.rpartition(":")
        weight = _number(after)
        escaped = (len(before) - len(before.rstrip("\\"))) % 2 == 1
        if not colon or weight is None or escaped or not self._may_end(before):
            return extents.literal(_unescape(argument, at_end=False)), None
        if not math.isfinite(weight):
            raise UserError(
                f"the weight {quoted(after)} of the {self.kind} {quoted(whole)} is not finite: "
                r"give one like 2.5, or write \: for a colon that belongs to the text"
            )
        return extents.literal(_unescape(before, at_end=True)), weight

    def check(self, value):
        if isinstance(value, str):
            return self(value)
        prompt = Prompt.of(self._list(value))
        return self._checked(prompt, prompt.text)

    def stored(self, value):
        return self._list(value)

    def _list(self, value):
        """A list of JSON that `Prompt.stored` may have returned, checked."""
        parts = [*value, ""] if isinstance(value, list | tuple) and len(value) == 2 else value
        text, weight, extent = (
            parts if isinstance(parts, list | tuple) and len(parts) == 3 else ("", None, "")
        )
        texts = isinstance(text, str) and isinstance(extent, str)
        if not texts or len(text) > MAX_TEXT or len(extent) > 400 or not is_number(weight):
            raise UserError(f"{quoted(value)} is no text with a weight")
        if extent:
            extents.read(extent)
        return [text, float(weight), *([extent] if extent else [])]

    def _may_end(self, before):
        return True

    def _checked(self, prompt, argument):
        text = prompt.text
        if len(text) > MAX_LENGTH:
            raise UserError(
                f"the {self.kind} {quoted(text)} has {len(text):,} characters: "
                f"shorten it to {MAX_LENGTH:,} or less"
            )
        if not text.strip():
            raise UserError(
                f"the {self.kind} {quoted(argument)} is empty: write TEXT or TEXT:WEIGHT"
            )
        if self.kind != ImagePrompt.kind and _SURROGATE.search(text):
            try:  # bytes that the locale has no characters for
                text = text.encode("utf-8", "surrogateescape").decode("utf-8")
            except UnicodeError:
                raise UserError(
                    f"the prompt {quoted(text)} is not valid UTF-8: type it anew"
                ) from None
        return replace(prompt, text=text)


class NegativePrompt(TextPrompt):
    """The type of a prompt to lead away from, `TEXT[:WEIGHT]`: of WEIGHT (1) with a minus."""

    kind = "negative prompt"

    def __init__(self):
        super().__init__(1.0)

    def _checked(self, prompt, argument):
        prompt = super()._checked(prompt, argument)
        if prompt.weight < 0:
            raise UserError(
                f"the {self.kind} {quoted(argument)} has a minus twice: leave out that of its "
                "weight"
            )
        return replace(prompt, weight=-prompt.weight)


class ImagePrompt(TextPrompt):
    """The type of an image prompt `PATH_OR_URL[:WEIGHT]`: by the same rules and two more.

    The port of a URL (`http://host:8080`) and the drive of a Windows path (`C:1`) are no weights.
    """

    kind = "image prompt"
    names_file = 0  # which part of a list of JSON does

    def stored(self, value):
        text, *others = super().stored(value)
        return [file_name(text), *others]

    def _checked(self, prompt, argument):
        prompt = super()._checked(prompt, argument)
        return replace(prompt, text=expanded(prompt.text))

    def _may_end(self, before):
        in_authority = re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#]*", before, re.IGNORECASE)
        return not in_authority and not re.fullmatch(r"[A-Za-z]", before)


class RegionPrompt(TextPrompt):
    """The type of a prompt for a part of the image: `TEXT[:WEIGHT] MASK`, the mask a picture.

    A command line gives two words, which `JOINT` joins; JSON a pair; in one text the mask is the
    last word.
    """

    kind = "prompt of a region"
    joint = "\0"  # which no word of a command line holds
    names_file = 3  # which part of a list of JSON does

    def __call__(self, argument):
        cut = argument.rsplit(self.joint if self.joint in argument else None, 1)
        if len(cut) < 2 or not cut[1]:
            raise UserError(
                f"the {self.kind} {quoted(argument.partition(self.joint)[0])} has no mask: write "
                "TEXT[:WEIGHT] MASK, a picture that is white where the prompt counts"
            )
        text, mask = cut
        return self._masked(super().__call__(text), mask)

    def check(self, value):
        pair = isinstance(value, list | tuple) and len(value) == 2
        if pair and all(isinstance(word, str) for word in value):
            return self(self.joint.join(value))
        if isinstance(value, str):
            return self(value)
        *prompt, mask = self.stored(value, whole=True)
        return self._masked(super().check(prompt), mask)

    def stored(self, value, whole=False):
        """whole: the mask with its folders."""
        listed = isinstance(value, list | tuple) and len(value) == 4
        if not listed or not isinstance(value[3], str) or len(value[3]) > MAX_TEXT:
            raise UserError(f"{quoted(value)} is no text with a weight and a mask")
        text, weight, *extent = super().stored(value[:3])
        return [text, weight, *(extent or [""]), value[3] if whole else file_name(value[3])]

    def _masked(self, prompt, mask):
        if prompt.box:
            raise UserError(
                f"the {self.kind} {quoted(prompt.text)} has a box and a mask: give one of them"
            )
        then = prompt.then and self._masked(prompt.then, mask)
        return replace(prompt, place=expanded(mask), then=then)


def photos_and_prompts(words, default_weight):
    """Tells photos and prompts apart: photos come first; a file, an address or named like an image.

    Returns:
        (photos, prompts): a list of strings and a list of Prompts, either of which may be empty.
    Raises:
        UserError: where a word behind the photos is no prompt, or another photo.
    """
    photos = list(itertools.takewhile(is_photo, words))
    for word in words[len(photos) :]:
        if photos and is_photo(word):
            raise UserError(
                f"{quoted(word)} is a photo behind the prompts: name it before them, or with "
                "--images where it is to guide"
            )
    prompts = [TextPrompt(default_weight)(word) for word in words[len(photos) :]]
    return [expanded(photo) for photo in photos], prompts


def is_photo_file(word):
    """Whether a word is the path of a file that is there."""
    return os.path.isfile(expanded(word))


def is_photo(word):
    """Whether a word is taken for a photo: a file, an address or named like an image."""
    return _is_address(word) or _is_named_like_one(word) or is_photo_file(word)


def is_picture(text):
    """Whether a text can only have been meant as a picture: an address, or one that is there."""
    if "." not in text and ":" not in text:  # most are neither
        return False
    return _is_address(text) or (_is_named_like_one(text) and is_photo_file(text))


def _is_address(word):
    return bool(re.match("https?://", word, re.IGNORECASE))


def _is_named_like_one(word):
    return bool(re.search(r"\.(png|jpe?g|webp|gif|bmp|tiff?)$", word, re.IGNORECASE))


def may_be_file(word):
    """Whether a word may be meant as a picture's file or address, there or not."""
    return is_photo(word) or bool(re.fullmatch(r"\S*(?:\.\w{2,5}|[/\\]\S*)", word))


def may_be_image(word):
    """`may_be_file`, of a word that may end in a weight."""
    return may_be_file(word) or may_be_file(ImagePrompt()(word).text)


def format_prompt(prompt):
    """The argument that is read as this very prompt; it always names the weight.

    By `TextPrompt`, or by `RegionPrompt` where it has a mask.
    """
    text = re.sub(r"(?<!\\)\\+(?=:|\Z)", lambda run: run[0] * 2, extents.escaped(prompt.text))
    text += f":{extents.number(prompt.weight)}{extents.written(prompt.when, prompt.box)}"
    return text if prompt.mask is None else f"{text} {prompt.mask}"


def doubt(text):
    """How a prompt was read that looks like another tool's weights, in a line; None: it does not.

    Args:
        text: of a Prompt.
    """
    if not _ODD.search(text):
        return None
    if re.search(r":\s*[+-]?\d*,\d+\s*$", text):
        return f"{quoted(text)} is text to its end: a weight has a point, like 3.5"
    if re.search(r"::\s*-?[\d.]+|\bAND\b|<\w+:[^<>]*>|\s--\w", text):
        return (
            f"{quoted(text)} is text as a whole: prompts are arguments of their own, with weights "
            'at their ends, "a cat:2" "a dog:1", and so are flags'
        )
    if text.count("{") != text.count("}"):
        return f"{quoted(text)}: a brace is missing, so all of it is text"
    if re.search(r"\[[^\[\]:]*:[^\[\]:]*:\s*[\d.]+\s*\]", text):
        return (
            f"{quoted(text)}: the brackets, and what is in them, are text: a prompt that changes "
            'on the way is "a cat->a fox:3@0.6"'
        )
    if re.search(r"[(\[][^()\[\]]*:\s*[+-]?[\d.,]+\s*[)\]]", text):
        return (
            f"{quoted(text)}: the parentheses, and what is in them, are text: a weight stands at "
            'the end, "a cat:1.3"'
        )
    if re.search(r"\S->\S", text) and "@" not in text:
        return (
            f"{quoted(text)} is text as a whole: an arrow needs the timestep where it changes, "
            '"a cat->a fox@0.6"'
        )
    return extents.doubt(text)


def merge(prompts):
    """Prompts that differ in weight alone as one, weights added, in the order they come."""
    weights = {}
    for prompt in prompts:
        same = replace(prompt, weight=0.0)
        weights[same] = weights.get(same, 0.0) + prompt.weight
        if not math.isfinite(weights[same]):
            raise UserError(f"the weights of {quoted(prompt.text)} are too large to add up")
    return [replace(same, weight=weight) for same, weight in weights.items()]


def _number(text):
    if "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _unescape(text, at_end):
    # In a run of backslashes before a colon each pair is one backslash; an odd one left over has
    # escaped the colon. The colon that announces the weight stood at the end of `text`.
    # A run is looked at from its start alone: one of a million takes no time.
    runs = r"(?<!\\)(\\+)(:|\Z)" if at_end else r"(?<!\\)(\\+)(:)"
    return re.sub(runs, lambda run: "\\" * (len(run[1]) // 2) + run[2], text)
