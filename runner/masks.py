"""Where a photo may change, or is not known, and where prompts count."""

from media.images import fitted_mask, left_out_of_mask, size_before
from values.errors import UserError, note_once, printable


def region_of(source, size):
    """Where a prompt counts: a PIL image in grey of a (width, height), white where it does.

    A mask of another shape is scaled and cropped as photos are.

    Raises:
        UserError: for a mask that cannot be read, or is all black.
    """
    mask, before = fitted_mask(source, tuple(size))
    if before[0] * size[1] != before[1] * size[0]:
        shapes = " x ".join(map(str, before)), " x ".join(map(str, size))
        note_once(
            f"note: --region {printable(source, 200)}: {shapes[0]} pixels are scaled to "
            f"{shapes[1]}, and what sticks out is cut off"
        )
    if mask.getextrema() == (0, 0):
        raise UserError(
            f"--region {printable(source, 200)} is all black: the prompt would count nowhere"
        )
    return mask


def mask_of(image):
    """The mask of a photo: a PIL image in grey, of the photo's size in what is drawn; or None.

    Args:
        image: the ImageOptions.
    Raises:
        UserError: for a mask that is not of the photo's size, all black, or, of a hole, all white.
    """
    if image.mask is None:
        return None
    size = image.photo_size
    photo, (mask, before) = size_before(image.init, size), fitted_mask(image.mask, size)
    if before not in (photo, size):
        sizes = ", not ".join(f"{w} x {h}" for w, h in (photo, before))
        raise UserError(
            f"--mask {printable(image.mask, 200)}: make it as large as the photo, {sizes}"
        )
    if before != photo and before[0] * photo[1] != before[1] * photo[0]:
        note_once(
            f"note: --mask {printable(image.mask, 200)} is of another shape than the photo: it is "
            "laid over the photo as it is scaled and cropped"
        )
    if mask.getextrema() == (0, 0):
        why = "".join(f" ({line})" for line in left_out_of_mask(image.mask, size))
        raise UserError(
            f"--mask {printable(image.mask, 200)} is all black: nothing may change{why}"
        )
    if image.task and mask.getextrema()[0] > 0:
        raise UserError(
            f"--mask {printable(image.mask, 200)} has no black pixel: nothing would be kept"
        )
    return mask
