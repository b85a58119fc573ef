"""CVAT for images 1.1 (docs.cvat.ai/docs/dataset_management/formats/format-cvat): annotations.xml, images/.

A part of a mask is a polygon, those of one object share a `group_id`; a mask with holes is a "mask", its runs
row by row through its own box.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from maskrcnn.labels.annotation_masks import annotation_rings, annotation_window
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.labels.writers.format_writer import ShapesWriter
from maskrcnn.labels.writers.growing_file import GrowingFile


class CvatWriter(ShapesWriter):
    """annotations.xml, whole after every image; its subsets are the splits."""

    plain = True

    def image_folder(self, split: str) -> Path:
        return self.folder / "images" / split.capitalize()

    def begin(self, split: str, name: str, image: LabelledImage, info: DatasetInfo) -> None:
        if not self.name:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = GrowingFile(self.folder / "annotations.xml", _head(info), "</annotations>\n", "")
            self._images = 0
        super().begin(split, name, image, info)

    def end(self) -> None:
        named = {
            "id": self._images,
            "name": self.name,
            "width": self.image.width,
            "height": self.image.height,
        }
        if self.split:
            named["subset"] = self.split.capitalize()
        self._images += 1
        self._file.add(["".join([f"  <image{_attributes(named)}>\n", *self.shapes, "  </image>\n"])])

    def close(self) -> None:
        if self.name:
            self._file.close()

    def shapes_of(self, annotation: Annotation) -> list[str]:
        common = {"label": self.class_name(annotation), "source": "auto" if self.drafts else "manual"}
        common["occluded"], common["z_order"] = "0", "0"
        parts = annotation_rings(annotation, self.image, self.tolerance)
        if not parts:
            box = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(_number, annotation.box), strict=True))
            return [f"    <box{_attributes(common | box)}></box>\n"]
        if any(holes for _, holes in parts):
            return [f"    <mask{_attributes(common | self._mask(annotation))}></mask>\n"]
        if len(parts) > 1:
            common["group_id"] = str(self.number)
        rings = (";".join(f"{_number(x)},{_number(y)}" for x, y in ring.tolist()) for ring, _ in parts)
        return [f"    <polygon{_attributes(common | {'points': ring})}></polygon>\n" for ring in rings]

    def _mask(self, annotation: Annotation) -> dict[str, str]:
        window = annotation_window(annotation, self.image)
        assert window is not None
        x0, y0, bitmap = window
        flat = np.concatenate([[False], bitmap.ravel()])
        changes = np.flatnonzero(flat[1:] != flat[:-1])
        runs = np.diff(changes, prepend=0, append=bitmap.size).tolist()
        box = {"left": x0, "top": y0, "width": bitmap.shape[1], "height": bitmap.shape[0]}
        return {"rle": ", ".join(map(str, runs))} | {key: str(value) for key, value in box.items()}


def _head(info: DatasetInfo) -> str:
    labels = "".join(
        f"        <label><name>{_text(name)}</name><type>any</type><attributes></attributes></label>\n"
        for name in info.classes
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        f"  <meta>\n    <task>\n      <labels>\n{labels}      </labels>\n    </task>\n  </meta>\n"
    )


def _attributes(values: dict[str, object] | dict[str, str]) -> str:
    return "".join(f" {key}={quoteattr(_plain(str(value)))}" for key, value in values.items())


def _text(text: str) -> str:
    return escape(_plain(text))


def _plain(text: str) -> str:
    """Without what no XML may hold: control characters."""
    return "".join(c if c >= " " or c in "\t\n\r" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _number(value: float) -> str:
    return f"{float(value):.10g}"
