import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from values.errors import counted, printable

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, Füße, 猫, 👩‍🚀", "plain text, Füße, 猫, 👩‍🚀"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\x9b2J", "\\x9b2J"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("a\u2066b\u2028c\ufeff", "a\\u2066b\\u2028c\\ufeff"),
        ("bad \udcff byte", "bad \\udcff byte"),
        ("C:\\folder\\new", "C:\\folder\\new"),
    ],
)
def test_text_is_shown_without_what_could_drive_a_terminal(text, shown):
    assert printable(text) == shown


def test_no_character_reaches_the_terminal_as_a_control():
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    shown = printable(everything, limit=len(everything))
    kinds = {unicodedata.category(c) for c in set(shown) - {"\u200c", "\u200d"}}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    shown.encode()  # and all of it can be written


def test_long_text_is_cut():
    assert printable("x" * 1000, limit=10) == "xxxxxxx..."
    assert printable("x" * 10, limit=10) == "x" * 10


def test_shared_modules_import_without_heavy_libraries():
    code = (
        "import sys, values.errors, values.prompts, recipes.recipe, jobs.outputs\n"
        "heavy = {'torch', 'torchvision', 'open_clip', 'numpy', 'PIL', 'urllib.request'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_one_of_a_kind_is_no_plural():
    assert [counted(n, "image") for n in (0, 1, 2, 1000)] == [
        "0 images",
        "1 image",
        "2 images",
        "1,000 images",
    ]


# Numbers that are at least two, or of which one is a matter of course.
AT_LEAST_TWO = ("MOST", "len(value):,", "tokens", "{n} images go past", "xcolor_space")


def test_numbers_of_things_are_written_by_counted():
    things = "images?|latents|lines|prompts|batches|files|photos|columns|rows|things"
    for package in ("cli", "jobs", "recipes", "runner", "media", "values"):
        for path in (ROOT / package).glob("*.py"):
            for line in path.read_text().splitlines():
                if re.search(rf"\}} ({things})\b", line) and 'f"' in line:
                    assert any(known in line for known in AT_LEAST_TWO), f"{path}: {line}"
