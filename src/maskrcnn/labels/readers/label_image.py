"""Image files that are labels: opened so that whatever is wrong ends in one line, and their instances as
RLEs.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as coco_mask

from maskrcnn.errors import DataError, RecordError, one_line
from maskrcnn.images.header import misread, unmapped, upright_size
from maskrcnn.images.multichannel import ARRAY_SUFFIX, as_image_error, open_array, refuse_special
from maskrcnn.images.quiet import ignore_warnings_of
from maskrcnn.images.read import read_samples
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.types import LabelledImage
from maskrcnn.masks.rle import Rle, rle_area, rle_box

VOC_VOID = (224, 224, 192)  # the colour of borders, and of what nobody knows
VOC_BORDER = 255  # the index of that colour in VOC's palette
VOID_COLOUR = 224 + 256 * 224 + 65536 * 192  # the same as an id
ARRAYS_SUFFIX = ".npz"
ARRAYS = {ARRAY_SUFFIX, ARRAYS_SUFFIX, ".mat", ".h5", ".hdf5"}  # in which masks are saved, read or not
LARGEST_FLOAT = 2**24  # up to which a float of 32 bits holds every whole number
FEW = 20  # numbers of a label image, among which some may be scattered
LOSSLESS = ("PNG", "TIFF", "GIF", "BMP")
WITHOUT_ORDER = ("GIF", "BMP")  # tools sort their palettes as they like: what counts are the colours
LARGEST_ID, NPY_HEADER = 8, 4096  # bytes
DESCRIPTION = 270  # tag of TIFF
SMALLEST = 10  # pixels: most colours of a label image in colour have as many


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow warns of large images that we allow, in lines of its own; what matters raises."""
    ignore_warnings_of("PIL")
    yield


@contextmanager
def open_label_image(
    path: Path, size: tuple[int, int] | None = None, formats: tuple[str, ...] = LOSSLESS
) -> Iterator[Image.Image]:
    """The image with its header read and nothing decoded yet.

    Args:
        size: height and width of the image that it labels; None: not compared.

    Raises:
        DataError: a stack of pages, of another size, or not readable, at once or while it is decoded inside
            the context; DataErrors from there stay theirs.
    """
    refuse_special(path)
    try:
        with quiet(), Image.open(path, formats=formats) as image:
            pages = getattr(image, "n_frames", 1)
            if pages > 1:
                raise RecordError(
                    path, f"a stack of {pages} pages", "save each as a file of its own, as its image"
                )
            # before anything is decoded, so that a file that claims to be huge costs nothing
            refuse_size(path, size, (image.height, image.width), "mask")
            if image.mode in ("I", "F", "L") and misread(image):
                numbers = read_samples(path, 1)[..., 0]
                yield Image.fromarray(numbers if image.mode == "F" else numbers.astype(np.int32))
            else:
                yield _as_stored(unmapped(image))
    except DataError:
        raise
    # parsers raise whatever they stumble over (struct.error, SyntaxError, KeyError, ...) on damaged bytes
    except Exception as error:  # noqa: BLE001
        remedy = "replace it"
        if isinstance(error, UnidentifiedImageError) and path.suffix.lower() in (".tif", ".tiff"):
            remedy = "save it as 16-bit TIFF or PNG, or replace it"
        raise RecordError(path, f"not readable as an image ({one_line(error):.200})", remedy) from None


def _as_stored(image: Image.Image) -> Image.Image:
    """The same image, not decoded yet, with its numbers as other tools read them: of a grey TIFF whose 0 is
    white, as ImageJ writes masks, Pillow gives 255 less each.
    """
    if image.format == "TIFF" and image.mode == "L":
        image.tile = [  # type: ignore[attr-defined]
            tile._replace(args=(tile.args[0].replace(";I", ""), *tile.args[1:]))
            for tile in image.tile  # type: ignore[attr-defined]
        ]
    return image


