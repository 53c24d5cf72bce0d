"""What `--sweep` varies: the options, and the values that each of them takes."""

import contextlib
import difflib
import math

from cli import other_words
from cli.option import Is
from cli.options import named, options_of
from cli.parser import read
from values.errors import UserError, printable
from values.prompts import ImagePrompt, TextPrompt

MOST = 10_000  # jobs that one becomes


def sweep_of(script, said):
    """Pairs of a flag's name that is swept, and of its values: pairs of text and value.

    Args:
        script: a row of `cli.scripts`.
        said: what the command line says, as `cli.parser.parse` returns it.
    Raises:
        UserError: for what cannot be swept, a value that is none, and one sweep that would undo
            another or what is given.
    """
    found = []
    for name, texts in said.get("sweep", []):
        flag = name.replace("_", "-")
        option = _checked(script, flag, texts)
        found.append((flag, [_value(option, flag, text) for text in texts]))
    _refuse_conflicts(script, said, [option_of(script, flag) for flag, _ in found])
    if math.prod(len(values) for _, values in found) > MOST:
        raise UserError(f"--sweep: more than {MOST:,} combinations: leave some out")
    return found


def option_of(script, name):
    """The option that a sweep varies; None: there is none of the name."""
    name = name.replace("-", "_")
    return named(script).get("prompts" if name == "prompt" else name)


def is_text(option):
    """Whether the values of an option are text prompts."""
    return isinstance(option.type, TextPrompt) and not isinstance(option.type, ImagePrompt)


@contextlib.contextmanager
def combination_named(swept):
    """A context in which a UserError says of which combination of a sweep it is.

    Args:
        swept: what is swept -> its value in the combination; nothing: there is no sweep.
    """
    try:
        yield
    except UserError as error:
        if swept:
            texts = {n: " ".join(v) if isinstance(v, list) else str(v) for n, v in swept.items()}
            values = ", ".join(f"{name}={printable(text, 60)}" for name, text in texts.items())
            error.args = (f"{error} (--sweep, where {values})", *error.args[1:])
        raise


def _checked(script, flag, texts):
    """The option of a flag, where it may be swept over these texts."""
    option = option_of(script, flag)
    if option is None or option.is_switch or option.name == "photos":
        instead = other_words.told(script, flag)
        close = difflib.get_close_matches(flag, named(script), n=1, cutoff=0.7)
        instead = instead or (close and f"did you mean {close[0]}?")
        hint = f": {instead}" if instead and option is None else ""
        raise UserError(f"--sweep: no flag --{printable(flag, 60)} takes a value{hint}")
    if Is.IMAGES not in option.is_:
        raise UserError(f"--{flag} is for the whole run and cannot be swept")
    if is_text(option) and len(texts) == 1:
        raise UserError(
            f'--sweep {flag} has one value, "{printable(texts[0], 60)}": quote the whole, '
            f'"{flag}=a cat,a dog"'
        )
    return option


def _value(option, flag, text):
    """(a text of a sweep, or its words, the value that it stands for)."""
    words = text.split() if " " in text else [text]
    words = option.spelt(words)[0] if option.spelt else words
    if option.many is None:
        value = read(option, text)
    elif is_text(option):
        words, value = [text], [read(option, text)]
    elif isinstance(option.many, int) and len(words) != option.many:
        raise UserError(f"--sweep {flag}: {printable(text, 80)} are not {option.many} values")
    else:
        value = [read(option, word) for word in words]
    return (words if " " in text and len(words) > 1 else text, value)


def _refuse_conflicts(script, said, options):
    names = [option.name for option in options]
    for option in options:
        if names.count(option.name) > 1:
            raise UserError(f"--sweep: {option.flag} twice: give all its values at once")
        if option.name in said and option.name != "prompts":  # to these it is added
            raise UserError(f"--sweep: {option.flag} is given, too: leave out one of them")
        other = next((n for n in option.excludes if n in names or n in said), None)
        if other:
            flag = options_of(script)[other].flag
            raise UserError(f"--sweep: {option.flag} and {flag} exclude each other")
