"""Flags that take several values, among prompts: where their values end.

argparse gives such a flag all words up to the next flag, prompts and pictures too. Here each word
behind a flag is looked at: one that cannot be a value of it stays for the words between the flags.
"""

import re
from functools import cache

from cli.options import options_of

NEGATIVE = re.compile(r"-(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?\Z", re.ASCII | re.IGNORECASE)


def separated(script, words, wide=False):
    """A command line in which a flag stands before each of its values.

    A flag that may do without a value, with a word behind it that is none, is put at the end.

    Args:
        script: a row of `cli.scripts`.
        words: those before --.
        wide: whether words that may be values of their flag or not are values.
    Returns:
        (words, open): and pairs of a flag and the words behind its values that may be values, too.
    """
    several, found, at_end, either, i = _several(script), [], [], [], 0
    while i < len(words):
        word, i = words[i], i + 1
        flag, equals, value = word.partition("=")
        option = several.get(flag)
        if option is None:
            found.append(word)
            continue
        behind = words[i : _next_flag(words, i)]
        i += len(behind)
        if option.joint:
            taken = [value, *behind] if equals else behind
            pair, behind = taken[:2], taken[2:]
            found += [f"{flag}={option.joint.join([*pair, ''][:2])}"] if pair else [flag]
            found += behind
        elif option.spelt and (equals or behind):
            values, behind = option.spelt([value, *behind] if equals else behind)
            found += [flag, *values, *behind]
        elif option.many == "?":
            alone = behind and not equals and not option.takes(behind[0])
            (at_end if alone else found).append(word)
            found += behind
        else:
            first = 0 if equals else 1
            end = _end(option, behind, first, wide)
            found += [word, *behind[:first], *(f"{flag}={text}" for text in behind[first:end])]
            found += behind[end:]
            if may := behind[end : _end(option, behind, end, wide=True)]:
                either.append((flag, may))
    return found + at_end, either


def _end(option, words, first, wide):
    """The place, from `first` on, of the first word that is no value of an option."""
    for i in range(first, len(words)):
        takes = option.takes(words[i])
        if not (wide if takes is None else takes):
            return i
    return len(words)


def _next_flag(words, start):
    places = (i for i in range(start, len(words)) if _is_flag(words[i]))
    return next(places, len(words))


def _is_flag(word):
    return word[:1] == "-" and word != "-" and not NEGATIVE.match(word)


@cache
def _several(script):
    """The options of a script that do not take just one value, by their flags."""
    return {
        flag: option
        for option in options_of(script).values()
        if not option.is_positional and (option.many in ("+", "?") or option.spelt)
        for flag in option.flags.split()
    }
