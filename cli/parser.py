"""argparse made from the table: flags among prompts, errors in one line, `--help`."""

import argparse
import difflib
import re
import sys
from functools import cache, lru_cache
from types import SimpleNamespace

from cli import listing, other_words
from cli.defaults import default
from cli.many import NEGATIVE, separated
from cli.options import options_of
from cli.scripts import SOFTWARE, as_called
from values import errors
from values.errors import UserError, note_once, printable
from values.prompts import is_photo, photos_and_prompts


def parse(script, argv=None, needs_words=True):
    """What a command line says.

    Args:
        script: a row of `cli.scripts`.
        argv: its words; None: those of this process.
        needs_words: whether it is complete; else words that it needs may stand elsewhere.
    Returns:
        a dict from names of options to their values, of those that were given alone.
    Raises:
        UserError: for what is no option or no value of one, and for options that exclude each
            other.
        SystemExit: after `--help`.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    end = argv.index("--") if "--" in argv else len(argv)
    # Words may stand before, between and after the flags; after -- there are no flags.
    said, words = {}, argv[:end]
    _refuse_unknown(script, [word for word in words if _is_begun(script, word)])
    if any(word.startswith("-") for word in words):  # else argparse need not look for flags
        said, words = _flags_of(script, words, argv[end + 1 :])
    if "help" in said:
        sys.stdout.write(build(script).format_help())  # argparse swallows what goes wrong here
        raise SystemExit(0)
    if "version" in said:
        print(SOFTWARE)
        raise SystemExit(0)
    for name, listed in (("list_models", listing.models), ("list_prompts", listing.prompts)):
        if name in said:
            which = said[name]
            asked = said.get("model", "emoji") if name == "list_prompts" else None
            print(listed(asked if which is True else which))
            raise SystemExit(0)
    _refuse_unknown(script, words)
    words += argv[end + 1 :]
    positional = _words_of(script)
    if words and script.takes_photos:
        photos, prompts = photos_and_prompts(words, script.weight)
        said |= {n: v for n, v in (("photos", photos), ("prompts", prompts)) if v}
    elif words:
        said[positional.name] = _values_of(positional, words)
    elif needs_words and positional.many in ("+", None):
        raise UserError(f"the following arguments are required: {positional.metavar}")
    refuse_both(script, said)
    return said


def _flags_of(script, words, more):
    """(what the flags say, the words between them); more: the words behind --."""

    given = frozenset(word.partition("=")[0] for word in words if word[:1] == "-")
    parser = _parser_of_flags(script, given=given)

    def parsed(words):
        found, between = parser.parse_known_args(words)
        return vars(found), between

    for flag, _, behind in zip(words, words[1:], words[2:], strict=False):
        if flag == "--negative" and not behind.startswith("-"):
            note_once(
                f'note: "{printable(behind, 60)}" is no part of --negative, which takes one text'
            )
    split, either = separated(script, words)
    said, between = parsed(split)
    if not either:
        return said, between
    # The words between the flags are complete without these: then they are the flag's.
    others = [w for w in [*between, *more] if not (script.takes_photos and is_photo(w))]
    if len(others) <= sum(len(may) for _, may in either):
        return said, between
    if script.takes_photos:
        for flag, may in either:
            taken = ", ".join(f'"{printable(word, 60)}"' for word in may)
            note_once(f"note: {taken} is taken for {flag}, too: prompts stand elsewhere")
    return parsed(separated(script, words, wide=True)[0])


def refuse_both(script, said):
    """UserError for options that exclude each other; said: as `parse` returns it."""
    options = options_of(script)
    for name in said:
        for other in options[name].excludes:
            if other in said:
                raise UserError(
                    f"{options[name].flag} and {options[other].flag} exclude each other: give one "
                    "of them"
                )


def all_values(script, argv=None):
    """Every option of a script that has no jobs, as attributes; arguments and errors as `parse`."""
    said, values = parse(script, argv), {"script": script}
    errors.be_quiet("quiet" in said)
    for name, option in options_of(script).items():
        values[name] = said.get(name, default(option, values))
    return SimpleNamespace(**values)


def read(option, text):
    """The value of an option of a text; UserError that names the option."""
    try:
        return option.type(text)
    except UserError as error:
        name = option.metavar if option.is_positional else "/".join(option.flags.split())
        raise UserError(f"argument {name}: {error}") from None


def build(script):
    """The argparse parser of a script, words between the flags included: for help, completion."""
    parser = _parser_of_flags(script, argparse.ArgumentParser)
    option = _words_of(script)
    group = next(group for group in parser._action_groups if group.title == option.group)
    group.add_argument(option.name, metavar=option.metavar, nargs=option.many, help=_help(option))
    group._group_actions.insert(0, group._group_actions.pop())
    return parser


def _words_of(script):
    """The option that is the words between the flags."""
    return next(option for option in options_of(script).values() if option.is_positional)


class _Parser(argparse.ArgumentParser):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._negative_number_matcher = NEGATIVE  # argparse's own takes -1e-5 for a flag

    def error(self, message):
        # argparse quotes what it was given as it was given: not for a terminal.
        raise UserError(printable(message))


class _Last(argparse.Action):
    """Stores a value; that an earlier one is lost, as with all tools, is told."""

    def __call__(self, parser, namespace, values, option_string=None):
        if self.dest in vars(namespace):
            note_once(f"note: {option_string} is given more than once: the last one counts")
        setattr(namespace, self.dest, values)


@lru_cache(maxsize=1000)
def _parser_of_flags(script, make=_Parser, given=None):
    """given: the flags to know, with values that stand at a short one; None: all.

    argparse looks at each flag that it knows in each of the many lines of a job file.
    """
    words = _words_of(script)
    parser = make(
        prog=as_called(script.name),
        usage=f"{as_called(script.name)} {words.metavar}{' ...' if words.many else ''} [flags]",
        description=script.about,
        epilog=as_called("examples:\n" + "\n".join(f"  {line}" for line in script.examples)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    groups = {}
    for option in options_of(script).values():
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        known = given is None or any(
            flag in given or (len(flag) == 2 and any(word[:2] == flag for word in given))
            for flag in option.flags.split()
        )
        if known and not option.is_positional:
            _add(groups[option.group], option, shown=make is not _Parser)
    group = parser.add_argument_group("help")
    group.add_argument("--help", "-h", action="store_true", help="show this and exit")
    group.add_argument("--version", action="store_true", help="show the version and exit")
    return parser


def _add(group, option, shown):
    """Adds an option to a group; shown: as `--help` shows it."""
    flags, told = option.flags.split(), {"dest": option.name, "help": _help(option)}
    if option.is_switch:
        group.add_argument(*flags, action="store_true", **told)
        return

    def read_value(text):
        try:
            return option.type(text)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    told |= {"nargs": option.many, "action": _Last}
    if option.many == "?":
        told["const"] = True
    if option.many == "+" and not shown:
        told |= {"action": "append", "nargs": None}  # `separated` has put a flag before each value
    group.add_argument(*flags, type=read_value, metavar=option.metavar, **told)


def _help(option):
    shown = option.shown_default
    return (option.help + (f" ({shown})" if shown else "")).replace("%", "%%")


def _values_of(option, words):
    if option.many is None:
        if len(words) > 1:
            raise UserError(f"unrecognized arguments: {printable(' '.join(words[1:]))}")
        return read(option, words[0])
    return [read(option, word) for word in words]


def _is_begun(script, word):
    """Whether a word is the beginning of a short flag, which argparse would take for it."""
    if word[:1] != "-" or word[1:2] in ("", "-"):
        return False
    name, flags = word.partition("=")[0], _short_flags(script)
    return name not in flags and any(flag.startswith(name) for flag in flags)


@cache
def _short_flags(script):
    flags = [flag for option in options_of(script).values() for flag in option.flags.split()]
    return ["-h", *(flag for flag in flags if re.match("-[^-]", flag))]


def _refuse_unknown(script, words):
    """UserError for words that look like flags, with the one that may have been meant."""
    unknown = [
        word
        for word in words
        if word[:1] == "-"
        and len(word) > 1
        and not NEGATIVE.match(word)
        and " " not in word.partition("=")[0]
    ]
    if not unknown:
        return
    asked = [word.strip("-").partition("=")[0] for word in unknown]
    for word, name in zip(unknown, asked, strict=True):
        if instead := other_words.told(script, name):
            raise UserError(f"there is no {printable(word, 100)} here: {instead}")
    flags = [flag for option in options_of(script).values() for flag in option.flags.split()]
    known = {flag.strip("-"): flag for flag in [*flags, "--help", "-h", "--version"]}
    close = [difflib.get_close_matches(flag, known, n=1, cutoff=0.7) for flag in asked]
    meant = ", ".join(dict.fromkeys(known[match[0]] for match in close if match))
    hint = f": did you mean {meant}?" if meant else ""
    raise UserError(f"unrecognized arguments: {printable(' '.join(unknown))}{hint}")
