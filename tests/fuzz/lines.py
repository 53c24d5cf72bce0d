"""What may be shown on a terminal."""

from values.errors import printable

LONGEST = 6_000  # 500 characters at most are shown, each of which may be escaped by ten


def one_line(text, most=LONGEST):
    """Asserts that a text is one line that cannot drive a terminal, and not too long a one."""
    text = str(text)
    assert text.strip()
    assert text == printable(text, limit=len(text) + 1)
    assert len(text) <= most, len(text)


def harmless(output):
    """Asserts that no line that was printed can drive a terminal; returns the lines.

    Tabs stand between the columns of a table.
    """
    lines = output.replace("\t", " ").split("\n")
    for line in lines:
        assert line == printable(line, limit=len(line) + 1)
    return lines[:-1] if lines[-1] == "" else lines
