"""What tells the drawing scripts' flags apart: a table, one row a script."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Script:
    """A row of the table.

    Args:
        name: the file.
        large: the network used where none is named and its checkpoint is there.
        method, steps: defaults; steps None: what the method suggests.
        weight: of a prompt that names none.
        guides_any: whether prompts also guide networks that take none.
        start: how much noise an image to start from gets.
    """

    name: str
    large: str
    method: str
    steps: int | None
    weight: float
    guides_any: bool = False
    start: float = 0.9


CFG = Script("cfg_sample.py", large="cc12m_1_cfg", method="ab23", steps=None, weight=3.0)
CLIP = Script(
    "clip_sample.py", large="cc12m_1", method="ddpm", steps=1000, weight=1.0, guides_any=True
)
REVERSE = Script("reverse_sample.py", large="cc12m_1_cfg", method="exact", steps=50, weight=3.0)
MODIFY = Script(
    "cfg_modify_image.py", large="cc12m_1_cfg", method="plms", steps=50, weight=3.0, start=1.0
)
