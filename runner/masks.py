"""Where a photo may change."""

from media.images import open_image, open_mask, resize_and_crop
from values.errors import UserError, note_once, printable


def mask_of(image):
    """The mask of an edit: a PIL image in grey, of the size of what is drawn; None: all may change.

    Args:
        image: the ImageOptions.
    Raises:
        UserError: for a mask that is not of the photo's size, or all black.
    """
    if image.mask is None:
        return None
    mask, photo, size = open_mask(image.mask), open_image(image.init).size, tuple(image.size)
    if mask.size not in (photo, size):
        sizes = ", not ".join(f"{w} x {h}" for w, h in (photo, mask.size))
        raise UserError(
            f"--mask {printable(image.mask, 200)}: make it as large as the photo, {sizes}"
        )
    if mask.size != photo and mask.size[0] * photo[1] != mask.size[1] * photo[0]:
        note_once(
            f"note: --mask {printable(image.mask, 200)} is of another shape than the photo: it is "
            "laid over the photo as it is scaled and cropped"
        )
    mask = resize_and_crop(mask.convert("RGB"), size).convert("L")
    if mask.getextrema() == (0, 0):
        raise UserError(f"--mask {printable(image.mask, 200)} is all black: nothing may change")
    return mask
