"""Image files as uint8 (H, W, C), RGB unless other channels are asked for, the way up a person sees them.

Pillow decodes, because it reads the header before it allocates anything. TIFFs are tifffile's, which knows
more of them and decodes windows too; Pillow has those that it does not know, or all where it is missing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from maskrcnn.errors import ImageError, UserError, one_line
from maskrcnn.images.colours import over_white
from maskrcnn.images.header import (
    FORMATS,
    LARGEST,
    misread,
    open_image,
    orientation,
    refuse_bytes,
    refuse_header,
    sixteen_bits,
    unmapped,
)
from maskrcnn.images.multichannel import ARRAY_SUFFIX, TIFF_EXTRA, is_tiff, open_array
from maskrcnn.images.tiff_regions import read_tiff
from maskrcnn.shell import counted

ValueRange = tuple[float, float]  # lowest and highest value

RANGE_REMEDY = (
    "save the image with 8 or 16 bits, or say which values it has: --value-range LOWEST,HIGHEST, in Python"
    " model.config.input.value_range"
)
NO_NUMBER = "all of its samples are NaN or infinite, so it shows nothing"
AGAIN = "save it again from its source"
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
ROUNDED_ONE = 1.001  # the largest value that fractions from 0 to 1 may have
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnknownRange(UserError):
    """Samples that could be of any range of values."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; {RANGE_REMEDY}")
        self.reason = reason


def read_image(path: Path, channels: int = 3, value_range: ValueRange | None = None) -> np.ndarray:
    """The image in a file, upright, as uint8 (H, W, channels).

    EXIF orientation is applied; palettes are looked up. Samples of more than 8 bits: see `to_uint8`.
    Animations (GIF, PNG, WEBP) and the pair of images in a phone's JPEG give their first.

    As 3 channels, RGB: grey is repeated, CMYK and the other colour spaces are converted without a profile,
    transparency is laid over white. As 1 channel: the same image's luma. As any other number: what the file
    holds, unconverted, be it RGBA or CMYK, a TIFF of as many channels or grey pages, or a NumPy array (H, W,
    C) in a .npy file.

    Args:
        value_range: what becomes 0 and 255 of samples of more than 8 bits (`model.input.value_range`).

    Raises:
        ImageError: no such file, not one of `FORMATS` nor HEIC, truncated or damaged, more than `LARGEST`
            pixels, of another number of channels, or a TIFF of several pages, where the first is not known to
            be the one that is meant; or its samples need a `value_range`, or are all NaN.
    """
    samples = read_samples(path, channels)
    refuse_no_number(samples, path)
    return model_pixels(samples, path, channels, value_range)


def refuse_no_number(samples: np.ndarray, path: Path | str) -> None:
    """Refuse the samples of a whole image in which there is nothing: not one of them is a number.

    Raises:
        ImageError: all are NaN or infinite.
    """
    if no_number(samples):
        raise ImageError(path, NO_NUMBER, AGAIN)


def no_number(samples: np.ndarray) -> bool:
    """Whether all are NaN or infinite."""
    return samples.dtype.kind == "f" and not np.isfinite(samples).any()


def model_pixels(
    samples: np.ndarray,
    path: Path | str,
    channels: int,
    value_range: ValueRange | None,
    range_remedy: str = RANGE_REMEDY,
) -> np.ndarray:
    """Samples (H, W, C) as they are stored as uint8 (H, W, channels); `read_image` says by which rules.

    Args:
        path: of the image that they are of.
        range_remedy: what to do about samples that need a `value_range`.

    Raises:
        ImageError: another number of channels, or they need a `value_range`.
    """
    have = samples.shape[2]
    if have != channels and {have, channels} != {1, 3}:
        reason = f"has {counted(have, 'channel')}, the model takes {channels}"
        raise ImageError(path, reason, f"convert it, or train a model with model.input.channels={have}")
    try:
        return _convert_channels(to_uint8(samples, value_range), channels)
    except UnknownRange as error:
        raise ImageError(path, error.reason, range_remedy) from None


