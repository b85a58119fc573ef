"""The report as one self-contained HTML page, with thumbnails of the suspects."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from maskrcnn.check.findings import Suspect
from maskrcnn.check.statistics import Statistics
from maskrcnn.errors import DataError
from maskrcnn.files import write_text
from maskrcnn.images.draw import as_shown
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.types import Annotation, Dataset
from maskrcnn.masks.rle import rle_bitmap
from maskrcnn.shell import shell_command

if TYPE_CHECKING:
    from maskrcnn.check.run import Report

THUMBNAIL = 360  # pixels; shown at half that
WIDEST = 200  # pixels of a bar
COLOURS = [(255, 90, 90), (90, 200, 255), (255, 200, 60), (120, 230, 120), (220, 130, 255), (255, 150, 80)]
SAMPLES = 12  # images that are shown with all their labels


def write_page(report: Report, path: Path) -> None:
    """Writes the page; nothing in it is loaded from elsewhere, and every name in it is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("maskrcnn.check", "."), autoescape=True, undefined=StrictUndefined)
    findings = [
        finding.as_json()
        | {
            "suspects": [
                {"split": suspect.split, "record": suspect.record, "images": _thumbnails(report, suspect)}
                for suspect in finding.suspects
            ]
        }
        for finding in report.findings
    ]
    stats = list(report.statistics.values())
    html = environment.get_template("page.html").render(
        title=f"{report.source}: labels checked",
        verdict=report.verdict,
        errors=report.findings.errors,
        splits=[{"split": split} for split in report.statistics],
        rows=figures(stats) if stats else [],
        classes=_classes(stats),
        sizes=_sizes(stats),
        fix_command=shell_command(["maskrcnn", "check", report.source, "--fix", "FOLDER"]),
        summary=_summary(report),
        samples=_samples(report),
        visible=stats[0].visible if stats else {},
        findings=findings,
        advice=report.advice,
        mean=report.mean,
        std=report.std,
    )
    write_text(path, html)


def figures(stats: list[Statistics]) -> list[list[str]]:
    """Rows of name and one value per split."""

    def row(name: str, values: list[Any]) -> list[str]:
        return [name, *[str(value) for value in values]]

    def spread(values: list[float]) -> str:
        return f"{_digits(values[2])} ({_digits(values[0])} to {_digits(values[4])})" if values else "-"

    rows = [
        row("images", [s.images for s in stats]),
        row("without an object", [f"{s.empty} ({100 * s.empty / max(s.images, 1):.0f}%)" for s in stats]),
        row("objects", [s.objects for s in stats]),
        row("with a mask", [s.with_mask for s in stats]),
        row("with keypoints", [s.with_keypoints for s in stats]),
        row("crowd regions", [s.crowds for s in stats]),
        row("small, medium, large", [", ".join(str(n) for n in s.sizes.values()) for s in stats]),
        row("objects in an image, median (5 to 95%)", [spread(s.per_image) for s in stats]),
        row("most objects in an image", [s.most_in_image for s in stats]),
        row("side of an object, pixels", [spread(s.sides) for s in stats]),
        row("height / width of an object", [spread(s.ratios) for s in stats]),
        row("short side of an image", [spread(s.short_sides) for s in stats]),
        row("long side of an image", [spread(s.long_sides) for s in stats]),
    ]
    return rows


def _thumbnails(report: Report, suspect: Suspect) -> list[str]:
    """The suspect, and the image that it is like."""
    shown = [suspect] + ([Suspect(*suspect.like, "")] if suspect.like else [])
    found = [thumbnail(report.datasets.get(one.split), one) for one in shown]
    return [image for image in found if image is not None]


