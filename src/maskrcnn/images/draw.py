"""An image with its objects drawn on it, to be looked at by a person.

Back to front: translucent masks with their outlines, the largest object first; boxes; skeletons; name tags.
Every width and letter follows the image's size, so that a thumbnail and a poster show the same; a small
object has thinner lines, or they would hide it. An image too small to carry letters is enlarged first, and
the masks are pasted anew at that size.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Protocol, Self

import cv2
import numpy as np
from PIL import Image, ImageColor, ImageDraw

from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import UserError
from maskrcnn.images.font import Font, with_font

Colour = tuple[int, int, int]
Colours = str | Sequence[str | Sequence[int]] | Mapping[str, str | Sequence[int]] | None

SMALLEST = 480  # pixels of the long side below which an image is enlarged by a whole factor
CLUTTER = 0.2  # how much a tag may hide on average (see `_tag_place`) before the tags say less
NAMED = 15  # objects of one class, above which each need not say which
WIDEST = 255  # pixels of a line: OpenCV's limit
SUBPIXEL = 4  # bits after the point in the coordinates that OpenCV draws


@dataclass(frozen=True)
class Style:
    """Sizes in pixels of the drawing, which is the image's unless that was enlarged."""

    letters: int  # height of a tag's letters
    outline: int  # width of a mask's outline
    box: int  # width of a box's lines
    fill: float = 0.4  # opacity of a mask
    share: float = 1 / 15  # of an object's side: the widest of its lines

    @classmethod
    def of(cls, height: int, width: int, objects: int) -> Style:
        """The sizes for a drawing of so many pixels and objects: names of a crowd are smaller."""
        side = (height * width) ** 0.5
        letters = side / (42 if objects <= 10 else 52)
        return cls(max(12, round(letters)), outline=max(1, round(side / 450)), box=max(1, round(side / 650)))

    def with_lines(self, width: int | None) -> Self:
        """The same with lines of that many pixels; None: as they are."""
        if width is None:
            return self
        if not isinstance(width, Integral) or not 1 <= width <= WIDEST:
            raise UserError(f"plot: line_width={width!r:.40}: give whole pixels, 1 to {WIDEST}")
        return replace(self, outline=int(width), box=int(width), share=0)  # as wide as asked for

    def of_object(self, box: np.ndarray) -> Self:
        """The same with lines that do not hide an object as small as this box."""
        if not self.share:
            return self
        most = max(1, self.share * float(np.prod(box[2:] - box[:2])) ** 0.5)
        return replace(self, outline=int(min(self.outline, most)), box=int(min(self.box, most)))


class Windows(Protocol):
    """Masks, each as the part (x0, y0, bool (h, w)) of the image that its box touches."""

    def windows(self) -> Iterator[tuple[int, int, np.ndarray]]: ...


class Drawable(Protocol):
    """N objects of one image: the fields of `maskrcnn.instances.Instances` that drawing needs."""

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def boxes(self) -> np.ndarray: ...
    @property
    def scores(self) -> np.ndarray: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def labels(self) -> np.ndarray: ...
    @property
    def track_ids(self) -> np.ndarray | None: ...
    @property
    def masks(self) -> Windows | None: ...
    @property
    def keypoints(self) -> np.ndarray | None: ...
    @property
    def keypoint_schema(self) -> KeypointSchema | None: ...
    @property
    def keypoint_scores(self) -> np.ndarray | None: ...
    def __len__(self) -> int: ...
    def enlarged(self, factor: int) -> Self: ...


