"""The command line: the table of options, its parser, help, completion, lists.

Nothing here imports torch or Pillow before it needs them: `--help` and a mistyped argument are
answered at once.
"""
