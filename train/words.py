"""Writes what a trained network's captions said: `python -m train.words -o checkpoints/emoji.json`.

`--list-prompts` shows it, and prompts of other words are noted. It belongs to the weights: after a
training on `train.render --wide` write it with --wide.
"""

import argparse
import json
from pathlib import Path

from train import render
from train.vocabulary import BUNDLED
from train.wide import WIDE


def listed(vocabulary):
    """The things and grounds, each with its other words, and whatever else captions say."""
    things = {thing.name: list(thing.keywords) for thing in render.read_things(vocabulary)}
    said = [*vocabulary.small, *vocabulary.two, *vocabulary.plurals.values()]
    words = {word for text in [*said, *render.TEMPLATES, "an"] for word in words_of(text)}
    return {
        "things": things,
        "grounds": {name: vocabulary.ground_words.get(name, ()) for name in vocabulary.grounds},
        "more_words": sorted(words),
    }


def words_of(text):
    """The words of a caption, or of a template of captions."""
    for field in ("{a}", "{g}", "{n}", "{ground}"):
        text = text.replace(field, "a")
    return text.replace(",", "").lower().split()


def main(argv=None):
    p = argparse.ArgumentParser(prog="python -m train.words", description=__doc__)
    p.add_argument("-o", "--output", type=Path, required=True)
    p.add_argument("--wide", action="store_true", help="of the wider vocabulary")
    args = p.parse_args(argv)
    found = listed(WIDE if args.wide else BUNDLED)
    args.output.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
