"""What CLIP guidance does to the drawings of the bundled model, at several scales.

    python bench/steering.py [--prompt TEXT] [--seeds N] [-o docs/steering.png]

Draws the same seeds with `clip_sample.py` at each scale, prints how similar CLIP finds them to the
prompt, and puts the first eight of each in a picture. The judge is the CLIP that steers, so this
says that the loss goes down, not that the drawings are better: look at them.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import runner  # noqa: E402, F401  before torch: its threads are to sleep while they wait

SCALES = (0, 50, 500, 5000)
SHOWN = 8


def draw(args, scale, folder):
    """The images of all seeds at one scale."""
    from PIL import Image

    command = [sys.executable, ROOT / "clip_sample.py", args.prompt, "--model", "emoji"]
    command += ["-cs", scale, "-n", args.seeds, "-bs", args.seeds, "--steps", args.steps]
    command += ["-o", f"{folder}/{scale}_{{seed:03}}.png"]
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True, check=True)
    return [Image.open(name) for name in done.stdout.split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompt", default="a red apple on a blue background")
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("-o", "--output", type=Path, default=Path("steering.png"))
    args = parser.parse_args()

    import torch

    from media.tensors import to_tensor
    from models import clip
    from train.pictures import sheet

    reader, rows = clip.load("emoji"), []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        target = torch.nn.functional.normalize(reader.encode_text([args.prompt]))
        for scale in SCALES:
            images = draw(args, scale, folder)
            seen = reader.encode_image(torch.stack([to_tensor(image) for image in images]))
            similarity = (seen @ target.T).squeeze(1)
            error = similarity.std() / len(images) ** 0.5
            print(f"scale {scale:5}: similarity {similarity.mean():.3f} +- {error:.3f}", flush=True)
            rows.append((f"scale {scale}", [], images[:SHOWN]))
        sheet(rows, args.output)


if __name__ == "__main__":
    main()