def read_samples(path: Path, channels: int = 3) -> np.ndarray:
    """The image in a file, upright, as (H, W, C) of the type that it is stored in, not yet 8 bits.

    `channels` says what to read, as in `read_image`; 1 and 3 do not become each other yet.

    Raises:
        ImageError: as `read_image`.
    """
    try:
        if path.suffix.lower() == ARRAY_SUFFIX:
            array = open_array(path)
            refuse_bytes(array.nbytes, path)
            return np.array(array)
        samples = read_tiff(path, channels) if is_tiff(path) else None
        if samples is not None:
            return samples
        with open_image(path) as image:
            refuse_header(image, path)
            return pillow_samples(image, channels, path)
    except UserError:  # ImageError is one
        raise
    except FileNotFoundError:
        raise ImageError(path, "no such file", "check the name") from None
    except (IsADirectoryError, PermissionError) as error:
        reason = (error.strerror or "not readable").lower()
        raise ImageError(path, reason, "give an image file that can be read") from None
    except Image.DecompressionBombError:
        raise ImageError(
            path, f"more than {LARGEST:,} pixels", "cut it into tiles or shrink it first"
        ) from None
    except UnidentifiedImageError:
        if is_tiff(path):
            raise unknown_tiff(path) from None
        known, packed = ", ".join(FORMATS), path.suffix.lower() in ARCHIVES
        remedy = "unpack it and name the folder" if packed else "convert it to PNG"
        raise ImageError(path, f"not an image of a known format ({known})", remedy) from None
    # decoders raise whatever they stumble over (struct.error, SyntaxError, KeyError, ...) on damaged bytes
    except Exception as error:  # noqa: BLE001
        raise ImageError(
            path, f"cannot be decoded ({one_line(error):.120})", "replace or remove the file"
        ) from None


def unknown_tiff(path: Path | str) -> ImageError:
    """Of a TIFF that neither tifffile nor Pillow reads."""
    reason = "a TIFF whose kind of samples or compression is not read"
    return ImageError(path, reason, f"save it as grey or RGB of 8 or 16 bits, or {TIFF_EXTRA}")


def from_pillow(image: Image.Image, channels: int = 3, value_range: ValueRange | None = None) -> np.ndarray:
    """A Pillow image, upright, as uint8 (H, W, C); conversions and `value_range` as in `read_image`.

    Returns:
        C is `channels` where that is 1 or 3, else as many as the image has.

    Raises:
        UserError: its samples need a `value_range`, are all NaN, or it is a TIFF that Pillow misreads.
    """
    name = getattr(image, "filename", "") or "image"
    samples = pillow_samples(image, channels, name)
    refuse_no_number(samples, name)
    return _convert_channels(to_uint8(samples, value_range), channels)


def pillow_samples(image: Image.Image, channels: int, name: Path | str) -> np.ndarray:
    """A Pillow image, upright, as (H, W, C): uint8, or one channel of more bits as it is stored.

    Raises:
        ImageError: a TIFF that Pillow misreads; `name` is what it is called.
    """
    wrong = misread(image)
    if wrong is not None:
        remedy = f"give its file, after {TIFF_EXTRA}, or save it as PNG"
        raise ImageError(name, f"a TIFF of {wrong}, which Pillow cannot read", remedy)
    # first, because Pillow's TIFF reader turns the image while it loads, and drops the tag
    unmapped(image).load()
    turn = UPRIGHT.get(orientation(image))
    sixteen = sixteen_bits(image)
    if turn is not None:
        image = image.transpose(turn)
    if image.mode == "F" or image.mode.startswith("I"):
        samples = np.asarray(image)[:, :, None]
        return samples.astype(sixteen) if sixteen else samples
    if channels not in (1, 3):
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        samples = np.array(image)
        return samples.reshape(*samples.shape[:2], -1)
    if image.has_transparency_data:
        image = over_white(image)
    # a copy: an array that shares Pillow's memory is read-only
    if channels == 1:
        return np.array(image.convert("L"))[:, :, None]
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))  # which copies, whatever the mode


def as_pixels(
    image: np.ndarray | Image.Image, channels: int = 3, value_range: ValueRange | None = None
) -> np.ndarray:
    """An array or Pillow image as uint8 (H, W, channels), RGB where there are three.

    Arrays are grey (H, W) or (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4), of any depth (see `to_uint8`).
    OpenCV's arrays are BGR: give `array[..., ::-1]`. For a model of other channels they are (H, W, C) as the
    model has it; for one of grey, colours become grey.

    Raises:
        UserError: another shape or type, or samples that need a `value_range` or are all NaN.
        ImageError: a Pillow image that cannot be decoded.
    """
    if isinstance(image, Image.Image):
        if 0 in image.size:
            raise UserError(f"predict: an image of {image.width} x {image.height} pixels shows nothing")
        return _from_lazy(image, channels, value_range)
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "buif":
        kind = getattr(image, "dtype", type(image).__name__)
        raise UserError(
            f"predict: an image is a file, a NumPy array of numbers or a Pillow image, not {kind}"
        )
    flat = image.reshape(*image.shape, 1) if image.ndim == 2 else image
    known = (1, 3, 4) if channels in (1, 3) else (channels,)
    if flat.ndim != 3 or flat.shape[2] not in known or 0 in flat.shape:
        shapes = (
            "(H, W), (H, W, 3) RGB or RGBA"
            if channels in (1, 3)
            else f"(H, W, {channels}), as the model takes it"
        )
        raise UserError(f"predict: an array of shape {image.shape} is not an image; give {shapes}")
    if no_number(flat):
        raise UserError(f"predict: an array of shape {image.shape}: {NO_NUMBER}; give the image's numbers")
    samples = to_uint8(flat, value_range)
    if samples.shape[2] == 4 != channels:
        samples = np.array(over_white(Image.fromarray(samples)))
    return np.ascontiguousarray(_convert_channels(samples, channels))


