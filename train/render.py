"""Renders captioned pictures of emoji to train on: `python -m train.render`.

Writes a folder of `name.png` and `name.txt` (one caption a line), the form that the trainers read,
and `vocabulary.json`: the things, the grounds and the pairs of both that were held out. The same
seed gives the same folder. Needs the font Noto Color Emoji and Unicode CLDR (Debian's packages
fonts-noto-color-emoji and unicode-cldr-core).
"""

import argparse
import json
import random
import sys
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from train.first import CORE, FIRST_GROUNDS, FIRST_THINGS
from train.vocabulary import (
    GROUND_WORDS,
    GROUNDS,
    KINDS,
    NAMES,
    NOT_WORDS,
    PLURALS,
    SMALL,
    THINGS,
    TWO,
)

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
ANNOTATIONS = Path("/usr/share/unicode/cldr/common/annotations/en.xml")
STRIKE = 109  # the one size of the font's bitmaps
HELD_OUT = 0.08  # the share of (thing, ground) pairs that training never sees

TEMPLATES = ("{a}", "{a} on {g} background", "{a} on {ground}", "{n}, {ground} background")
PLAIN = ("{n}", "{a}")


@dataclass(frozen=True)
class Thing:
    """An emoji with its name and the other words that CLDR knows it by."""

    emoji: str
    name: str
    keywords: tuple[str, ...]


def read_things(annotations=ANNOTATIONS):
    """The things of the vocabulary with their CLDR names and keywords."""
    names, words = {}, {}
    for node in ET.parse(annotations).getroot().iter("annotation"):
        if node.get("type") == "tts":
            names[node.get("cp")] = node.text
        else:
            words[node.get("cp")] = [word.strip() for word in node.text.split("|")]
    things, given, counts = [], {}, {}
    for emoji, line in THINGS.items():
        key = emoji if emoji in names else emoji.removesuffix("\ufe0f")
        name = names[key].lower()
        short, *more = line.split("|")
        for word in (short, *more):
            given[word] = emoji
        others = dict.fromkeys([*more, name, *(word.lower() for word in words[key])])
        things.append(Thing(emoji, short, tuple(w for w in others if w != short)))
        for word in {short, *others}:
            counts[word] = counts.get(word, 0) + 1

    def names_one_thing(word, emoji):
        # Of several things that CLDR knows by a word, the one that the vocabulary gives it to.
        return given[word] == emoji if word in given else counts[word] == 1

    return [
        Thing(
            t.emoji,
            t.name,
            tuple(w for w in t.keywords if names_one_thing(w, t.emoji) and usable(w)),
        )
        for t in things
    ]


def usable(word):
    """Whether a keyword can stand for a thing in a caption: no digit, no colour of a ground."""
    others = (other for words in GROUND_WORDS.values() for other in words)
    taken = {*GROUNDS, *NOT_WORDS, *others}
    return len(word) > 2 and word not in taken and not any(c.isdigit() for c in word)


