"""What `--list-models` and `--list-prompts` print."""

from models.checkpoints import present
from models.vocabulary import vocabulary
from models.zoo import CLIPS, LEAST_TOKENS, NETWORKS
from values.errors import UserError, counted


def models(name=None):
    """A line for each network, or all there is to say of one."""
    if name:
        return _one(NETWORKS[name])
    rows = [("--model", "size", "prompts", "here", "draws")]
    for row in NETWORKS.values():
        rows.append(
            (row.name, _size(row), _prompts(row), "yes" if present(row) else "no", row.draws)
        )
    return "\n".join([*_columns(rows), "", "prompts: no: clip_sample.py steers it by prompts"])


def prompts(name):
    """The things and grounds that a network was trained to draw, and how to ask for them."""
    row = NETWORKS[name]
    known = vocabulary(row)
    if known is None:
        what = "takes any prompt" if row.clip else "takes no prompts: clip_sample.py steers it"
        others = ", ".join(row.name for row in NETWORKS.values() if row.vocabulary)
        raise UserError(f"--list-prompts: {name} {what}; of a limited vocabulary: {others}")
    things, grounds = counted(len(known.things), "thing"), counted(len(known.grounds), "ground")
    lines = [f"{name} draws {things} on {grounds}:", ""]
    rows = [(thing, ", ".join(others)) for thing, others in known.things.items()]
    lines += _columns([("thing", "is also called"), *rows])
    grounds = [f"{name} ({', '.join(o)})" if o else name for name, o in known.grounds.items()]
    thing, ground = list(known.things)[-1], list(known.grounds)[-1]
    lines += ["", f"grounds: {', '.join(grounds)}", ""]
    return "\n".join([*lines, f'like "a {thing} on a {ground} background"'])


def _one(row):
    path, clip = present(row), CLIPS.get(row.clip)
    known = vocabulary(row)
    rows = [("model", row.name), ("draws", row.draws), ("trained on", _sizes(row))]
    whole = ", or whole times that" if row.coarse_until < 1 else ""
    rows.append(("sizes", f"multiples of {row.size_multiple}, best as it was trained{whole}"))
    rows.append(("prompts", _prompts(row) if row.clip else "none; clip_sample.py steers it"))
    if clip:
        at_least = "at least " if clip.tokens == LEAST_TOKENS else ""
        rows.append(("reads", f"{at_least}{clip.tokens} tokens of each, by CLIP {row.clip}"))
    if known:
        rows.append(("knows", f"{len(known.words)} words; --list-prompts {row.name} shows things"))
    if row.teacher:
        low, high = row.weights
        rows.append(("draws in", f"{row.evaluations} evaluations: a student of {row.teacher}"))
        rows.append(("weights", f"{low:g} to {high:g}"))
    made = f"--model {row.name} downloads it"
    if row.sha256 and not row.url:
        made = "it comes with the suite"
    elif row.teacher:
        made = f"python -m train.distil --teacher {row.teacher} makes it"
    rows.append(("file", str(path) if path else f"{row.file}, not here: {made}"))
    rows += [("address", row.url)] if row.url else []
    rows += [("SHA-256", row.sha256)] if row.sha256 else []
    rows += [("licence", row.licence)] if row.licence else []
    return "\n".join(_columns(rows))


def _prompts(row):
    return "one" if row.takes_weight else "yes" if row.clip else "no"


def _sizes(row):
    others = ", ".join(f"{width} x {height}" for width, height in row.other_sizes)
    return f"{_size(row)} pixels" + (f", and on {others}" if others else "")


def _size(row):
    _, height, width = row.shape
    return f"{width} x {height}"


def _columns(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