def thumbnail(dataset: Dataset | None, suspect: Suspect) -> str | None:
    """A JPEG, base64: the image about the suspect with its labels drawn; None where there is none that can be read.

    The suspect is red and its mask filled; where it is the whole image, every object has a colour of its own.
    """
    if dataset is None or suspect.image is None:
        return None
    image = dataset.image(suspect.image)
    try:
        pixels = dataset.pixels(suspect.image)
    except (DataError, OSError):
        return None
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = _window(suspect.box, height, width)
    crop = Image.fromarray(np.ascontiguousarray(as_shown(pixels[y0:y1, x0:x1])))
    scale = THUMBNAIL / max(crop.size)
    crop = crop.resize((max(1, round(crop.width * scale)), max(1, round(crop.height * scale))))
    draw = ImageDraw.Draw(crop, "RGBA")
    for number, annotation in enumerate(image.annotations):
        mine = suspect.box is not None and annotation.box == suspect.box
        colour = (255, 60, 60) if mine else (90, 200, 255) if suspect.box else COLOURS[number % len(COLOURS)]
        rle = annotation_rle(annotation, image.height, image.width) if mine or not suspect.box else None
        if rle is not None:
            mask = Image.fromarray(rle_bitmap(rle)[y0:y1, x0:x1] * np.uint8(100)).resize(crop.size)
            crop.paste(Image.new("RGB", crop.size, colour), mask=mask)
        box = [(v - o) * scale for v, o in zip(annotation.box, (x0, y0, x0, y0), strict=True)]
        draw.rectangle(box, outline=(*colour, 255), width=3 if mine else 1)
        _draw_keypoints(draw, annotation, (x0, y0), scale, colour)
    buffer = io.BytesIO()
    crop.convert("RGB").save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _draw_keypoints(
    draw: ImageDraw.ImageDraw,
    annotation: Annotation,
    origin: tuple[int, int],
    scale: float,
    colour: tuple[int, int, int],
) -> None:
    for x, y, visibility in [] if annotation.keypoints is None else annotation.keypoints.tolist():
        if visibility > 0:
            x, y = (x - origin[0]) * scale, (y - origin[1]) * scale
            draw.ellipse([x - 2, y - 2, x + 2, y + 2], fill=(*colour, 255), outline=(255, 255, 255, 255))


def _samples(report: Report) -> list[dict[str, str]]:
    """Images spread over the train split, all their labels drawn."""
    dataset = report.datasets.get("train")
    if dataset is None or not len(dataset):
        return []
    unusable = report.unusable.get("train", set())
    usable = [index for index in range(len(dataset)) if index not in unusable]
    shown = []
    for position in np.unique(np.linspace(0, len(usable) - 1, SAMPLES).round().astype(int)) if usable else []:
        index = usable[position]
        image = dataset.image(index)
        preview = thumbnail(dataset, Suspect("train", index, ""))
        if preview is not None:
            count = len(image.annotations)
            record = f"{image.file_name}: {count} object{'s' * (count != 1)}"
            shown.append({"image": preview, "record": record})
    return shown


def _summary(report: Report) -> str:
    """The set in a line."""
    parts = []
    for split, stats in report.statistics.items():
        parts.append(f"{split}: {stats.images:,} images, {stats.objects:,} objects of {len(stats.classes)} classes")
    return "; ".join(parts).replace(" of 1 classes", " of 1 class")


def _digits(value: float) -> str:
    """Three digits of a measure, as many as anybody reads."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _window(box: tuple[float, float, float, float] | None, height: int, width: int) -> tuple[int, int, int, int]:
    """The part of the image to show: all of it, or the box with as much again around it."""
    if box is None:
        return 0, 0, width, height
    side = max(64.0, 2 * max(box[2] - box[0], box[3] - box[1]))
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    x0, y0 = max(0, int(x - side / 2)), max(0, int(y - side / 2))
    x1, y1 = min(width, math.ceil(x + side / 2)), min(height, math.ceil(y + side / 2))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else (0, 0, width, height)


def _classes(stats: list[Statistics]) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(name for s in stats for name in s.classes))
    most = max((count for s in stats for count in s.classes.values()), default=1)
    return [
        {
            "name": name,
            "counts": [s.classes.get(name, 0) for s in stats],
            "width": round(WIDEST * stats[0].classes.get(name, 0) / max(most, 1)),
        }
        for name in names
    ]


def _sizes(stats: list[Statistics]) -> list[dict[str, Any]]:
    sides = np.concatenate([s.all_sides for s in stats]) if stats else np.zeros(0)
    if not len(sides):
        return []
    first, last = math.floor(math.log2(max(sides.min(), 1))), math.floor(math.log2(max(sides.max(), 1)))
    counts = [int(((sides >= 2**k) & (sides < 2 ** (k + 1))).sum()) for k in range(first, last + 1)]
    counts[0] += int((sides < 2**first).sum())
    most = max(max(counts), 1)
    return [
        {"from_": 2**k, "to": 2 ** (k + 1), "count": count, "width": round(WIDEST * count / most)}
        for k, count in zip(range(first, last + 1), counts, strict=True)
    ]
