"""What each network and each CLIP is: tables with one row for each.

It imports no torch, so that arguments can be checked against it at once.
"""

import difflib
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Architecture:
    """What tells one U-Net from another; `models.unet.UNet` makes one of it.

    Args:
        channels: of each level, from the full resolution down; each level halves the resolution.
        blocks: residual blocks of a level on the way in, and as many on the way out.
        attention_from: the first level whose blocks are each followed by attention; None: no level.
        head_channels: channels of one attention head, of which the channels of each level with
            attention are a multiple.
        attention_norm: whether attention starts with a group norm.
        timestep: what the timestep features are made of, "t" or "log_snr".
        upsampling: "bilinear" or "nearest".
        skip_first: a level's output is [skip, inner] along channels rather than [inner, skip].
        final_relu: whether the very last block ends in a ReLU as every other one does.
        clip_dim: the size of the CLIP embedding that conditions the network; 0: unconditional.
        features: the size of the mapping network, which turns embedding and timestep into the
            features that modulate the blocks.
        patch: the side of the squares of pixels that the first layer takes as channels.
        takes_weight: whether the weight of guidance is an input, as of students of a teacher.
        sketch: the side in pixels of a sketch of the condition that joins the input; 0: none.
        sketch_features: the size of the layer that it is drawn from.
    """

    channels: tuple[int, ...]
    blocks: int
    attention_from: int | None = None
    head_channels: int = 64
    attention_norm: bool = True
    timestep: str = "t"
    upsampling: str = "bilinear"
    skip_first: bool = False
    final_relu: bool = False
    clip_dim: int = 0
    features: int = 1024
    patch: int = 1
    takes_weight: bool = False
    sketch: int = 0
    sketch_features: int = 384

    def __post_init__(self):
        attended = [] if self.attention_from is None else self.channels[self.attention_from :]
        if any(channels % self.head_channels for channels in attended):
            raise ValueError(
                f"channels {attended} of levels with attention are to be multiples of "
                f"head_channels, {self.head_channels}"
            )

    @property
    def size_multiple(self):
        """What both sides of an image must be a multiple of, in pixels."""
        return self.patch * 2 ** (len(self.channels) - 1)


