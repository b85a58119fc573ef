"""Image files as the rest of the program wants them: uint8 (H, W, C), RGB unless another number of channels is asked for,
the way up a person sees them.

Pillow decodes, because it reads the header before it allocates anything.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from maskrcnn.errors import DataError, UserError
from maskrcnn.images.header import FORMATS, LARGEST, MOST_BYTES, orientation, refuse_header
from maskrcnn.images.multichannel import ARRAY_SUFFIX, is_tiff, open_array, read_tiff

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: Path, channels: int = 3) -> np.ndarray:
    """The image in a file, upright, as uint8 (H, W, channels).

    EXIF orientation is applied; palettes are looked up. Samples of more than 8 bits: see `to_uint8`. Animations (GIF, PNG,
    WEBP) and the pair of images in a phone's JPEG give their first.

    As 3 channels, RGB: grey is repeated, CMYK and the other colour spaces are converted without a profile, transparency
    is laid over white. As 1 channel: the same image's luma. As any other number: what the file holds, unconverted, be it
    RGBA or CMYK, a TIFF of as many bands or grey pages, or a NumPy array (H, W, C) in a .npy file.

    Raises:
        DataError: no such file, not one of `FORMATS`, truncated or damaged, more than `LARGEST` pixels, of another number
            of channels, or a TIFF of several pages, where the first is not known to be the one that is meant.
    """
    try:
        if Path(path).suffix.lower() == ARRAY_SUFFIX:
            array = open_array(path)
            if array.nbytes > MOST_BYTES:
                raise DataError(f"{path}: {array.nbytes:,} bytes, more than {MOST_BYTES:,}; cut it into tiles first")
            return _fitted(to_uint8(np.array(array)), channels, path)
        if channels not in (1, 3) and is_tiff(path):
            return _fitted(to_uint8(read_tiff(path, MOST_BYTES)), channels, path)
        # Pillow warns of large images that we allow, and of damaged metadata; what matters raises
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                refuse_header(image, path)
                return _fitted(from_pillow(image, channels), channels, path)
    except UserError:  # DataError is one
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the name") from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(
            f"{path}: {(error.strerror or 'not readable').lower()}; give an image file that can be read"
        ) from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: more than {LARGEST:,} pixels; cut it into tiles or shrink it first") from None
    except UnidentifiedImageError:
        if is_tiff(path):  # of samples that Pillow has no mode for
            return _fitted(to_uint8(read_tiff(path, MOST_BYTES)), channels, path)
        known = ", ".join(FORMATS)
        raise DataError(f"{path}: not an image of a known format ({known}); convert it to PNG") from None
    # decoders raise whatever their parsing stumbles over (struct.error, SyntaxError, KeyError, ...) on damaged bytes
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be decoded ({reason:.120}); replace or remove the file") from None


def from_pillow(image: Image.Image, channels: int = 3) -> np.ndarray:
    """A Pillow image, upright, as uint8 (H, W, C); conversions as in `read_image`.

    Returns:
        C is `channels` where that is 1 or 3, else as many as the image has.
    """
    # first, because Pillow's TIFF reader turns the image while it loads and drops the tag; the others do neither
    image.load()
    turn = UPRIGHT.get(orientation(image))
    if turn is not None:
        image = image.transpose(turn)
    if image.mode == "F" or image.mode.startswith("I"):
        grey = to_uint8(np.asarray(image))
        return np.repeat(grey[:, :, None], 3 if channels == 3 else 1, axis=2)
    if channels not in (1, 3):
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        samples = to_uint8(np.array(image))
        return samples.reshape(*samples.shape[:2], -1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    # a copy: an array that shares Pillow's memory is read-only
    if channels == 1:
        return np.array(image.convert("L"))[:, :, None]
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))  # which copies, whatever the mode


def as_pixels(image: np.ndarray | Image.Image, channels: int = 3) -> np.ndarray:
    """An array or Pillow image as uint8 (H, W, channels), RGB where there are three.

    Arrays are grey (H, W) or (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4), of any depth (see `to_uint8`). OpenCV's arrays
    are BGR: give `array[..., ::-1]`. For a model of other channels they are (H, W, C) as the model has it; for one of
    grey, colours become grey.

    Raises:
        UserError: another shape or type.
    """
    if isinstance(image, Image.Image):
        return from_pillow(image, channels)
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "buif":
        kind = getattr(image, "dtype", type(image).__name__)
        raise UserError(f"predict: an image is a file, a NumPy array of numbers or a Pillow image, not {kind}")
    flat = image.reshape(*image.shape, 1) if image.ndim == 2 else image
    known = (1, 3, 4) if channels in (1, 3) else (channels,)
    if flat.ndim != 3 or flat.shape[2] not in known or 0 in flat.shape:
        shapes = "(H, W), (H, W, 3) RGB or RGBA" if channels in (1, 3) else f"(H, W, {channels}), as the model takes it"
        raise UserError(f"predict: an array of shape {image.shape} is not an image; give {shapes}")
    samples = to_uint8(flat)
    if samples.shape[2] == channels:
        return np.ascontiguousarray(samples)
    if channels == 1:
        return from_pillow(Image.fromarray(samples), 1)
    if samples.shape[2] == 4:
        return from_pillow(Image.fromarray(samples, "RGBA"))
    return np.ascontiguousarray(np.broadcast_to(samples, (*samples.shape[:2], 3)))


def to_uint8(samples: np.ndarray) -> np.ndarray:
    """Samples of any depth as uint8, by a rule that depends only on the largest of them.

    Integers lose the low bits that the smallest depth of 8, 10, 12, 14, 16, 32 or 64 bits that holds them all has beyond 8:
    a 12-bit microscope's image in a 16-bit file is not black. Floats: up to 1.0 they are multiplied by 255, above it
    they are rounded and treated as integers. Negative is 0, and so is NaN.
    """
    if samples.dtype == np.uint8:
        return samples
    if samples.dtype == np.bool_:
        return samples.astype(np.uint8) * 255
    if np.issubdtype(samples.dtype, np.floating):
        samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        scale = 255.0 if samples.size and samples.max() <= 1.0 else 1.0
        samples = np.rint(samples.astype(np.float64) * scale).clip(0, 2**32 - 1).astype(np.int64)
    if samples.dtype.kind == "i":
        samples = np.maximum(samples, 0)
    largest = int(samples.max(initial=0))
    shift = next(depth for depth in (8, 10, 12, 14, 16, 32, 64) if largest < 1 << depth) - 8
    return np.minimum(samples >> shift, 255).astype(np.uint8)


def _fitted(pixels: np.ndarray, channels: int, path: Path) -> np.ndarray:
    """An image (H, W, C) with the number of channels that is wanted: grey and RGB become each other, others must fit."""
    have = pixels.shape[2]
    if have == channels:
        return pixels
    if (have, channels) == (1, 3):
        return np.repeat(pixels, 3, axis=2)
    if (have, channels) == (3, 1):
        return np.array(Image.fromarray(pixels).convert("L"))[:, :, None]
    raise DataError(
        f"{path}: has {have} channel{'s' * (have > 1)}, the model takes {channels};"
        f" convert it, or train a model with model.input.channels={have}"
    )