def read_ids(
    path: Path,
    image: Path | tuple[int, int],
    of_colours: Callable[[np.ndarray, Path], np.ndarray] | None = None,
) -> np.ndarray:
    """The instance ids (H, W) of a label image: one channel of 8, 16 or 32 bits, or palette indices. ImageJ's
    32 bits are floats, which may be whole.

    Args:
        image: the image that it labels, or its height and width. Where there is no such file, others will say
            so.
        of_colours: makes ids of a label image in colour, (H, W, 3 or 4); None: it is refused, and numbers are
            taken as they are.

    Raises:
        DataError: unreadable, in colour, or of another size than its image.
    """
    if isinstance(image, Path):
        size = upright_size(image) if image.is_file() else None
    else:
        size = image
    if path.suffix.lower() in (ARRAY_SUFFIX, ARRAYS_SUFFIX):
        mode, ids = _array(path, size)
        indexed = False
    else:
        with open_label_image(path, size) as label:
            _refuse_slices(label, path)
            _refuse_deep_colours(label, path)
            if label.format in WITHOUT_ORDER and label.mode == "P":
                label = label.convert("RGBA")
            mode, ids, palette = f"mode {label.mode}", np.asarray(label), label.getpalette() or []
            if of_colours is not None and label.mode == "LA":  # transparent is background, as in colours
                ids = np.where(ids[..., 1] > 0, ids[..., 0], 0)
        indexed = label.mode == "P"
        if of_colours is not None and indexed and palette[3 * VOC_BORDER :][:3] == list(VOC_VOID):
            ids = np.where(ids == VOC_BORDER, VOID_COLOUR, ids.astype(np.int32))
        if of_colours is not None and label.mode in ("RGB", "RGBA"):
            ids = of_colours(ids, path)
    # as Python's float: NumPy's of 16 bits cannot be compared with numbers that are so large
    largest = float(np.abs(ids).max(initial=0)) if ids.dtype.kind == "f" else math.inf
    if largest <= LARGEST_FLOAT and (ids == np.floor(ids)).all():
        ids = ids.astype(np.int32)
    if ids.ndim != 2 or ids.dtype.kind == "f":
        raise RecordError(
            path, f"a label image has one channel of whole numbers, not {mode}", "save it as 16-bit PNG"
        )
    if of_colours is None:  # others say what their numbers may be
        return ids
    if ids.dtype == np.uint8 and not indexed:
        _refuse_smooth(ids, path)
    if ids.dtype.kind == "i" and ids.size and ids.min() < 0:
        raise RecordError(
            path,
            f"a label image has no number below 0 or above {2**31 - 1}, as {ids.min()}",
            "save background as 0 and the objects as 1, 2, 3 and so on",
        )
    return ids


def _refuse_deep_colours(label: Image.Image, path: Path) -> None:
    """Refuse colours of which Pillow gives the high 8 bits, or noise."""
    odd = misread(label) or ""
    what = f"{odd} of mode {label.mode}, which cannot be read"
    if ";16" in str(getattr(label, "tile", "")) or odd.startswith("16"):
        odd = f"16 bits in each channel of mode {label.mode}"
        what = f"{odd}, of which only the high 8 can be read"
    if label.mode in ("RGB", "RGBA", "LA") and odd:
        raise RecordError(path, what, "save the numbers as 16-bit PNG of one channel")


def _refuse_slices(label: Image.Image, path: Path) -> None:
    """Refuse three or four slices of a stack, which tifffile lays into one image as if they were colours."""
    told = str(getattr(label, "tag_v2", {}).get(DESCRIPTION, ""))
    if label.mode in ("RGB", "RGBA") and told.startswith(f'{{"shape": [{len(label.mode)}, '):
        what = f"a stack of {len(label.mode)} slices"
        raise RecordError(path, what, "save each as a file of its own, as its image")


def _array(path: Path, size: tuple[int, int] | None) -> tuple[str, np.ndarray]:
    """What numpy.save or numpy.savez wrote of a label image: its kind in words, and the ids (H, W)."""
    array = open_array(path) if path.suffix.lower() == ARRAY_SUFFIX else _only_array(path, size)
    height, width, channels = array.shape
    refuse_size(path, size, (height, width), "array")
    kind = f"{channels} channels" if channels > 1 else f"{array.dtype}"
    return kind, np.array(array[..., 0] if channels == 1 else array)


