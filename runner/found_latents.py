"""What reverse_sample.py saves of the latents that it has found, and says of them."""

import functools
import math

import torch

import diffusion
from cli.scripts import SOFTWARE
from diffusion.guidance_rules import PLAIN
from jobs.outputs import place
from media.images import fitted
from media.saving import save_png
from media.tensors import to_image, to_tensor
from recipes import recipe as recipes
from runner import latents as files
from runner.plan import beside
from values.errors import note, printable
from values.files import file_name


def save_latents(run, batch, latents, timesteps, back=None):
    """Saves the latents of a batch, and whatever is to lie beside them.

    Args:
        run, batch: the Run and the Batch.
        latents: a `diffusion.Latents`.
        timesteps: those of the way to them, ascending.
        back: the images that they yield again [N, 3, H, W]; or None.
    """
    if back is None:
        batch.watch_end(latents.x, timesteps[-1], batch.last_pred)
    else:
        batch.watch_end(back)
    parts = [[None if part is None else part.cpu() for part in (*latents, back)]]
    run.finish(batch, functools.partial(_save, run, batch, *parts, timesteps))


def _save(run, batch, parts, timesteps):
    for i in batch.wanted:
        item = batch.items[i]
        latent, previous, back = (None if part is None else part[i : i + 1] for part in parts)
        facts = facts_of(run, item, timesteps)
        found = _finish(run, item, latent, previous, back, facts)
        if found:
            run.tell(found["file"], item, batch, found)


def facts_of(run, item, timesteps):
    """What a file says of how its latents were found: enough to go forward again."""
    known, options, image = recipes.of(run.options, item.image), run.options, item.image
    names = ("method", "tolerance", "size", "chunk", "max_timestep")
    facts = {
        "model": options.network.name,
        **{name: known[name] for name in names},
        **recipes.of_prompts(image, item.prompts),
        "images": [[file_name(p.text), *p.stored[1:]] for p in image.images],
        "guidance": image.guidance if image.guidance != PLAIN else None,
        "guide": options.guide and file_name(options.guide),
        **{k: v for k, v in run.facts.computed_with(image).items() if k != "clip_sha256"},
        "software": SOFTWARE,
        "timesteps": timesteps,
        "timestep": timesteps[-1],
    }
    return {name: value for name, value in facts.items() if value is not None}


def _finish(run, item, latent, previous, back, facts):
    """Saves what was found for one photo; returns what there is to say of it, as a dict."""
    image, options, target = item.image, run.options, run.plan.files.target(item.fields)
    changed = bool(image.normalise_latent or image.noise_mix)
    if changed:
        previous = None  # the way back is that of another latent
    if image.normalise_latent:
        latent = diffusion.normalise(latent)
    if image.noise_mix:
        fresh = diffusion.noise([item.seed], latent.shape[1:]).to(latent)
        latent = diffusion.mix_noise(latent, fresh, image.noise_mix)
    report = diffusion.noise_report(latent[0])

    def write(path, number, overwrite):
        files.save(path, latent, facts, previous, overwrite)

    path = place(write, target)
    if path is None:
        return None  # another process was quicker
    found = {"file": str(path), "photo": file_name(item.photo), "noise": report.as_dict()}
    pictures = {"preview": latent[0] / 3}  # three standard deviations are black or white
    if back is not None:
        photo, back = to_tensor(fitted(item.photo, image.size)), back[0].float()
        found["round_trip"] = distance(photo, back)
        pictures["round_trip"] = torch.cat([photo, back], dim=2)
    for kind, name in beside(options, path).items():
        save_png(to_image(pictures[kind]), name, None, options.overwrite)
    if not options.json:
        for line in described(found, report, changed):
            note(line)
    return found


def distance(photo, back):
    """How far a round trip ends from where it began.

    Returns:
        a dict: psnr in dB (None: not a bit of difference) and the largest error in grey levels.
    """
    mse = float((photo.double() - back.double()).square().mean())
    psnr = 10 * math.log10(4 / mse) if mse else None  # values span 2
    return {"psnr": psnr, "largest_error": float((photo - back).abs().max()) * 127.5}


def described(found, report, changed):
    """What was found in lines for people; whether it was changed since, towards noise."""
    yield f"{printable(found['photo'], 100)}: {report.verdict}"
    for s in report.statistics:
        yield f"  {s.name:26}{s.value:9.4f}   noise: {s.expected:.4f} +- {s.spread:.4f}"
    if changed:
        yield "  as it was changed, the way back ends at another image, like this one"
    elif not report.is_noise:
        yield "  the way back is as good; other prompts draw better from noise (--normalise-latent)"
    if trip := found.get("round_trip"):
        psnr = "no error" if trip["psnr"] is None else f"PSNR {trip['psnr']:.1f} dB"
        yield f"  round trip: {psnr}, largest error {trip['largest_error']:.2g} grey levels"