def _from_lazy(image: Image.Image, channels: int, value_range: ValueRange | None) -> np.ndarray:
    """`from_pillow` of an image whose file may not be decoded yet, and may be damaged.

    Raises:
        ImageError: it cannot be decoded, or is of a mode that Pillow does not convert.
    """
    try:
        return from_pillow(image, channels, value_range)
    except UserError:
        raise
    # as in read_image
    except Exception as error:  # noqa: BLE001
        name = getattr(image, "filename", "") or f"a Pillow image of mode {image.mode}"
        reason = f"cannot be decoded ({one_line(error):.120})"
        raise ImageError(name, reason, "replace it, or convert it to RGB") from None


def to_uint8(samples: np.ndarray, value_range: ValueRange | None = None) -> np.ndarray:
    """Samples of any depth as uint8, each by its own value alone: what else is in the image plays no part.

    8 bits stay as they are. Else `value_range` is laid over 0 to 255, and what is outside of it is cut off
    there: integers fall into 256 equally wide steps, so that of 12 bits the low 4 are lost; floats are
    rounded. NaN is the lowest value.

    Args:
        value_range: lowest and highest value. None: 0 to the highest of 16 bits; floats 0 to 1.

    Raises:
        UserError: integers of more than 16 bits, floats above 1, or values below 0, without a `value_range`.
    """
    if samples.dtype == np.uint8 or (samples.dtype == np.int8 and not value_range and _no_negative(samples)):
        return samples.astype(np.uint8, copy=False)
    if samples.dtype == np.bool_:
        return samples.astype(np.uint8) * 255
    if samples.dtype == np.uint16 and value_range is None:
        return (samples >> 8).astype(np.uint8)  # the same as below, in a fifth of the time and memory
    low, high = value_range or _type_range(samples)
    if samples.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # NumPy's line of a NaN that signals
            finite = np.nan_to_num(samples.astype(np.float64), nan=low, posinf=high, neginf=low)
        return np.rint((finite - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
    values = np.subtract(samples, low, dtype=np.float32 if samples.dtype.itemsize == 2 else np.float64)
    return (values * (256 / (high - low + 1))).clip(0, 255).astype(np.uint8)


def _type_range(samples: np.ndarray) -> ValueRange:
    """The values that samples of this type can have."""
    if samples.dtype.kind in "ui" and samples.dtype.itemsize <= 2:
        if not _no_negative(samples):
            raise UnknownRange(f"samples of {samples.dtype} below 0 may be of any range")
        return 0, float(np.iinfo(samples.dtype).max)
    if samples.dtype.kind != "f":
        raise UnknownRange(f"samples of {samples.dtype} may be of any range")
    finite = np.isfinite(samples)
    if np.min(samples, initial=0, where=finite) < 1 - ROUNDED_ONE:  # normalised, perhaps
        raise UnknownRange(f"samples of {samples.dtype} below 0 may be of any range")
    if np.max(samples, initial=0, where=finite) > ROUNDED_ONE:
        raise UnknownRange(f"samples of {samples.dtype} above 1 may be of any range")
    return 0.0, 1.0


def _no_negative(samples: np.ndarray) -> bool:
    return bool(np.min(samples, initial=0) >= 0)


def _convert_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """An image uint8 (H, W, C) with `channels`, where one of the two is 1 and the other 3; else as it is."""
    have = pixels.shape[2]
    if (have, channels) == (1, 3):
        return np.repeat(pixels, 3, axis=2)
    if (have, channels) == (3, 1):
        return np.array(Image.fromarray(pixels).convert("L"))[:, :, None]
    return pixels