def _only_array(path: Path, size: tuple[int, int] | None) -> np.ndarray:
    """The array in a .npz file, as (H, W, C).

    Raises:
        DataError: there are several, or one that is larger than an image of that size can be.
    """
    refuse_special(path)
    with as_image_error(path), zipfile.ZipFile(path) as file:
        members = [member for member in file.infolist() if member.filename.lower().endswith(ARRAY_SUFFIX)]
    names = ", ".join(f"{member.filename[: -len(ARRAY_SUFFIX)]!r:.40}" for member in members[:4])
    if len(members) != 1:
        raise RecordError(
            path, f"holds {len(members)} arrays ({names})", "save that of the ids with numpy.save"
        )
    height, width = size or (0, 0)
    if members[0].file_size > height * width * LARGEST_ID + NPY_HEADER:
        raise RecordError(
            path, f"its array {names} is larger than its image", "save the ids of one image alone"
        )
    with as_image_error(path), np.load(path, allow_pickle=False) as arrays:
        array: np.ndarray = np.atleast_3d(arrays[members[0].filename])
    if array.ndim != 3 or array.dtype.kind not in "buif":
        raise RecordError(path, "not an image of numbers", "save the ids (height, width) with numpy.save")
    return array


def refuse_size(path: Path, size: tuple[int, int] | None, own: tuple[int, int], what: str) -> None:
    """Refuse a label image of another height and width than its image's; None: that is not known."""
    if size is not None and size != own:
        sizes = f"{size[1]} x {size[0]} (width x height) but the {what} {own[1]} x {own[0]}"
        raise RecordError(path, f"its image is {sizes}", "restore the image that was labelled")