@dataclass(frozen=True)
class Network:
    """A row of NETWORKS.

    Args:
        name: what `--model` takes.
        file: the name of its checkpoint.
        url: where its checkpoint is published; None: it lies in `checkpoints/`, or is named.
        mirrors: other addresses of the same file, tried in turn where that one fails.
        sha256: of the checkpoint; None: not known beforehand.
        shape: (channels, height, width) of the images it was trained on, in pixels.
        architecture: its U-Net.
        other_sizes: (width, height) of other images that it was trained on, in pixels.
        coarse_until: the timestep down to which larger images are best drawn as small ones; 1:
            never.
        min_t, max_t: the range of timesteps it was trained on.
        clip: the CLIP that conditions it; None: it takes no condition.
        draws: what, in a few words.
        licence: of its weights, in words; None: there is nothing to say of it.
        teacher: the network that it has learnt from, for all that it cannot do itself; None: it was
            trained on images alone.
        evaluations: in which it was trained to draw, steps of DDIM on the linear schedule; None:
            any number.
        weights: from which to which a student has learnt; None: it is none.
        vocabulary: a file in `checkpoints/` with all that its captions said, as `train.words`
            writes it; None: it was trained on captions of all kinds, or on none.
    """

    name: str
    file: str
    url: str | None
    sha256: str | None
    shape: tuple[int, int, int]
    architecture: Architecture
    other_sizes: tuple[tuple[int, int], ...] = ()
    coarse_until: float = 1.0
    mirrors: tuple[str, ...] = ()
    min_t: float = 0.0
    max_t: float = 1.0
    clip: str | None = None
    draws: str = ""
    licence: str | None = None
    vocabulary: str | None = None
    teacher: str | None = None
    evaluations: int | None = None
    weights: tuple[float, float] | None = None

    @property
    def takes_weight(self):
        """Whether the weight of guidance is an input: it draws one prompt of one weight."""
        return self.architecture.takes_weight

    @property
    def size_multiple(self):
        """What both sides of an image must be a multiple of, in pixels."""
        return self.architecture.size_multiple

    def times(self, size):
        """How many times as wide and high as what it was trained on images are: a whole number.

        The largest by which they can be reduced to a size that it draws, no smaller than its own;
        1 where there is none.

        Args:
            size: (width, height) in pixels.
        """
        _, height, width = self.shape
        most = min(size[0] // width, size[1] // height)
        for times in range(most, 1, -1):
            if not any(side % (times * self.size_multiple) for side in size):
                return times
        return 1


# Three generations of the design; their networks differ in size.
CC12M = Architecture(
    channels=(128, 256, 256, 512, 512, 1024, 1024), blocks=4, attention_from=4, clip_dim=512
)
YFCC = Architecture(channels=(128, 128, 256, 256, 512, 512, 1024, 1024), blocks=4, attention_from=5)
FIRST = Architecture(
    channels=(128, 256, 256, 512, 512, 1024),
    blocks=4,
    attention_from=3,
    head_channels=128,
    attention_norm=False,
    timestep="log_snr",
    upsampling="nearest",
    skip_first=True,
)

# A small CC12M: what two CPU cores can train and draw with.
EMOJI = replace(
    CC12M,
    channels=(24, 64, 128, 256, 384),
    blocks=1,
    attention_from=3,
    clip_dim=256,
    features=256,
    sketch=32,
)


def published(name, sha256, size, architecture, **more):
    """The row of one of the eight published networks, for square images of `size` pixels."""
    return Network(
        name=name,
        file=f"{name}.pth",
        url=f"https://the-eye.eu/public/AI/models/v-diffusion/{name}.pth",
        sha256=sha256,
        shape=(3, size, size),
        architecture=architecture,
        licence="none is stated; that of its code is MIT",
        **more,
    )


# The ends of the DDPM schedule: the first generation never saw a timestep beyond them.
DDPM_RANGE = {"min_t": 0.006366145797073841, "max_t": 0.9957106709480286}

ROWS = (
    Network(
        name="emoji",
        file="emoji.safetensors",
        url=None,
        sha256="bdc5391c2254c8bc464cd3c50a41eed54fb3c0ea20cde5a08e7ce60581e4377c",
        shape=(3, 64, 64),
        architecture=EMOJI,
        other_sizes=((64, 96), (96, 64)),
        coarse_until=0.2,
        clip="emoji",
        draws="emoji on plain backgrounds",
        licence="MIT",
        vocabulary="emoji.json",
    ),
    published(
        "cc12m_1",
        "63946d1f6a1cb54b823df818c305d90a9c26611e594b5f208795864d5efe0d1f",
        256,
        CC12M,
        clip="ViT-B-16",
        draws="anything that a caption says, for clip_sample.py",
    ),
    published(
        "cc12m_1_cfg",
        "4fc95ee1b3205a3f7422a07746383776e1dbc367eaf06a5b658ad351e77b7bda",
        256,
        CC12M,
        clip="ViT-B-16",
        draws="anything that a caption says",
    ),
    published(
        "yfcc_1",
        "a1c0f6baaf89cb4c461f691c2505e451ff1f9524744ce15332b7987cc6e3f0c8",
        512,
        YFCC,
        draws="photographs",
    ),
    published(
        "yfcc_2",
        "69ad4e534feaaebfd4ccefbf03853d5834231ae1b5402b9d2c3e2b331de27907",
        512,
        replace(YFCC, channels=(128, 256, 512, 512, 1024, 1024, 2048, 2048), blocks=2),
        draws="photographs, by a larger network",
    ),
    published(
        "danbooru_128",
        "1728940d3531504246dbdc75748205fd8a24238a17e90feb82a64d7c8078c449",
        128,
        replace(FIRST, channels=(256, 512, 512, 1024, 1024, 2048), blocks=2, final_relu=True),
        **DDPM_RANGE,
        draws="drawings in the style of anime",
    ),
    published(
        "imagenet_128",
        "cac117cd0ed80390b2ae7f3d48bf226fd8ee0799d3262c13439517da7c214a67",
        128,
        FIRST,
        **DDPM_RANGE,
        draws="the things of ImageNet",
    ),
    published(
        "wikiart_128",
        "b3ca8d0cf8bd47dcbf92863d0ab6e90e5be3999ab176b294c093431abdce19c1",
        128,
        replace(FIRST, attention_from=None, final_relu=True),
        **DDPM_RANGE,
        draws="paintings",
    ),
    published(
        "wikiart_256",
        "da45c38aa31cd0d2680d29a3aaf2f50537a4146d80bba2ca3e7a18d227d9b627",
        256,
        replace(FIRST, channels=(64, 128, 256, 256, 512, 512, 1024), attention_from=4),
        **DDPM_RANGE,
        draws="paintings",
    ),
)


def student(teacher, evaluations, sha256=None):
    """The row of a student, which `train.distil` makes of a network that can do without a prompt.

    Args:
        teacher: its name.
        evaluations: in which the student draws one prompt of one weight.
        sha256: of its checkpoint, if it comes with the suite.
    """
    (row,) = (row for row in ROWS if row.name == teacher)
    return replace(
        row,
        name=f"{teacher}_{evaluations}",
        file=f"{teacher}_{evaluations}.safetensors",
        url=None,
        sha256=sha256,
        architecture=replace(row.architecture, takes_weight=True),
        other_sizes=(),
        coarse_until=1.0,
        draws=f"{row.draws}, in {evaluations} evaluations",
        teacher=teacher,
        evaluations=evaluations,
        weights=(1.0, 6.0),
    )


STUDENTS_METHOD, STUDENTS_SCHEDULE = "ddim", "linear"  # that all of them are trained for
STUDENTS = (
    student("emoji", 4, "dd7fdc37ee5b634dd0174d914770aa094c8b9bc310622703320708400c3e8c88"),
    student("cc12m_1_cfg", 4),
)

NETWORKS = {row.name: row for row in (*ROWS, *STUDENTS)}


def names():
    """The names of all networks."""
    return list(NETWORKS)


def network(name):
    """The row of a network. Raises ValueError, with the names that there are, for another name."""
    if name in NETWORKS:
        return NETWORKS[name]
    close = (
        difflib.get_close_matches(name, NETWORKS, n=1, cutoff=0.4) if isinstance(name, str) else []
    )
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise ValueError(f"there is no network {name!r}{hint}: there are {', '.join(NETWORKS)}")


LEAST_TOKENS = 16  # that any CLIP of open_clip reads
EMOJI_TOKENS = 24


@dataclass(frozen=True)
class ClipRow:
    """A row of CLIPS.

    Args:
        config: the arguments of `open_clip.CLIP`, or None: those of `open_clip_name`.
        open_clip_name, pretrained: what open_clip calls it and the weights it finds by itself.
        home: where people find these weights.
        file: the bundled checkpoint.
        tokens: how many tokens of a text it reads, with one for its beginning and one for its end;
            LEAST_TOKENS: at least so many, open_clip knows.
        enlarge_below: images whose shorter side has fewer pixels are doubled before they are cut
            into crops.
    """

    config: dict | None = None
    open_clip_name: str | None = None
    pretrained: str | None = None
    home: str | None = None
    file: str | None = None
    tokens: int = LEAST_TOKENS
    enlarge_below: int = 256


CLIPS = {
    # The weights were trained with QuickGELU; a file of them does not say so, the name does.
    "ViT-B-16": ClipRow(
        open_clip_name="ViT-B-16-quickgelu",
        pretrained="openai",
        home="huggingface.co/timm/vit_base_patch16_clip_224.openai",
        tokens=77,
    ),
    "emoji": ClipRow(
        file="emoji_clip.safetensors",
        tokens=EMOJI_TOKENS,
        enlarge_below=64,
        config={
            "embed_dim": 256,
            "vision_cfg": {
                "image_size": 64,
                "patch_size": 8,
                "width": 192,
                "layers": 4,
                "head_width": 64,
            },
            "text_cfg": {"context_length": EMOJI_TOKENS, "width": 192, "heads": 3, "layers": 3},
        },
    ),
}


def clip_row(name):
    """The row of a CLIP: one of CLIPS, or one of open_clip's, `ARCHITECTURE[:WEIGHTS]`."""
    if name in CLIPS:
        return CLIPS[name]
    architecture, _, pretrained = name.partition(":")
    home = "the place that open_clip names for it"
    return ClipRow(open_clip_name=architecture, pretrained=pretrained or None, home=home)


def may_be_cut(name, text):
    """Whether a text may have more tokens than a CLIP reads.

    Only then is its tokenizer worth an import: `models.clip.unread` knows what is not read.
    """
    room = clip_row(name).tokens - 2
    if text.isascii() and "&" not in text:  # a token has one sign at least
        return len("".join(text.split())) > room
    # A token has one byte at least; entities like &amp; become other signs, and to normalise text
    # and put it into lower case makes it three times as long at most.
    return len(text.encode(errors="replace")) * 3 > room
