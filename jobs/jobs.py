"""The jobs of a run, the images they come to, and which of these are drawn together.

The command line is a job, or each line of `--from-file` is, times `--sweep`. What a line does not
say, the command line does. Lines of a stream, and those that are typed, are read as they come.
"""

import functools
import itertools
import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from cli.option import Is
from cli.options import marked, options_of
from cli.parser import parse
from diffusion.methods import NEGLIGIBLE
from jobs import job_stream
from jobs.frames import frames_of, with_latents
from jobs.job_files import entries, placed, read_entry
from jobs.resolve import resolve, resolve_image
from jobs.resolved import ImageOptions
from jobs.sweeps import combination_named, option_of, sweep_of
from recipes import exif_texts, png_texts
from values.errors import UserError, be_quiet, note, printable, say
from values.files import file_name, open_regular
from values.prompts import Prompt, format_prompt, merge
from values.types import DrawnSeed
from values.wildcards import Wildcards

MAX_BYTES = 2**30  # of a job file
MAX_OPEN = 64  # batches that wait for more images of their shape


@dataclass(frozen=True, eq=False)
class Job:
    """Images that differ by their seeds alone.

    Args:
        line: its number in the file, from 1; 0: the command line.
        image: its options.
        swept: the values that `--sweep` gave it, from flag names to numbers, or to texts as given.
        row: of these, its number among those that differ by the last of the flags alone.
    """

    line: int
    image: ImageOptions
    swept: dict = field(default_factory=dict)
    row: int = 0


class Item(NamedTuple):
    """An image to draw.

    Args:
        job: what it is one of.
        index: its number in the run, from 0.
        number: its number in the job.
        seed: of its noise, and of the choices in its prompts.
        prompts: with all choices made, and weights other than 0.
        model: the name of the network.
        film: the number in the run of the animation that it is a frame of.
    """

    job: Job
    index: int
    number: int
    seed: int
    prompts: list[Prompt]
    model: str
    film: int = 0

    @property
    def image(self):
        """The ImageOptions."""
        return self.job.image

    @property
    def asked(self):
        """(text prompts, image prompts), as `Run.embed` takes them; `conditions` joins the two."""
        return self.prompts, self.image.images

    @property
    def conditions(self):
        """All prompts, of texts and of images."""
        return [*self.prompts, *self.image.images]

    @property
    def photo(self):
        """The photo that it starts from, or None."""
        return self.image.photos[self.number] if self.image.photos else self.image.init

    @property
    def fields(self):
        """What the name of its file may hold, as `values.names.Template` takes it."""
        image = self.image
        texts = [p.text for p in self.prompts if p.weight > 0]
        texts += [file_name(p.text) for p in image.images if p.weight > 0]
        if image.frame and image.frame.morph:  # of a name that all frames have
            texts = [p.text for p in image.frame.morph]
        number, count, *_ = image.frame or (0, 1)
        return {
            "index": self.index,
            "line": self.job.line,
            "seed": self.seed,
            "prompt": " ".join(texts),
            "photo": file_name(self.photo).rpartition(".")[0] if self.photo else "",
            "model": self.model,
            "steps": image.steps,
            "method": image.method,
            "schedule": image.schedule,
            "frame": number,
            "frames": count,
            "film": self.film,
        }