def sprite(emoji, font=FONT):
    """The picture of an emoji as RGBA, cropped to what is drawn and centred in a square."""
    picture = Image.new("RGBA", (STRIKE * 2, STRIKE * 2))
    ImageDraw.Draw(picture).text(
        (20, 20), emoji, font=ImageFont.truetype(font, STRIKE), embedded_color=True
    )
    picture = picture.crop(picture.getbbox())
    side = max(picture.size)
    square = Image.new("RGBA", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square


SHARES = {"plain": 0.8, "small": 0.4, "two": 0.42}  # of the image's side, a sprite's at most
SHRINK, JITTER = 0.95, 1  # how much less of it, and how many pixels of 64 off its place


def placed(picture, ground, size, side, corners):
    """An image of `size` pixels: the sprite, `side` pixels wide, at each of the corners (x, y)."""
    canvas = Image.new("RGB", (size, size), ground)
    scaled = picture.resize((side, side), Image.Resampling.LANCZOS)
    for corner in corners:
        canvas.paste(scaled, corner, scaled)
    return canvas


def compose(picture, ground, size, kind, rng):
    """An image of `size` pixels: the sprite on a plain ground, nearly fixed in size and place."""
    side = round(size * SHARES[kind] * rng.uniform(SHRINK, 1.0))
    corners = []
    for centre in [0.27, 0.73] if kind == "two" else [0.5]:
        jitter = [rng.randint(-JITTER, JITTER) * size // 64 for _ in range(2)]
        corners.append(
            (round(size * centre - side / 2) + jitter[0], (size - side) // 2 + jitter[1])
        )
    return placed(picture, ground, size, side, corners)


def all_plain(picture, ground, size):
    """Every image of kind "plain" that `compose` can make of a sprite and a ground."""
    share = SHARES["plain"]
    steps = [j * size // 64 for j in range(-JITTER, JITTER + 1)]
    images = []
    for side in range(round(size * share * SHRINK), round(size * share) + 1):
        x, y = round(size * 0.5 - side / 2), (size - side) // 2
        corners = [(x + dx, y + dy) for dx in steps for dy in steps]
        images += [placed(picture, ground, size, side, [corner]) for corner in corners]
    return images


def article(words):
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def plural(name):
    if " of " in name:  # "slice of cake"
        head, of, rest = name.partition(" of ")
        return plural(head) + of + rest
    *first, last = name.split(" ")
    if last in PLURALS:
        return " ".join([*first, PLURALS[last]])
    if name.endswith(("s", "x", "sh", "ch")):
        return name + "es"
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    return name + "s"


def captions(thing, ground, kind, rng, count=4):
    """Ways to ask for the image; most name the ground, some use another word for the thing."""
    lines = []
    for _ in range(count):
        name = rng.choice(thing.keywords) if thing.keywords and rng.random() < 0.25 else thing.name
        if kind == "two":
            two = f"{rng.choice(TWO)} {plural(name)}"
            words = {"n": two, "a": two}
        else:
            name = f"{rng.choice(SMALL)} {name}" if kind == "small" else name
            words = {"n": name, "a": article(name)}
        others = GROUND_WORDS.get(ground, ())
        colour = rng.choice(others) if others and rng.random() < 0.2 else ground
        template = rng.choice(TEMPLATES if rng.random() < 0.7 else PLAIN)
        lines.append(template.format(g=article(colour), ground=colour, **words))
    return lines


def held_out_pairs(things, seed, grounds=GROUNDS):
    """The (thing, ground) pairs that training never sees: at most one ground in four a thing.

    Of the first things and grounds they are those that the first weights never saw either: the
    bundled ones began with them.
    """
    known = set(NAMES[: len(FIRST_THINGS)])
    old, new = [], []
    for thing in things:
        for ground in grounds:
            in_old = ground in FIRST_GROUNDS and thing.name in known
            (old if in_old else new).append((thing.name, ground))

    chosen, of_thing = [], {}
    for pairs, name, most in (
        (old, f"held out {seed}", len(FIRST_GROUNDS) // 4),
        (new, f"held out of the wider {seed}", len(grounds) // 4),
    ):
        random.Random(name).shuffle(pairs)
        end = len(chosen) + HELD_OUT * len(pairs)
        for thing, ground in pairs:
            if len(chosen) < end and of_thing.get(thing, 0) < most:
                chosen.append((thing, ground))
                of_thing[thing] = of_thing.get(thing, 0) + 1
    return sorted(chosen)


def width_height(text):
    """The (width, height) in pixels that "64" or "64x96" says."""
    sides = [int(side) for side in text.split("x")]
    if len(sides) > 2 or min(sides) < 1:
        raise ValueError(text)
    return sides[0], sides[-1]


def main(argv=None):
    p = argparse.ArgumentParser(usage="python -m train.render [flags]", description=__doc__)
    p.add_argument("--output", type=Path, default=Path("data/emoji"))
    p.add_argument("--count", type=int, default=60_000)
    p.add_argument(
        "--size", type=width_height, default=(64, 64), metavar="N or WxH", help="in pixels"
    )
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--kinds", nargs="+", choices=KINDS, help="only these")
    p.add_argument(
        "--core", action="store_true", help=f"only {len(CORE)} simple things, one to an image"
    )
    args = p.parse_args(argv)
    if args.core and args.kinds:
        p.error("--core is plain: it goes without --kinds")
    kinds = args.kinds or list(KINDS)

    for needed, package in ((FONT, "fonts-noto-color-emoji"), (ANNOTATIONS, "unicode-cldr-core")):
        if not needed.is_file():
            sys.exit(f"{needed} is missing: install it (Debian: apt-get install {package})")
    things = [t for t in read_things() if t.name in CORE or not args.core]
    sprites = {thing.name: sprite(thing.emoji) for thing in things}
    held_out = held_out_pairs(things, args.seed)
    allowed = {
        thing.name: [g for g in GROUNDS if (thing.name, g) not in set(held_out)] for thing in things
    }
    args.output.mkdir(parents=True, exist_ok=True)

    def write(i):
        rng = random.Random(f"{args.seed} {i}")
        thing = things[i % len(things)]  # each equally often
        ground = rng.choice(allowed[thing.name])
        kind = rng.choices(kinds, [KINDS[kind] for kind in kinds])[0]
        kind = "plain" if args.core else kind
        image = compose(sprites[thing.name], GROUNDS[ground], min(args.size), kind, rng)
        image = ImageOps.pad(image, args.size, color=GROUNDS[ground])
        image.save(args.output / f"{i:06}.png", compress_level=1)
        lines = captions(thing, ground, kind, rng)
        (args.output / f"{i:06}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(args.count)))
    listed = {
        "things": [{"emoji": t.emoji, "name": t.name, "keywords": t.keywords} for t in things],
        "grounds": GROUNDS,
        "held_out": held_out,
        "seed": args.seed,
    }
    text = json.dumps(listed, indent=1, ensure_ascii=False)
    (args.output / "vocabulary.json").write_text(text + "\n", encoding="utf-8")
    print(f"{args.count} images of {len(things)} things in {args.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
