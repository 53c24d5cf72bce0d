"""Writes what a trained network's captions said: `python -m train.words -o checkpoints/emoji.json`.

`--list-prompts` shows it, and prompts of other words are noted. It belongs to the weights.
"""

import argparse
import json
from pathlib import Path

from train import render
from train.vocabulary import GROUND_WORDS, GROUNDS, PLURALS, SMALL, TWO


def listed():
    """The things and grounds, each with its other words, and whatever else captions say."""
    things = {thing.name: list(thing.keywords) for thing in render.read_things()}
    said = [*SMALL, *TWO, *PLURALS.values()]
    words = {word for text in [*said, *render.TEMPLATES, "an"] for word in words_of(text)}
    return {
        "things": things,
        "grounds": {name: GROUND_WORDS.get(name, ()) for name in GROUNDS},
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
    args = p.parse_args(argv)
    text = json.dumps(listed(), indent=1, ensure_ascii=False)
    args.output.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
