"""Pascal VOC (host.robots.ox.ac.uk/pascal/VOC): XML with boxes, palette PNGs with objects, text files with
splits.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from maskrcnn.files import write_text
from maskrcnn.labels.readers.label_image import voc_colour
from maskrcnn.labels.types import Dataset, LabelledImage
from maskrcnn.labels.writers.image_copy import copy_image
from maskrcnn.labels.writers.instance_png import instance_ids
from maskrcnn.labels.writers.left_out import LeftOut

MOST_OBJECTS = 254  # 255 is "void"


def write_voc(datasets: dict[str, Dataset], folder: Path, left_out: LeftOut) -> None:
    """Writes all splits into one VOC folder: JPEGImages, Annotations, SegmentationObject, SegmentationClass,
    ImageSets.
    """
    taken: set[str] = set()
    palette = [part for index in range(256) for part in voc_colour(index)]
    for split, dataset in datasets.items():
        stems = []
        for index, image in enumerate(dataset):
            image.annotations = [a for a in image.annotations if not left_out.is_crowd(a)]
            name = copy_image(dataset, index, folder / "JPEGImages", taken, plain=True)
            stem = Path(name).with_suffix("")
            stems.append(stem.as_posix())
            path = folder / "Annotations" / f"{stem}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            document = ElementTree.tostring(_document(image, name, dataset), encoding="unicode")
            write_text(path, document, flush=False)
            for annotation in image.annotations:
                if not annotation.has_mask:
                    left_out.note_keypoints(annotation)
            if image.has_masks:
                _write_masks(image, folder, stem, palette, left_out)
        sets = folder / "ImageSets" / "Main"
        sets.mkdir(parents=True, exist_ok=True)
        write_text(sets / f"{split}.txt", "".join(f"{stem}\n" for stem in stems))


def _write_masks(
    image: LabelledImage, folder: Path, stem: Path, palette: list[int], left_out: LeftOut
) -> None:
    """The object image, in the order of the XML, and the class image."""
    owners = [a for a in image.annotations if a.has_mask]
    ids = instance_ids(replace(image, annotations=owners), left_out, MOST_OBJECTS)
    labels = np.array([0, *(a.label + 1 for a in owners)])
    images = {"SegmentationObject": ids, "SegmentationClass": labels[ids]}
    if labels.max() > MOST_OBJECTS:
        left_out.note("class image of classes beyond number 254")
        del images["SegmentationClass"]
    for kind, values in images.items():
        path = folder / kind / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        png = Image.fromarray(values.astype(np.uint8), "P")
        png.putpalette(palette)
        png.save(path)


def _document(image: LabelledImage, name: str, dataset: Dataset) -> ElementTree.Element:
    """VOC counts pixels from 1, and a box's end is its last pixel."""
    root = ElementTree.Element("annotation")
    masks = image.has_masks
    for key, value in (("folder", "JPEGImages"), ("filename", name), ("segmented", int(masks))):
        ElementTree.SubElement(root, key).text = str(value)
    size = ElementTree.SubElement(root, "size")
    for key, value in (("width", image.width), ("height", image.height), ("depth", 3)):
        ElementTree.SubElement(size, key).text = str(value)
    # the objects of the label image are matched by their order, so those that have masks come first
    for annotation in sorted(image.annotations, key=lambda a: not a.has_mask):
        thing = ElementTree.SubElement(root, "object")
        for key, value in (("name", dataset.classes[annotation.label]), ("truncated", 0), ("difficult", 0)):
            ElementTree.SubElement(thing, key).text = str(value)
        box = ElementTree.SubElement(thing, "bndbox")
        x0, y0, x1, y1 = annotation.box
        for key, number in (("xmin", x0 + 1), ("ymin", y0 + 1), ("xmax", x1), ("ymax", y1)):
            ElementTree.SubElement(box, key).text = f"{number:.6g}"
    return root
