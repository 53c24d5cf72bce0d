"""argparse as the scripts use it: flags among prompts, and errors that are one line."""

import argparse
import difflib
import sys

from cli.errors import UserError, printable


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, like all others of the suite."""

    def __init__(self, description, examples):
        super().__init__(
            description=description,
            epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=False,
        )

    def parse_args(self, args=None, namespace=None):
        """As people write: prompts before, between and after the flags; after -- no flags."""
        args = sys.argv[1:] if args is None else list(args)
        end = args.index("--") if "--" in args else len(args)
        args, plain = args[:end], args[end + 1 :]
        words = next((a for a in self._actions if not a.option_strings), None)
        if not plain or words is None:
            return self.parse_intermixed_args(args, namespace)
        nargs, words.nargs = words.nargs, "*"  # argparse itself would still look for flags in them
        try:
            parsed = self.parse_intermixed_args(args, namespace)
            values = [words.type(word) if words.type else word for word in plain]
        except argparse.ArgumentTypeError as error:
            self.error(f"argument {words.metavar}: {error}")
        finally:
            words.nargs = nargs
        setattr(parsed, words.dest, [*(getattr(parsed, words.dest) or []), *values])
        return parsed

    def parse_intermixed_args(self, args=None, namespace=None):
        """As argparse does, but says which flag an unknown one may have been meant for."""
        parsed, unknown = self.parse_known_intermixed_args(args, namespace)
        if unknown:
            known = {flag.strip("-"): flag for flag in self._option_string_actions}
            flags = [word.strip("-").partition("=")[0] for word in unknown if word[0:1] == "-"]
            close = [difflib.get_close_matches(flag, known, n=1, cutoff=0.7) for flag in flags]
            meant = ", ".join(dict.fromkeys(known[match[0]] for match in close if match))
            hint = f": did you mean {meant}?" if meant else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return parsed

    def error(self, message):
        # argparse quotes what it was given as it was given: not for a terminal.
        raise UserError(printable(message))