def draw_instances(
    pixels: np.ndarray,
    instances: Drawable,
    *,
    labels: bool = True,
    scores: bool = True,
    boxes: bool = True,
    masks: bool = True,
    keypoints: bool = True,
    line_width: int | None = None,
    colours: Colours = None,
    enlarge: bool = True,
) -> Image.Image:
    """The image with masks, boxes, skeletons and name tags, of which each may be left out.

    Args:
        pixels: uint8 (H, W, C), RGB or as `as_shown` takes it; not changed.
        instances: in the same image's pixels.
        labels: class names are written, with the numbers of tracked objects.
        scores: are written, in percent.
        keypoints: those of a score of 0.1, or 0.5 where scores are expected OKS (the instances have
            `keypoint_scores`), and the limbs between them.
        line_width: of boxes and of the outlines of masks, pixels; None: by the size of the image, and of a
            small object.
        colours: None: each object, or each track, has its own; "class": each class has its own; a list of
            colours, taken in turn; or class names with their colours. A colour is (red, green, blue), 0 to
            255, or a name such as "orange" or "#ff8800". Classes that are not named keep their own.
        enlarge: make an image whose long side is under `SMALLEST` larger, by a whole factor, so that names
            can be read. Otherwise the result always has the image's own size.

    Raises:
        UserError: the image and the instances differ in size, or what is no colour or width.
    """
    if tuple(pixels.shape[:2]) != tuple(instances.size):
        have, want = pixels.shape[:2], instances.size
        raise UserError(
            f"draw: the image is {have[1]} x {have[0]}, its instances are for {want[1]} x {want[0]}"
        )
    factor = -(-SMALLEST // max(pixels.shape[:2])) if enlarge else 1
    canvas = np.ascontiguousarray(as_shown(pixels)).copy()
    if factor > 1:
        canvas = cv2.resize(canvas, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        instances = instances.enlarged(factor)
    style = Style.of(canvas.shape[0], canvas.shape[1], len(instances)).with_lines(line_width)
    chosen = colours_of(instances, colours)
    extents = (instances.boxes[:, 2:] - instances.boxes[:, :2]).prod(axis=1)
    large_first = np.argsort(-extents, kind="stable").tolist()
    if masks and instances.masks is not None:
        windows = list(instances.masks.windows())
        for row in large_first:
            _draw_mask(canvas, windows[row], chosen[row], style.of_object(instances.boxes[row]))
    for row in large_first if boxes else []:
        box = instances.boxes[row]
        _draw_box(canvas, box, chosen[row], style.of_object(box))
    if keypoints and instances.keypoints is not None:
        limbs = instances.keypoint_schema.skeleton if instances.keypoint_schema else []
        least = 0.1 if instances.keypoint_scores is None else 0.5
        for row in large_first:
            box = instances.boxes[row]
            _draw_skeleton(canvas, instances.keypoints[row], limbs, box, chosen[row], least)
    return _draw_tags(canvas, instances, chosen, style, _tag_texts(instances, labels, scores))


def as_shown(pixels: np.ndarray) -> np.ndarray:
    """An image (H, W, C) of any number of channels as RGB: the first three of them, or the first as grey."""
    return pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)


def instance_colour(row: int) -> Colour:
    """A vivid colour for the object at `row`: hues a golden section apart, so near rows never look alike."""
    hue = (0.56 + row * 0.618034) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, (0.55, 0.62, 0.48)[row % 3], 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def colours_of(instances: Drawable, colours: Colours) -> list[Colour]:
    """A colour for each object, as `draw_instances` takes `colours`."""
    names, count = list(instances.names), len(instances)
    own = range(count) if instances.track_ids is None else instances.track_ids.tolist()
    if colours is None:
        return [instance_colour(row) for row in own]
    labels = instances.labels.tolist()
    if isinstance(colours, str) or not isinstance(colours, Iterable):
        if colours != "class":
            raise UserError(f'plot: colours={colours!r:.40}: give "class", a list of colours or a dict')
        return [instance_colour(label) for label in labels]
    if isinstance(colours, Mapping):
        given = {name: _colour(colour) for name, colour in colours.items()}
        return [given.get(name, instance_colour(label)) for name, label in zip(names, labels, strict=True)]
    turn = [_colour(colour) for colour in colours]
    if not turn:
        raise UserError("plot: colours is empty; give at least one colour")
    return [turn[row % len(turn)] for row in own]


def _colour(colour: str | Sequence[int]) -> Colour:
    """A colour by its name or numbers."""
    if isinstance(colour, str):
        try:
            return ImageColor.getcolor(colour, "RGB")[:3]  # type: ignore[index, return-value]
        except ValueError:
            raise UserError(
                f"plot: {colour!r:.40} is no colour; give a name, #rrggbb or (red, green, blue)"
            ) from None
    parts = (
        [int(part) for part in colour if isinstance(part, Integral)] if isinstance(colour, Iterable) else []
    )
    if len(parts) != 3 or not all(0 <= part <= 255 for part in parts):
        raise UserError(f"plot: {colour!r:.40} is no colour; give (red, green, blue) from 0 to 255")
    red, green, blue = parts
    return red, green, blue


def _draw_mask(canvas: np.ndarray, window: tuple[int, int, np.ndarray], colour: Colour, style: Style) -> None:
    """Lay a colour over the pixels of a mask and run a line along its edges, holes included."""
    x0, y0, bitmap = window
    if not bitmap.any():
        return
    part = canvas[y0 : y0 + bitmap.shape[0], x0 : x0 + bitmap.shape[1]]
    tinted = cv2.addWeighted(part, 1 - style.fill, np.full_like(part, colour), style.fill, 0)
    np.copyto(part, tinted, where=bitmap[:, :, None])
    contours, _ = cv2.findContours(bitmap.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = [fixed(_smooth(contour[:, 0], 2 * style.outline + 1) + (x0, y0)) for contour in contours]
    cv2.polylines(canvas, rings, True, colour, style.outline, cv2.LINE_AA, SUBPIXEL)


def _smooth(ring: np.ndarray, width: int) -> np.ndarray:
    """A closed ring of neighbouring pixels without its staircase: the mean of `width` points around each."""
    if len(ring) <= 2 * width:
        return ring.astype(np.float64)
    half = width // 2
    around = np.concatenate([ring[-half:], ring, ring[:half]]).astype(np.float64)
    sums = np.cumsum(np.vstack([np.zeros((1, 2)), around]), axis=0)
    return (sums[width:] - sums[:-width]) / width


def _draw_box(canvas: np.ndarray, box: np.ndarray, colour: Colour, style: Style) -> None:
    """Lines inside a box's edges, on whole pixels so that they are crisp."""
    height, width = canvas.shape[:2]
    x0, y0 = (
        int(np.clip(np.floor(v), 0, limit - 1)) for v, limit in zip(box[:2], (width, height), strict=True)
    )
    x1, y1 = (int(np.clip(np.ceil(v), 1, limit)) for v, limit in zip(box[2:], (width, height), strict=True))
    line = style.box
    for part in (np.s_[y0 : y0 + line, x0:x1], np.s_[max(y0, y1 - line) : y1, x0:x1]):
        canvas[part] = colour
    for part in (np.s_[y0:y1, x0 : x0 + line], np.s_[y0:y1, max(x0, x1 - line) : x1]):
        canvas[part] = colour


def _draw_skeleton(
    canvas: np.ndarray,
    points: np.ndarray,
    limbs: list[tuple[int, int]],
    box: np.ndarray,
    colour: Colour,
    least: float,
) -> None:
    """Limbs in a light tone of the object's colour within a dark rim, and a white dot for each keypoint.

    Widths follow the object, not the image: a person in the distance keeps a skeleton, not a blot.
    """
    shown = (points[:, 2] >= least) & np.isfinite(points).all(axis=1)
    side = float(max(box[2] - box[0], box[3] - box[1]))
    width = max(1, round(side / 120))
    # below this the rims of neighbouring limbs would run together
    rim = 0 if side < 100 else max(1, width // 2)
    dark, light = _towards(colour, 0, 0.7), _towards(colour, 255, 0.6)
    # OpenCV's whole coordinates are pixel centres, ours are corners
    places = fixed(np.nan_to_num(points[:, :2]) - 0.5)
    lines = [(places[a].tolist(), places[b].tolist()) for a, b in limbs if shown[a] and shown[b]]
    for tone, thickness in ((dark, width + 2 * rim), (light, width)):
        for start, end in lines:
            cv2.line(canvas, start, end, tone, thickness, cv2.LINE_AA, SUBPIXEL)
    radius = round((0.5 + width * 0.9) * (1 << SUBPIXEL))
    for place in places[shown].tolist():
        cv2.circle(canvas, place, radius + (max(1, rim) << SUBPIXEL), dark, -1, cv2.LINE_AA, SUBPIXEL)
        cv2.circle(canvas, place, radius, (255, 255, 255), -1, cv2.LINE_AA, SUBPIXEL)


def _tag_texts(instances: Drawable, labels: bool, scores: bool) -> list[list[str]]:
    """What the tags say, fullest first and nothing last; a crowd of one class need not be named."""
    names = list(instances.names) if labels else []
    alike = len(names) > NAMED and len(set(names)) == 1
    if names and instances.track_ids is not None:
        tracks = instances.track_ids.tolist()
        names = [f"{name} #{id_}" if id_ > 0 else name for name, id_ in zip(names, tracks, strict=True)]
        alike = False
    percent = [f"{score:.0%}" for score in instances.scores] if scores else []
    if not names:
        return [percent, []]
    full = [f"{name} {score}" for name, score in zip(names, percent, strict=True)] if scores else names
    return [percent, []] if alike else [full, percent, []]


def _draw_tags(
    canvas: np.ndarray, instances: Drawable, colours: list[Colour], style: Style, texts: list[list[str]]
) -> Image.Image:
    """Name tags at their boxes, the best object's on top and where it wants to be."""
    height, width = canvas.shape[:2]
    image = Image.fromarray(canvas)
    pad = max(2, style.letters // 5)
    for said in texts:
        tags = [_fitting(*with_font(text, style.letters), width - 2 * pad) for text in said]
        widths = [font.getlength(text) + 2 * pad for text, font in tags]
        tall = max((font.getbbox("Ág")[3] for _, font in tags), default=style.letters) + pad
        spots, clutter = _place_tags(instances.boxes, widths, tall, (width, height))
        # a handful of objects is always named: in an image of one, there is nothing else to say
        if clutter <= CLUTTER or len(tags) <= 5:
            break
    pen = ImageDraw.Draw(image)
    for (text, font), (x0, y0, x1, y1), colour in reversed(list(zip(tags, spots, colours, strict=False))):
        pen.rounded_rectangle((x0, y0, x1 - 1, y1 - 1), radius=pad, fill=colour)
        pen.text((x0 + pad, (y0 + y1) / 2), text, font=font, fill=_ink(colour), anchor="lm")
    return image


def _place_tags(
    boxes: np.ndarray, widths: list[float], tall: float, size: tuple[int, int]
) -> tuple[list[list[int]], float]:
    """Whole-pixel places of tags for the first objects of `boxes`, and how much each hides on average."""
    boxes = boxes.astype(np.float64)
    spots, clutter = np.empty((0, 4)), 0.0
    for box, wide in zip(boxes, widths, strict=False):
        spot, hidden = _tag_place(box, wide, tall, size, spots, boxes)
        spots = np.vstack([spots, spot])
        clutter += hidden / len(widths)
    return np.rint(spots).astype(int).tolist(), clutter


def _tag_place(
    box: np.ndarray, wide: float, tall: float, size: tuple[int, int], taken: np.ndarray, boxes: np.ndarray
) -> tuple[np.ndarray, float]:
    """Where a tag (4,) goes, the place around its box that hides least, and how much it hides there.

    What it hides of an object counts as a share of that object, so a tag rather lies on a large one than on a
    small one; what it hides of other tags counts four times as a share of itself.

    Args:
        size: width and height of the drawing; a tag stays inside it.
        taken: (T, 4) tags that have their place.
        boxes: (N, 4) of all objects.
    """
    x0, y0, x1, y1 = box
    middle = (y0 + y1 - tall) / 2
    corners = [(left, top) for top in (y0 - tall, y1) for left in (x0, x1 - wide)]
    corners += [(x1, y0), (x0 - wide, y0), (x1, middle), (x0 - wide, middle), (x0, y0), (x1 - wide, y0)]
    corners += [(x0, y1 - tall), (x1 - wide, y1 - tall), (x0, middle)]
    corner = np.clip(corners, 0, np.maximum(0, (size[0] - wide, size[1] - tall)))
    spots = np.hstack([corner, corner + (wide, tall)])
    shares = _overlaps(spots, boxes) / np.maximum(1, (boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    hidden = 4 * _overlaps(spots, taken).sum(axis=1) / (wide * tall) + shares.sum(axis=1)
    best = int(np.argmin(hidden + 0.02 * np.arange(len(spots))))
    return spots[best], float(hidden[best])


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, B) areas that boxes a (A, 4) share with boxes b (B, 4)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    return (high - low).clip(min=0).prod(axis=2)


def _fitting(text: str, font: Font, width: float) -> tuple[str, Font]:
    """The text and its font, the name cut short when the image is not wide enough for it; the score stays."""
    name, _, score = text.rpartition(" ")
    while name and font.getlength(text) > width:
        name = name[:-1]
        text = f"{name}… {score}"
    return text, font


def _ink(colour: Colour) -> Colour:
    """Black or white, whichever reads better on a colour."""
    luminance = 0.2126 * colour[0] ** 2.2 + 0.7152 * colour[1] ** 2.2 + 0.0722 * colour[2] ** 2.2
    return (0, 0, 0) if luminance > 0.2 * 255**2.2 else (255, 255, 255)


def _towards(colour: Colour, end: int, share: float) -> Colour:
    """A colour moved by a share of the way to black (0) or white (255)."""
    red, green, blue = (round(part + share * (end - part)) for part in colour)
    return red, green, blue


def fixed(points: np.ndarray) -> np.ndarray:
    """Float coordinates as the fixed-point integers that OpenCV draws with `SUBPIXEL`."""
    return np.rint(points * (1 << SUBPIXEL)).astype(np.int32)