class Jobs:
    """The jobs of a run.

    Args:
        script: one of `cli.scripts.SAMPLING`.
        argv: the words of the command line; None: those of this process.
    Attributes:
        run: the RunOptions.
        streams: whether lines are read as they come; they are gone through once then.
        all: the Jobs, in order; of a stream none.
        bad: numbers of lines that are left out, since the run is to keep going.
        failure: the UserError that has ended a stream; or None.
    Raises:
        UserError: for whatever is wrong, in a file with its line and column.
    """

    def __init__(self, script, argv=None):
        self.script, self.bad = script, set()
        said = with_latents(script, parse(script, argv))
        self.said = job_stream.with_standard_input(script, said)
        be_quiet("quiet" in self.said)
        self.file = self.said.get("from_file")
        self.sweep = sweep_of(script, self.said)
        asks = self.said.get("interactive", False)
        is_job = not (self.file or self.sweep or asks)
        self.run, image = resolve(script, self.said, is_job=is_job)
        # What is made of all images, or of each N-th, cannot be planned before all are known.
        plans_ahead = self.sweep or {"grid", "shard", "dry_run"} & set(self.said)
        streams = bool(self.file) and job_stream.is_stream(self.file) and not plans_ahead
        self.streams, self.failure, self._look = asks or streams, None, lambda image: None
        if asks:
            job_stream.check_terminal()
        if self.streams:
            self._keep([])
        elif self.file:
            found = entries(_text_of(self.file), script)
            self._keep([(entry, self._of_line(entry)) for entry in found])
        else:
            one = [Job(0, image)]
            moves = "morph" in options_of(script) and (image.morph or image.frames or image.moves)
            self._keep([(None, list(self._variants(0, {})) if self.sweep or moves else one)])
        self._tell_seeds(self.all)

    def lines(self):
        """The Jobs of each line, as lists: of a stream as they come, then until it fails."""
        if not self.streams:
            yield from (jobs for _, jobs in self._lines)
            return
        asks = self.run.interactive
        lines = job_stream.typed_lines() if asks else job_stream.lines_of(self.file)
        try:
            for entry in job_stream.entries_of(lines, self.script, may_be_table=not asks):
                if jobs := self._sound(entry, self._of_line(entry)):
                    self._tell_seeds(jobs)
                    yield jobs
        except UserError as error:
            self.failure = error

    def _tell_seeds(self, jobs):
        """Notes the seeds that `--seed random` has drawn."""
        drawn = [job.image.seed for job in jobs if isinstance(job.image.seed, DrawnSeed)]
        if drawn:
            note(f"seed: {', '.join(map(str, dict.fromkeys(drawn[:20])))}")

    def _keep(self, lines):
        self._lines = [(entry, jobs) for entry, jobs in lines if jobs]
        self.all = [job for _, jobs in self._lines for job in jobs]

    def check(self, look):
        """Has a function look at the ImageOptions of each job; it raises a UserError."""
        self._look = look
        self._keep([(entry, self._sound(entry, jobs)) for entry, jobs in self._lines])

    def _sound(self, entry, jobs):
        """The jobs of a line if nothing is wrong with any of them."""
        try:
            for job in jobs:
                with combination_named(job.swept):
                    self._look(job.image)
        except UserError as error:
            if entry is None:
                raise
            self._leave_out(entry, error, self._look)
            return []
        return jobs

    def _of_line(self, entry):
        """All jobs of a line, or none where it is left out."""
        try:
            said = with_latents(self.script, read_entry(entry, self.script))
            return list(self._variants(entry.line, said))
        except UserError as error:
            self._leave_out(entry, error)
            return []

    def _leave_out(self, entry, error, look=lambda image: None):
        def use(said):
            for job in self._variants(entry.line, with_latents(self.script, said)):
                with combination_named(job.swept):
                    look(job.image)

        error = placed(error, entry, self.script, use)
        line = entry.line + error.line
        if self.run.interactive:
            say(f"error: {error}")
            return
        place = f"{printable(self.file, 200)}, line {line}, column {error.column + 1}: {error}"
        if not self.run.keep_going:
            raise UserError(place) from None
        self.bad.add(line)
        say(f"left out: {place}")

    def _variants(self, line, said):
        """The jobs of a line: one for each combination of what is swept."""
        names = [name for name, _ in self.sweep]
        across = len(self.sweep[-1][1]) if self.sweep else 1
        for i, values in enumerate(itertools.product(*(values for _, values in self.sweep))):
            # The model is the run's, whatever a line's latents were made with.
            all_said = {"model": self.run.model, **merged(self.script, self.said, said)}
            for name, (_, value) in zip(names, values, strict=True):
                all_said = merged(self.script, all_said, {option_of(self.script, name).name: value})
            told = [value if type(value) in (int, float) else shown for shown, value in values]
            swept = dict(zip(names, told, strict=True))
            for frame_said, frame in frames_of(self.script, all_said):
                with combination_named(swept):
                    image = resolve_image(self.script, frame_said, frame)
                yield Job(line, image, swept, i // across)


def merged(script, said, more):
    """What a command line says with what a line says put over it."""
    options, result = options_of(script), dict(said)
    for name in more:
        for other in options[name].excludes:
            if other not in more:
                result.pop(other, None)
    for name, value in more.items():
        joins = name in marked(script, Is.JOINS)
        result[name] = [*value, *said.get(name, [])] if joins else value
    return result


def items(jobs):
    """The images of Jobs, one after the other."""
    numbers = Numbers()
    for line in jobs.lines():
        yield from items_of_line(jobs, line, numbers)


class Numbers:
    """Those of the images of a run, and of its animations."""

    def __init__(self):
        self.images, self.films = itertools.count(), itertools.count()


def items_of_line(jobs, line, numbers):
    """The images of one of the lists of `Jobs.lines`; numbers: the Numbers that they get."""
    for shots in _films(line):
        for number, seed in enumerate(shots[0].image.seeds):
            film = next(numbers.films)
            for job in shots:
                prompts = chosen_prompts(job.image, jobs.run.wildcards, seed)
                index = next(numbers.images)
                yield Item(job, index, number, seed, prompts, jobs.run.model, film)


def _films(line):
    """Lists of the jobs of a line: the frames of an animation are together, others are alone."""
    found = []
    for job in line:
        if job.image.frame and job.image.frame.number:
            found[-1].append(job)
        else:
            found.append([job])
    return found


def chosen_prompts(image, folder, seed):
    """The text prompts of one image: choices are made by its seed.

    Args:
        image: the ImageOptions.
        folder: that of `--wildcards`.
    """
    if not image.makes_choices:
        return image.prompts
    texts = Wildcards(folder).expand([prompt.text for prompt in image.prompts], seed)
    made = [replace(p, text=text) for text, p in zip(texts, image.prompts, strict=True)]
    return [prompt for prompt in merge(made) if prompt.weight]


def said_of(job):
    """The photos and prompts that a line of a job file asks for, as on the command line."""
    image = job.image
    if image.frame:
        return f"{image.frame.count} frames, {image.frame.words}"
    sources = image.photos or ([image.init] if image.init else [])
    asked = [*(image.source or []), *image.conditions]
    words = [*sources, *(format_prompt(prompt) for prompt in asked)]
    return " ".join(f'"{printable(word, 90)}"' for word in words) or "no prompt"


def batches(images, size, script):
    """Lists of up to `size` Items that are alike in shape, across jobs.

    The same images come in the same batches every time, whoever draws which, so that rounding,
    which depends on the shape of a batch, is the same too.
    """
    waiting = {}
    for item in images:
        shape = shape_of(item, script)
        batch = waiting.setdefault(shape, [])
        batch.append(item)
        if len(batch) == size:
            yield waiting.pop(shape)
        elif len(waiting) > MAX_OPEN:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


@functools.cache
def own_options(script):
    """The names of the options of a script that may differ between the images of a batch."""
    alike = {*marked(script, Is.SHAPE), "starting_timestep"}  # the last by `shape_of`
    return frozenset(marked(script, Is.IMAGES)) - alike


def shape_of(item, script):
    """What images must have in common to be drawn in one batch."""
    image = item.image
    values = [getattr(image, name) for name in marked(script, Is.SHAPE)]
    values = [tuple(value) if isinstance(value, list) else value for value in values]
    start = image.starting_timestep if image.init else None
    # Without a prompt CLIP does not steer, which a batch does or does not as a whole.
    steered = (bool(item.conditions), image.steers) if script.guides_any else None
    return (_rows(item.conditions), _rows(image.source or []), steered, start, *values)


def _rows(conditions):
    """How many rows of the network an image takes; where that changes, all that it depends on."""
    if not all(prompt.is_plain for prompt in conditions):
        texts = [prompt.text for prompt in conditions]
        return tuple((texts.index(p.text), p.weight, p.when, p.place) for p in conditions)
    rest = 1 - math.fsum(prompt.weight for prompt in conditions)
    return len(conditions) + (abs(rest) > NEGLIGIBLE)  # with the empty prompt, if it has a part


def _text_of(source):
    """The text of a job file, or of a stream to its end."""
    if job_stream.is_stream(source):
        return "".join(job_stream.lines_of(source))
    with open_regular(source) as file:
        data = file.read(MAX_BYTES + 1)
    if data.startswith(png_texts.SIGNATURE) or exif_texts.is_one(data[:12]):
        name = printable(source, 200)
        raise UserError(f"{name} is a picture and no job file: --from-png {name} draws it again")
    if len(data) > MAX_BYTES:
        raise UserError(f"{printable(source, 200)}: larger than a GiB: share it out")
    return data.decode("utf-8-sig", errors="surrogateescape").replace("\r\n", "\n")
