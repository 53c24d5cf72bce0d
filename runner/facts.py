"""What recipes say of a run: weights and other files by their hashes, dtype and device."""

import functools
from concurrent.futures import ThreadPoolExecutor

from cli.scripts import CFG, CLIP, SOFTWARE
from diffusion.guidance_rules import PLAIN
from models import checkpoints
from models.hashes import hash_file
from models.zoo import NETWORKS
from recipes import recipe as recipes
from runner.photos import files_of
from values.errors import note, printable
from values.files import file_name


class Facts:
    """What there is to say of how images of a run are made.

    Args:
        options: the RunOptions.
        checkpoint: the path of the network's weights.
        device, dtype: what it computes on, and in.
    """

    def __init__(self, options, checkpoint, device, dtype):
        self.options, self.checkpoint = options, checkpoint
        self.device, self.dtype = device, dtype
        # Of a new file of 2.4 GB this takes two seconds, in which libraries are loaded.
        self._model_sha256 = ThreadPoolExecutor(1).submit(checkpoints.sha256, checkpoint)
        self._clip_sha256 = functools.cache(checkpoints.clip_sha256)
        self._guide_sha256 = functools.cache(checkpoints.sha256)
        self._file_sha256 = functools.cache(hash_file)

    @property
    def model_sha256(self):
        return self._model_sha256.result()

    @property
    def own_clip_checkpoint(self):
        """The weights of the network's own CLIP that were given; those of the one that steers."""
        options = self.options
        steered = options.script is CLIP and options.clip_model != options.network.clip
        return None if steered else options.clip_checkpoint

    def recipe(self, item):
        """How an image is made, but for its place in a batch, a dict.

        item: a `jobs.jobs.Item`.
        """
        options, image = self.options, item.image
        guided = item.conditions or options.script is not CFG
        return {
            **recipes.of(options, image),
            "script": options.script.name,
            **recipes.of_prompts(image, item.prompts),
            "guidance_interval": image.guidance_interval if guided else None,
            "guidance": image.guidance if image.guidance != PLAIN else None,
            "direct": image.direct or None,
            "seed": item.seed,
            "eta": image.eta or 0.0,
            "starting_timestep": image.starting_timestep if image.init else None,
            "init": image.init,
            "timesteps_of_latent": True if image.latent_timesteps else None,
            "latent_index": image.latent_indices[item.number] if image.latent else None,
            "clip": options.network.clip,
            "software": SOFTWARE,
            **self.computed_with(image),
            "files_sha256": self._files(image) or None,
        }

    def computed_with(self, image):
        """Weights, dtype and device of an image of these ImageOptions, a dict."""
        guide = self.options.guide
        return {
            "model_sha256": self.model_sha256,
            "checkpoint": self.checkpoint.name,
            **({"guide_sha256": self._guide_sha256(guide)} if guide else {}),
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
            **{name: self._clip_sha256(*which) for name, which in self._clips(image).items()},
        }

    def note_other_files(self, image):
        """Notes what is another file than the recipe says, of these ImageOptions."""
        expected = dict(self.options.expected)
        files, weights = expected.pop("files_sha256") or {}, self.computed_with(image)
        model, own = NETWORKS.get(expected.pop("model")), self.options.network
        if model and model.evaluations != own.evaluations:
            note(
                f"note: {own.name} draws what {model.name} has drawn: method, steps and schedule "
                "are its own, unless a flag names them"
            )
        for name, digest in expected.items():
            if digest is not None and weights.get(name) not in (None, digest):
                whose = name.removesuffix("_sha256").replace("_", " ")
                note(f"note: the {whose}'s weights are not those of the recipe")
        found = self._files(image) if files else {}
        for name, digests in files.items():
            if found.get(name) not in (None, digests):
                note(f"note: {printable(name, 200)} is not the file that it was for the recipe")

    def _files(self, image):
        """The hashes of files by the names that recipes have for them, which several may share."""
        found = {}
        for path in files_of(image):
            found.setdefault(file_name(path), set()).add(self._file_sha256(path))
        return {name: sorted(digests) for name, digests in found.items()}

    def _clips(self, image):
        """The CLIPs that read the prompts of an image, as (name, checkpoint or None)."""
        options, row, read = self.options, self.options.network, {}
        if options.script is CLIP and image.steers:
            read["guiding_clip_sha256"] = (options.clip_model, options.clip_checkpoint)
        if row.clip and (image.conditions or image.source):
            read["clip_sha256"] = (row.clip, self.own_clip_checkpoint)
        return read