def ids_of_colours(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Ids R + 256 G + 65536 B (H, W) of colours (H, W, 3 or 4); what is transparent is background.

    Raises:
        DataError: these are no plain colours of objects.
    """
    ids = pixels[:, :, 0] | pixels[:, :, 1].astype(np.int32) << 8 | pixels[:, :, 2].astype(np.int32) << 16
    if pixels.shape[2] == 4:
        ids[pixels[:, :, 3] == 0] = 0
    colours, counts = np.unique(ids[ids != 0], return_counts=True)
    if 2 * (counts < SMALLEST).sum() > len(colours):
        what = (
            f"most of its {len(colours)} colours have fewer than {SMALLEST} pixels, as in a photo or "
            "at smooth edges"
        )
        raise RecordError(path, what, "save one plain colour for each object, or one number, as 16-bit PNG")
    return ids


def _refuse_smooth(ids: np.ndarray, path: Path) -> None:
    """Refuse a mask of 0 and 255 with smooth edges, or one that was a JPEG: each grey would be an object."""
    counts = np.bincount(ids.reshape(-1), minlength=256)[1:]
    numbers = np.count_nonzero(counts)
    if counts.argmax() == 254 and numbers > 2 and 2 * (counts[counts > 0] < SMALLEST).sum() > numbers:
        what = f"{numbers} numbers, most in fewer than {SMALLEST} pixels beside 255: a mask with smooth edges"
        raise RecordError(path, what, "save one plain number for each object, and nothing between them and 0")


def voc_colour(index: int) -> tuple[int, int, int]:
    """R, G, B of an entry of VOC's palette: the bits of its number, from the lowest, are their highest in
    turn.
    """
    red, green, blue = (
        sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)
    )
    return red, green, blue


def voc_numbers(pixels: np.ndarray, path: Path) -> np.ndarray:
    """The entries of VOC's palette (H, W) whose colours these are, (H, W, 3 or 4), as CVAT writes masks.

    Raises:
        DataError: another colour.
    """
    found, places = np.unique(pixels[..., :3].reshape(-1, 3), axis=0, return_inverse=True)
    number_of = {voc_colour(index): index for index in range(256)}
    numbers = [number_of.get((red, green, blue), -1) for red, green, blue in found.tolist()]
    if -1 in numbers:
        shown = ",".join(map(str, found[numbers.index(-1)]))
        remedy = "save the number of each object as the palette's index, or its colour"
        raise RecordError(path, f"the colour {shown} is none of VOC's palette", remedy)
    return np.array(numbers, np.uint8)[places.reshape(pixels.shape[:2])]


def read_object(image: Image.Image) -> np.ndarray:
    """Where an opened image is not black, whatever its mode: bool (H, W). Opacity counts as a colour, but a
    transparent one of a palette is none.
    """
    if image.mode == "P" and "transparency" in image.info:
        pixels = np.asarray(image.convert("RGBA"))
        return (pixels[..., :3] != 0).any(axis=2) & (pixels[..., 3] > 0)
    values = np.asarray(image.convert("RGB") if image.mode == "P" else image)
    return values != 0 if values.ndim == 2 else (values != 0).any(axis=2)


def rles_by_id(ids: np.ndarray) -> dict[int, Rle]:
    """The RLE of each id but 0 in an array (H, W) of whole numbers, in the order of the ids.

    In one pass over the pixels for all: the runs of equal ids down the columns are the runs of their RLEs.
    """
    if ids.dtype == bool:
        ids = ids.astype(np.uint8)
    height, width = ids.shape
    pixels = ids.reshape(-1, order="F")
    starts = np.concatenate([[0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1])
    ends = np.append(starts[1:], pixels.size)
    owners = pixels[starts]
    order = np.argsort(owners, kind="stable")
    order = order[owners[order] != 0]
    if len(order) == 0:
        return {}
    starts, ends, owners = starts[order], ends[order], owners[order]
    firsts = np.flatnonzero(np.append(True, owners[1:] != owners[:-1]))
    plain = []
    for first, last in zip(firsts, np.append(firsts[1:], len(owners)), strict=True):
        # where the value changes: background up to the first run, object to its end, ...
        edges = np.stack([starts[first:last], ends[first:last]], axis=1).reshape(-1)
        counts = np.diff(edges, prepend=0, append=pixels.size)
        plain.append({"size": [height, width], "counts": counts.tolist()})
    return dict(zip(owners[firsts].tolist(), coco_mask.frPyObjects(plain, height, width), strict=True))


def add_instances(
    ids: np.ndarray, image: LabelledImage, label: int, builder: LabelBuilder, split_parts: bool = False
) -> None:
    """Add an object for each id but 0 in an array (H, W), or for each of its separate parts.

    Where most ids lie in several parts, their number is counted as a problem: it may be a mask of the
    foreground, or of classes. Parts that touch at a corner are one.

    Raises:
        DataError: the ids are what smoothing makes of others.
    """
    rles = rles_by_id(ids)
    if rles.pop(VOID_COLOUR, None) is not None:
        record = f"image {image.file_name!r}"
        builder.problems.note(ProblemKind.VOID_COLOUR, record, image.file_name)
    elif ids.all():
        builder.problems.note(ProblemKind.NO_BACKGROUND, f"image {image.file_name!r}", image.file_name)
    parts = {value: _parts(ids, value, rle) for value, rle in rles.items()}
    if split_parts:
        numbers = np.zeros(ids.shape, np.int32)
        names: dict[int, str] = {}
        for value, (place, part) in parts.items():
            numbers[place][part > 0] = part[part > 0] + len(names)
            names |= {len(names) + k: f"part {k} of id {value}" for k in range(1, int(part.max()) + 1)}
        rles = rles_by_id(numbers)
    else:
        names = {value: f"id {value}" for value in rles}
        counts = {value: count for value, (_, part) in parts.items() if (count := int(part.max())) > 1}
        small = sum(rle_area(rle) < SMALLEST for rle in rles.values())
        if 2 * min(len(counts), small) > len(rles) and len(rles) > FEW:
            what = (
                f"most of its {len(rles)} numbers lie in several parts and have fewer than {SMALLEST} pixels"
            )
            remedy = "was it made smaller or larger? Do that without smoothing (nearest neighbour)"
            raise RecordError(builder.source, what, remedy, f"the label image of {image.file_name!r}")
        if 2 * len(counts) > len(rles):
            value, total = next(iter(counts)), sum(counts.values())
            record = f"id {value} of image {image.file_name!r}"
            builder.problems.note(ProblemKind.SEPARATE_PARTS, record, image.file_name, total)
    for value, rle in rles.items():
        builder.add_object(image, label, names[value], rle=rle)


def _parts(ids: np.ndarray, value: int, rle: Rle) -> tuple[tuple[slice, slice], np.ndarray]:
    """The box of an id, as rows and columns, and in it the id's separate parts, numbered from 1."""
    x0, y0, x1, y1 = map(int, rle_box(rle))
    place = (slice(y0, y1), slice(x0, x1))
    return place, cv2.connectedComponents((ids[place] == value).astype(np.uint8), connectivity=8)[1]
