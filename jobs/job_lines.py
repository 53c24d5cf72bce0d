"""A line of a job file: a prompt as a whole, or words and flags as on the command line."""

import itertools
import re
from functools import partial

from cli.option import Is
from cli.options import named, options_of
from cli.parser import parse
from values.errors import UserError, printable
from values.extents import BOX
from values.prompts import TextPrompt, is_photo, is_photo_file
from values.words import Place, words_of

_FLAG = re.compile(r"\s-(?:-|[A-Za-z])")
_YAML = re.compile(r"\s*([A-Za-z_-]+):\s")
_CELL = re.compile(r"(?<=,)\s*-?\d+(\.\d+)?\s*(,|\Z)")  # a number alone between commas


def taken_apart(line, script):
    """What a line consists of, and how that is read.

    Returns:
        (parts, read): pairs of a word and its column, and a function (some of the parts) -> what
        they say, as `cli.parser.parse` returns it.
    Raises:
        Place: for what cannot be taken apart.
    """
    if is_shell(line, script):
        words = words_of(line)
        if '",' in line or "'," in line:
            _refuse_commas(line, words)
        for word, column in words:
            _refuse_typographic(line[column : column + 1], column)
            if word == "-":
                raise Place("a dash alone is no prompt: a line holds no list", column)
        return words, partial(_read_words, line, script)
    _refuse_no_prompt(line, script)
    text = line.strip()
    return [(text, line.index(text))], partial(_read_whole, script)


def is_shell(line, script):
    """Whether a line is words and flags, and not a prompt as a whole.

    What looks like a flag makes it so even if there is none of that name: it is refused, not drawn.
    """
    if line.lstrip()[0] in "\"'-" or _FLAG.search(line):
        return True
    return script.takes_photos and is_photo(line.split()[0]) and not is_photo_file(line.strip())


def _refuse_loose_words(line, words, said):
    """Place where words without quotes, side by side, would each be a prompt."""
    texts = {prompt.text for prompt in said.get("prompts", [])}
    if len(texts) < 2:
        return
    for (word, column), (after, next_column) in itertools.pairwise(words):
        bare = line.startswith(word, column) and line.startswith(after, next_column)
        if bare and {_text_of(word), _text_of(after)} <= texts:
            raise Place(
                f'"{printable(word, 60)}" and "{printable(after, 60)}" would be prompts by '
                'themselves: beside flags, put each prompt in quotes, like "a cat on a hat" '
                "--seed 3",
                column,
            )


def _text_of(word):
    try:
        return TextPrompt()(word).text
    except UserError:
        return word


def _refuse_commas(line, words):
    """Place where a comma follows a quotation: as a list has it, which a line is not."""
    ends = [column for _, column in words[1:]] + [len(line)]
    for (_, column), end in zip(words, ends, strict=True):
        written = line[column:end].rstrip()
        if written[0] in "\"'" and written.endswith(written[0] + ","):
            place = column + len(written) - 1
            raise Place("prompts stand side by side, without a comma; JSON has braces", place)


def _refuse_no_prompt(line, script):
    """Place for what hardly anybody means as a prompt."""
    start = len(line) - len(line.lstrip())
    if line.startswith(("//", "/*"), start):
        raise Place("a comment begins with #", start)
    if re.match("<[/?!A-Za-z]", line[start:]):
        raise Place("this looks like XML: a line is a prompt, words and flags, or JSON", start)
    if re.match(r"\s*\d+[.)]\s", line):
        raise Place("a line holds no number of its own: leave it out, or quote the prompt", start)
    yaml = _YAML.match(line)
    if yaml and yaml[1].replace("-", "_") in (*named(script), "prompt"):
        raise Place("this looks like YAML: a line is a prompt, words and flags, or JSON", start)
    if cell := _CELL.search(BOX.sub(lambda box: " " * len(box[0]), line)):
        raise Place(
            "this looks like a row of a table: begin the file with a line of names like "
            "prompts,seed, or quote the prompt",
            cell.start(),
        )
    _refuse_typographic(line, start)


def _refuse_typographic(text, column):
    if text.strip()[:1] in tuple("“”„«‘’‚"):
        raise Place(f'{text.strip()[0]} is a typographic quote: use " or none', column)


def _read_words(line, script, parts):
    words = [word for word, _ in parts]
    if asked := {"-h", "--help", "--version"} & set(words):
        raise UserError(f"{asked.pop()} is for the command line")
    said = parse(script, words, needs_words=False)
    for name in said:
        refuse_run(options_of(script)[name])
    _refuse_loose_words(line, parts, said)
    return said


def _read_whole(script, parts):
    return parse(script, ["--", *(word for word, _ in parts)], needs_words=False)


def refuse_run(option):
    """UserError for an option that no line may give."""
    if Is.IMAGES not in option.is_:
        raise UserError(f"{option.flag} is for the whole run: give it on the command line")
