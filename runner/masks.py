"""Where a photo may change, or is not known."""

from media.images import open_image, open_mask, resize_and_crop
from values.errors import UserError, note_once, printable


def mask_of(image):
    """The mask of a photo: a PIL image in grey, of the photo's size in what is drawn; or None.

    Args:
        image: the ImageOptions.
    Raises:
        UserError: for a mask that is not of the photo's size, all black, or, of a hole, all white.
    """
    if image.mask is None:
        return None
    mask, photo, size = open_mask(image.mask), open_image(image.init).size, image.photo_size
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
    if image.task and mask.getextrema()[0] > 0:
        raise UserError(
            f"--mask {printable(image.mask, 200)} has no black pixel: nothing would be kept"
        )
    return mask
