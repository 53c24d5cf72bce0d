"""What other tools call our flags, on the command line, in job files and in sweeps.

None of these words does anything here: whoever writes one is told which flag does it.
"""

from functools import cache

from cli.options import options_of
from cli.scripts import SAMPLING

# Words without their dashes; the flag that does it, which a script must have ("": none is needed);
# what to write, where the flag alone does not say it. The first row that fits counts.
ROWS = (
    ("prompt p text caption", "", 'write a prompt without a flag: "a cat"'),
    ("negative-prompt neg n-prompt negative-prompts uncond-prompt", "--negative", ""),
    (
        "cfg-scale cfg guidance-scale scale guidance cfg-weight unconditional-guidance-scale",
        "--weight",
        'write the weight of a prompt behind it, "a cat:5", or --weight 5',
    ),
    ("sampler sampling-method scheduler sampler-name solver", "--method", ""),
    ("width height w h resolution res image-size", "--size", "--size WIDTH HEIGHT"),
    (
        "num num-images num-samples n-samples n-iter samples count batch-count",
        "-n",
        "",
    ),
    ("ddim-steps num-inference-steps num-steps inference-steps iterations s", "--steps", ""),
    ("outdir output-dir out-dir save-dir", "--output", "-o FOLDER/"),
    ("out output-path outpath", "--output", "-o FILE or -o FOLDER/"),
    ("denoising-strength denoise noise", "--strength", ""),
    ("strength denoising-strength denoise noise", "--starting-timestep", "-st with --init"),
    ("strength denoising-strength denoise noise", "--max-timestep", ""),
    ("image", "--init", "--init to start from it, or --images to be guided by it"),
    ("init-image init-img img img2img input-image input", "--init", ""),
    ("init-image init-img img image img2img input-image input init", "", "name the photo first"),
    ("inpaint outpaint mask-image", "--task", "--task inpaint --mask HOLE.png, or --task outpaint"),
    ("upscale upscaler hires scale", "--task", "--task upscale --factor N"),
    ("denoise", "--task", "--task denoise --noise LEVEL"),
    ("colorize colourise deblur", "--task", ""),
    ("mask-image inpaint", "--mask", ""),
    ("mask-image", "", "cfg_modify_image.py has --mask, restore_sample.py --task inpaint"),
    (
        "inpaint outpaint upscale upscaler hires colorize colourise deblur denoise",
        "",
        "restore_sample.py has --task",
    ),
    ("source-prompt", "", "cfg_modify_image.py has --source"),
    ("image-prompt image-prompts", "--images", ""),
    ("ckpt weights model-path ckpt-path pretrained", "--checkpoint", ""),
    ("model-name model-id m", "--model", ""),
    ("batch b bsz", "--batch-size", ""),
    ("precision half fp16 bf16 fp32 full-precision float16 bfloat16", "--dtype", "--dtype float16"),
    ("gpu gpus cuda", "--device", "--device cuda"),
    ("cpu no-cuda", "--device", "--device cpu"),
    ("prompts-file prompt-file from-prompts input-file jobs", "--from-file", ""),
    ("ddim-eta", "--eta", ""),
    (
        "subseed variation-seed subseed-strength variation-strength variation-amount",
        "--variation",
        "--variation SEED:SHARE",
    ),
    ("interpolate interpolation animate animation blend travel", "--morph", ""),
    ("num-frames n-frames max-frames", "--frames", ""),
    ("cutouts num-cutouts cut-n", "--cutn", ""),
    ("clip-scale cgs", "--clip-guidance-scale", ""),
    ("tile tiling lora vae controlnet", "", "the suite cannot do that"),
    ("rows cols columns n-rows", "--nrow", ""),
    ("silent", "--quiet", ""),
    ("debug", "--verbose", ""),
    ("force y yes", "--overwrite", ""),
    ("resume", "--skip-existing", ""),
    ("format output-format", "--output", "-o NAME.jpg, or .png or .webp"),
)


def told(script, word):
    """What to write in place of another tool's word; None: it is not known.

    Args:
        script: a row of `cli.scripts`.
        word: with dashes or without.
    """
    flags = {flag for option in options_of(script).values() for flag in option.flags.split()}
    for flag, text in _rows().get(word.lstrip("-").lower().replace("_", "-"), ()):
        if not flag or flag in flags:
            return text or f"write {flag}"
    return _of_another_script(word.strip("-"))


def _of_another_script(name):
    """Which other script has a flag; None: none has."""
    for script in SAMPLING:
        options = [o for o in options_of(script).values() if not o.is_positional]
        if name in [flag.strip("-") for o in options for flag in o.flags.split()]:
            return f"{script.name} has it"
    return None


@cache
def _rows():
    """The rows that have a word, as (flag, what to write), by the word."""
    rows = {}
    for words, flag, text in ROWS:
        text = f"write {text}" if text.startswith("-") else text
        for word in words.split():
            rows.setdefault(word, []).append((flag, text))
    return rows
