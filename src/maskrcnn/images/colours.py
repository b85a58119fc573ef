"""What samples mean: grey or RGB, made of what a TIFF stores, and transparency laid over white."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

Convert = Callable[[np.ndarray], np.ndarray]

MINISWHITE, MINISBLACK, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6  # how the samples of a page mean colours
OPAQUE, UNKNOWN = (), (999,)  # what Corel Draw says of the alpha of RGBA, and others do not say
ASSOCIATED, UNASSOCIATED = (1,), (2,)  # alpha by which colours are multiplied already, or not
JPEG = (6, 7, 33007, 34892)  # compressions whose tables stand apart
WITHOUT_CODECS = (1, 8, 32946)  # none, and deflate
FAX = (2, 3, 4)  # compressions of black and white that few builds of imagecodecs have


def over_white(image: Image.Image) -> Image.Image:
    """An image with transparency as RGB, laid over white."""
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def grey_or_rgb(page: Any) -> tuple[int, Convert] | None:
    """How many channels the samples (h, w, C) of a TIFF's page become, and what makes them so, of any depth.

    1 is grey and 3 is RGB. Any other number is that of the samples, which are no picture and stay as they
    are. None: Pillow knows better what they mean.

    Args:
        page: of tifffile.

    Raises:
        ValueError: floats or signed numbers of which 0 is white: nothing says which would be black.
    """
    kind, bits, samples = int(page.photometric), page.bitspersample, int(page.samplesperpixel)
    if not _decodable(page) or page.compression in FAX or not isinstance(bits, int) or bits in (2, 4):
        return None
    jpeg, whole = page.compression in JPEG, page.dtype.kind == "u" and bits in (8, 16)
    extra = tuple(int(one) for one in page.extrasamples)
    if kind == RGB and samples == 4 and extra in (OPAQUE, UNKNOWN):
        extra = UNASSOCIATED
    if kind in (MINISBLACK, RGB) or (kind == YCBCR and jpeg and page.planarconfig == 1 and samples == 3):
        if whole and extra in (ASSOCIATED, UNASSOCIATED) and samples == (2 if kind == MINISBLACK else 4):
            return samples - 1, partial(_laid_over_white, multiplied=extra == ASSOCIATED)
        return samples, as_stored
    if kind == MINISWHITE and samples == 1:
        if page.dtype.kind not in "bu":
            raise ValueError(f"{page.dtype} samples of which 0 is white")
        white = page.dtype.type(2**bits - 1)
        return 1, np.logical_not if page.dtype.kind == "b" else partial(np.subtract, white)
    if kind == PALETTE and samples == 1 and whole and bits == 8:
        return 3, partial(_looked_up, np.asarray(page.colormap))
    return (3, _of_cmyk) if kind == CMYK and samples == 4 and whole and not jpeg else None


def _decodable(page: Any) -> bool:
    """Whether tifffile can decompress a page: without imagecodecs little of what Pillow can."""
    from tifffile import TIFF

    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        return page.compression in WITHOUT_CODECS and page.predictor == 1
    return page.compression in TIFF.DECOMPRESSORS and page.predictor in TIFF.UNPREDICTORS


def as_stored(samples: np.ndarray) -> np.ndarray:
    """The same samples."""
    return samples


def _laid_over_white(samples: np.ndarray, multiplied: bool) -> np.ndarray:
    """Unsigned samples (h, w, C) whose last channel is alpha as (h, w, C - 1)."""
    white = np.iinfo(samples.dtype).max
    share = samples[..., -1].astype(np.float32) / np.float32(white)
    result = np.empty_like(samples[..., :-1])
    for channel in range(result.shape[2]):
        colour = samples[..., channel] if multiplied else samples[..., channel] * share
        result[..., channel] = np.rint(np.minimum(colour + white * (1 - share), white))
    return result


def _looked_up(colours: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Indices (h, w, 1) as RGB, uint8; `colours` (3, 256) of 16 bits, or of 8 as some tools write them."""
    if colours.shape != (3, 256):
        raise ValueError(f"a palette of shape {colours.shape}")
    palette = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)
    return np.ascontiguousarray(palette.T)[samples[..., 0]]


def _of_cmyk(samples: np.ndarray) -> np.ndarray:
    """CMYK (h, w, 4) of 8 or 16 bits as RGB, uint8, as Pillow converts it: without a profile."""
    if samples.dtype.itemsize == 2:
        samples = (samples >> 8).astype(np.uint8)
    size = samples.shape[1], samples.shape[0]
    cmyk = Image.frombuffer("CMYK", size, np.ascontiguousarray(samples).tobytes(), "raw", "CMYK", 0, 1)
    return np.array(cmyk.convert("RGB"))
