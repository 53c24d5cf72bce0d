"""How bash reads a command line."""

import os
import subprocess


def arguments_in_bash(text):
    """The arguments that a program named `say` would be given by the line `say TEXT`."""
    run = ["bash", "-c", f"say() {{ printf '%s\\0' \"$@\"; }}\nsay {text}"]
    said = subprocess.run(run, capture_output=True, check=True).stdout
    return [os.fsdecode(argument) for argument in said.split(b"\0")[:-1]]
