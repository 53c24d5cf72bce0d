"""What the captions of a network's training said: things, grounds and words. Imports no torch.

The file is written by `train.words` and lies beside the bundled weights.
"""

import json
import re
from functools import cache
from typing import NamedTuple

from models.checkpoints import BUNDLED

NEUTRAL = frozenset(
    ["the", "and", "or", "of", "in", "at", "by", "my", "is"]
)  # words that name nothing


class Vocabulary(NamedTuple):
    """What a network was trained to draw.

    Args:
        things, grounds: dicts from names to what else they are called.
        words: all words of the captions, but for the plurals that follow the rules.
    """

    things: dict[str, list[str]]
    grounds: dict[str, list[str]]
    words: frozenset[str]

    def unknown(self, text):
        """The words of a text that no caption had, in order."""
        return [word for word in dict.fromkeys(words_of(text)) if not self._has(word)]

    def _has(self, word):
        singulars = (word, word.removesuffix("s"), word.removesuffix("es"))
        return bool(self.words & {*singulars, re.sub("ies$", "y", word)})


@cache
def vocabulary(network):
    """The Vocabulary of a row of `models.zoo.NETWORKS`; None: it knows all words."""
    if not network.vocabulary:
        return None
    found = json.loads((BUNDLED / network.vocabulary).read_text("utf-8"))
    things, grounds = found["things"], found["grounds"]
    names = [name for kind in (things, grounds) for pair in kind.items() for name in _names(*pair)]
    words = {word for name in [*names, *found["more_words"]] for word in words_of(name)}
    return Vocabulary(things, grounds, words | NEUTRAL)


def words_of(text):
    """The words of a text, in lower case; a word with a dash is one of each part."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower())


def _names(name, others):
    return [name, *others]
