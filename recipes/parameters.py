"""The `parameters` text that common tools write into their PNGs: ours written, all taken apart.

Prompt lines come first, then lines of what is not wanted from "Negative prompt:" on, and last one
line of settings: `Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512`. There is no
standard; what cannot be told apart stays in the prompt.
"""

import json
import re
import unicodedata

from values.errors import printable
from values.prompts import Prompt, format_prompt

KEY = "parameters"
# Under which other programs keep JSON, their graph of nodes or their settings.
JSON_KEYS = ("invokeai_metadata", "sd-metadata", "prompt", "workflow", "Comment")
WANTED, UNWANTED = ("prompt", "positive_prompt"), ("negative_prompt", "uc")  # their names in it
NEGATIVE = "Negative prompt:"
_NAME = re.compile(r'\s*([^\s:,"][^:,"\n]{0,60}):\s*')
_NEXT = re.compile(r',\s*[^\s:,"][^:,"\n]{0,60}:\s')
_END = re.compile(r"\s*(,|\Z)")


def text_of(recipe):
    """A recipe as the viewers of generated images show it.

    Prompts first, then those of negative weight after "Negative prompt: ", then one line of
    "Name: value" pairs. A single prompt stands alone, its weight is the CFG scale; several show
    their weights.
    """
    prompts = [Prompt.of(stored) for stored in recipe.get("prompts", [])]
    alone = len(prompts) == 1 and prompts[0].is_plain
    show = (lambda prompt: prompt.text) if alone else format_prompt
    wanted = [_one_line(show(prompt)) for prompt in prompts if prompt.weight >= 0]
    unwanted = [_one_line(show(prompt)) for prompt in prompts if prompt.weight < 0]
    if unwanted:
        unwanted[0] = f"Negative prompt: {unwanted[0]}"
    pairs = ", ".join(
        f"{name}: {_shown(value)}" for name, value in _pairs(recipe) if value not in (None, "")
    )
    return "\n".join([*wanted, *unwanted, pairs])


def parse(text):
    """A text taken apart.

    Returns:
        a dict: `prompt` and `negative_prompt`, texts of one or more lines or "", and `settings`,
        a dict from names to texts in the order of the file.
    """
    if found := of_json(text):
        return found
    lines = text.strip().replace("\r\n", "\n").split("\n")
    # Settings may be followed by more of them, in lines of their own: look from the end.
    places = [i for i in range(len(lines)) if _is_settings(lines[i])]
    first = [i for i in places if "Steps" in _settings(lines[i])]
    place = (first or places or [len(lines)])[-1]
    settings = {}
    for line in lines[place:]:
        for name, value in _settings(line).items():
            settings.setdefault(name, value)
    lines = lines[:place]
    negative = next((i for i, line in enumerate(lines) if line.startswith(NEGATIVE)), len(lines))
    unwanted = "\n".join(lines[negative:]).removeprefix(NEGATIVE)
    return {
        "prompt": "\n".join(lines[:negative]).strip(),
        "negative_prompt": unwanted.strip(),
        "settings": settings,
    }


def of_json(text):
    """What another tool's JSON says, as `parse` does: settings, a graph of nodes, or a list.

    Returns:
        a dict as of `parse`; None for a text that is no JSON.
    """
    if (found := _json(text)) is None:
        return None
    nodes = found.get("nodes", found) if isinstance(found, dict) else found
    nodes = list(nodes.values()) if isinstance(nodes, dict) else nodes
    nodes = nodes if isinstance(nodes, list) else []
    if nodes and all(isinstance(n, dict) and {"class_type", "type"} & set(n) for n in nodes):
        kinds = [str(node.get("class_type", node.get("type", "?"))) for node in nodes]
        said = {"made by": f"a graph of {len(nodes)} nodes, of another tool"}
        return {"prompt": "", "negative_prompt": "", "settings": said | {"nodes": ", ".join(kinds)}}
    if isinstance(found, list):
        said = {"made by": f"a list of {len(found)} parts, of another tool"}
        return {
            "prompt": "",
            "negative_prompt": "",
            "settings": said | {"parts": json.dumps(found)},
        }
    texts = {name: v if isinstance(v, str) else json.dumps(v) for name, v in found.items()}
    wanted = next((texts.pop(name) for name in WANTED if name in texts), "")
    unwanted = next((texts.pop(name) for name in UNWANTED if name in texts), "")
    return {"prompt": wanted, "negative_prompt": unwanted, "settings": texts}


def _is_settings(line):
    found = _settings(line)
    return bool(_NAME.match(line)) and (len(found) >= 3 or "Steps" in found)


def _settings(line):
    """The `Name: value` pairs of a line; a value goes on to the next name, commas and all."""
    found, name = {}, _NAME.match(line)
    while name:
        value, end = _value(line, name.end())
        found.setdefault(name[1].rstrip(), value)
        name = _NAME.match(line, end)
    return found


def _value(line, start):
    """The value that starts at a place, and the place behind it and its comma."""
    if line[start : start + 1] in ('"', "{", "["):  # as JSON, where it holds commas and names
        try:
            value, end = json.JSONDecoder().raw_decode(line, start)
        except (ValueError, RecursionError):
            end = len(line) + 1
        if comma := end <= len(line) and _END.match(line, end):
            return (value if isinstance(value, str) else line[start:end]), comma.end()
    following = _NEXT.search(line, start)
    if not following:
        return line[start:].strip().rstrip(",").rstrip(), len(line)
    return line[start : following.start()].strip(), following.start() + 1


def _json(text):
    """The object or the list of JSON that a text is; None for any other."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def _pairs(recipe):
    get = recipe.get
    asked = [*get("prompts", []), *get("images", [])]
    scale = sum(weight for _, weight, *_ in asked if weight > 0)
    yield "Steps", get("steps")
    yield "Sampler", get("method")
    yield "Schedule type", get("schedule")
    if "clip_guidance_scale" in recipe:
        yield "CLIP guidance scale", recipe["clip_guidance_scale"]
    else:
        yield "CFG scale", scale or None
    yield "Seed", get("seed")
    yield "Size", "x".join(str(side) for side in get("size", []))
    yield "Model hash", get("model_sha256", "")[:10]
    yield "Model", get("model")
    yield "Denoising strength", get("starting_timestep") if get("init") else None
    yield "Eta", get("eta")
    for name, field in (("Image prompts", "images"), ("Prompts of regions", "region")):
        yield name, " | ".join(format_prompt(Prompt.of(stored)) for stored in get(field, []))
    yield "Version", get("software")


def _shown(value):
    text = f"{value:g}" if isinstance(value, float) else _one_line(str(value))
    # As the viewers expect it: what could be taken for the next pair is quoted.
    return json.dumps(text, ensure_ascii=False) if re.search('[,:"]', text) else text


def _one_line(text):
    spaced = "".join(" " if unicodedata.category(c) in ("Zl", "Zp") else c for c in text)
    return printable(re.sub(r"[\t\n\v\f\r\x85]+", " ", spaced), limit=len(text) + 1)
