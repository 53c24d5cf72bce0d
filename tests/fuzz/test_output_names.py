"""Names of files, made from texts that would rather be elsewhere."""

import os
import re
import unicodedata
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from jobs import outputs
from tests.fuzz import mutate
from tests.fuzz.lines import one_line
from values.errors import UserError
from values.files import file_name
from values.names import Template

RESERVED = re.compile("con|prn|aux|nul|(com|lpt)[0-9]", re.IGNORECASE)
lengths = st.just("") | st.integers(1, 99).map(lambda n: f":.{n}")
seeds = st.integers(0, 2**63 - 1)


def safe_name(path):
    """Asserts that a path is a plain name of the folder `dir` that every file system takes."""
    assert path.parent == Path("dir")
    assert path.name == os.path.basename(os.path.normpath(path))
    assert not set(path.name) & set('/\\:*?"<>|')
    assert not any(unicodedata.category(c)[0] in "CZ" for c in path.name)
    assert path.name[0] not in ".-"
    assert not RESERVED.fullmatch(path.name.partition(".")[0])
    assert len(os.fsencode(path.name)) < 255


@given(mutate.texts(), seeds, lengths)
def test_prompt_stays_in_the_folder(prompt, seed, length):
    image = {"index": 1, "seed": seed, "prompt": prompt, "photo": prompt, "model": "emoji"}
    for name in (f"{{prompt{length}}}_{{seed}}.png", f"{{prompt{length}}}.png"):
        safe_name(Template(f"dir/{name}").path(image))
    latent = Template(f"dir/{{photo{length}}}.safetensors", ".safetensors", ("photo",) * 2)
    safe_name(latent.path(image))


@given(mutate.texts(), mutate.texts())
def test_any_template_is_a_name_or_refused_in_one_line(text, prompt):
    image = {"index": 1, "seed": 2, "prompt": prompt, "model": "emoji"}
    try:
        template = Template(text + ".png")
        path = outputs.checked_path(template, image)
        (target,) = outputs.plan(template, [image])
    except UserError as error:
        one_line(error)
    else:
        assert path == target.path
        assert template.numbered(image).fullmatch(path.name)
        if path.resolve().is_relative_to(Path.cwd()):
            assert outputs.place(lambda path, *_: path.touch(), target) == path
            assert path.is_file()


@given(mutate.texts())
def test_name_of_a_file_has_no_folders(text):
    name = file_name(text)
    assert "/" not in name
    assert "\\" not in name
