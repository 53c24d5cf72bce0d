"""What the scripts share: arguments, prompts, images, the recipe inside a PNG, output files.

Nothing here imports torch or Pillow before it needs them: `--help` and a mistyped argument are
answered at once.
"""
