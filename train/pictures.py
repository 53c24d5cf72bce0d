"""The pictures of `train.evaluate`: sheets of drawings with what was asked for, and a plot."""

from PIL import Image, ImageDraw, ImageFont

from train.data import replace_file


def sheet(rows, path, left=150, gap=4):
    """Rows of images beside their labels, as a PNG.

    Args:
        rows: (label, images that were prompts, images drawn) of each row; PIL images of one size.
        left: the room for labels, in pixels.
    """
    side = rows[0][2][0].height
    prompts = max(len(shown) for _, shown, _ in rows)
    start = left + prompts * (side + gap) + (16 if prompts else 0)
    width = start + max(len(images) for _, _, images in rows) * (side + gap)
    picture = Image.new("RGB", (width, len(rows) * (side + gap) + gap), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for i, (label, shown, images) in enumerate(rows):
        y = gap + i * (side + gap)
        pen.multiline_text((8, y + side / 2), label, "black", font, anchor="lm")
        for j, image in enumerate(shown):
            picture.paste(image.resize((side, side)), (left + j * (side + gap), y))
        for j, image in enumerate(images):
            picture.paste(image, (start + j * (side + gap), y))
    # 256 colours of its own: a third of the bytes, and nobody sees it.
    picture = picture.quantize(256)
    replace_file(path, lambda p: picture.save(p, "PNG", optimize=True))


def grid(images, path, columns=10):
    """PIL images in rows, as a PNG."""
    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    sheet([("", [], row) for row in rows], path, left=4)


def guidance_plot(parts, path):
    """Accuracy and diversity over the guidance weight, side by side, as a PNG.

    Args:
        parts: what `train.evaluate` measured at each weight.
    """
    from matplotlib.figure import Figure

    weights = [part["weight"] for part in parts]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for key, label in (("top1", "top 1"), ("top5", "top 5")):
        shares = [part[key]["share"] for part in parts]
        below = [part[key]["share"] - part[key]["low"] for part in parts]
        above = [part[key]["high"] - part[key]["share"] for part in parts]
        left.errorbar(weights, shares, [below, above], marker="o", capsize=3, label=label)
    left.set(xlabel="weight", ylabel="share of right things", ylim=(0, 1.03))
    left.legend()
    for key, label in (("pixel_distance", "pixels"), ("embedding_distance", "embeddings")):
        values = [part[key] for part in parts]
        right.plot(weights, [v / values[0] for v in values], marker="o", label=label)
    right.set(
        xlabel="weight", ylabel="distance between drawings of a\nprompt, that of weight 0 being 1"
    )
    right.set_ylim(bottom=0)
    right.legend()
    replace_file(path, lambda p: figure.savefig(p, dpi=120, format="png"))
