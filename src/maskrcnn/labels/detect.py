"""Which tool's labels lie at a path, found by looking at a few files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from maskrcnn.errors import UserError
from maskrcnn.labels.readers.bdd100k import looks_like_bdd100k, read_bdd100k
from maskrcnn.labels.readers.box_tables import has_box_split, looks_like_box_table, read_box_table
from maskrcnn.labels.readers.cellpose import looks_like_cellpose, read_cellpose
from maskrcnn.labels.readers.cityscapes import looks_like_cityscapes, read_cityscapes
from maskrcnn.labels.readers.coco import read_coco
from maskrcnn.labels.readers.coco_panoptic import looks_like_coco_panoptic, read_coco_panoptic
from maskrcnn.labels.readers.createml import looks_like_createml, read_createml
from maskrcnn.labels.readers.cvat import has_cvat_split, looks_like_cvat, read_cvat
from maskrcnn.labels.readers.datumaro import looks_like_datumaro, read_datumaro
from maskrcnn.labels.readers.dota import has_dota_split, looks_like_dota, read_dota
from maskrcnn.labels.readers.folder_files import visible
from maskrcnn.labels.readers.imagej_rois import has_imagej_split, looks_like_imagej_rois, read_imagej_rois
from maskrcnn.labels.readers.instance_png import (
    has_instance_split,
    looks_like_instance_png,
    read_instance_labels,
)
from maskrcnn.labels.readers.json_file import JSONS, glance, only_json
from maskrcnn.labels.readers.kitti_mots import looks_like_kitti_mots, read_kitti_mots
from maskrcnn.labels.readers.kitti_semantic import looks_like_kitti_semantic, read_kitti_semantic
from maskrcnn.labels.readers.label_studio import looks_like_label_studio, read_label_studio
from maskrcnn.labels.readers.labelme import has_labelme_split, looks_like_labelme, read_labelme
from maskrcnn.labels.readers.lvis import looks_like_lvis, read_lvis
from maskrcnn.labels.readers.mask_folders import (
    has_mask_folders_split,
    looks_like_mask_folders,
    read_mask_folders,
)
from maskrcnn.labels.readers.mpii import looks_like_mpii, read_mpii
from maskrcnn.labels.readers.open_images import (
    has_open_images_split,
    looks_like_open_images,
    read_open_images,
)
from maskrcnn.labels.readers.penn_fudan import looks_like_penn_fudan, read_penn_fudan
from maskrcnn.labels.readers.qupath import has_qupath_split, looks_like_qupath, read_qupath
from maskrcnn.labels.readers.run_lengths import (
    has_run_lengths_split,
    looks_like_run_lengths,
    read_run_lengths,
)
from maskrcnn.labels.readers.segmentation_masks import (
    has_mask_split,
    looks_like_segmentation_masks,
    read_segmentation_masks,
)
from maskrcnn.labels.readers.supervisely import looks_like_supervisely, read_supervisely
from maskrcnn.labels.readers.via import looks_like_via, read_via
from maskrcnn.labels.readers.voc import has_voc_split, looks_like_voc, read_voc
from maskrcnn.labels.readers.yolo import has_split, looks_like_yolo, read_yolo
from maskrcnn.labels.types import Dataset

TRIED = 20  # files of JSON that are looked into beside label images


@dataclass(frozen=True)
class Format:
    """A kind of label files."""

    name: str
    looks_like: Callable[[Path], bool]
    read: Callable[..., Dataset]  # of a path, perhaps a split, and what `takes` says
    has_split: Callable[[Path, str], bool] | None = None  # where one folder holds several: `read` takes one
    takes: tuple[str, ...] = ()  # keyword arguments of `read` that `LabelOptions` may have a value for


def formats() -> list[Format]:
    """All of them; the first that can be told by little comes first."""
    return [
        Format("yolo", looks_like_yolo, read_yolo, has_split),
        Format("cityscapes", looks_like_cityscapes, read_cityscapes, _cityscapes_has),
        Format("voc", looks_like_voc, read_voc, has_voc_split, takes=("image_folder",)),
        Format(
            "instance-png",
            looks_like_instance_png,
            read_instance_labels,
            has_instance_split,
            takes=("split_parts",),
        ),
        Format("cellpose", looks_like_cellpose, read_cellpose, takes=("split_parts",)),
        Format("penn-fudan", looks_like_penn_fudan, read_penn_fudan),
        Format("mask-folders", looks_like_mask_folders, read_mask_folders, has_mask_folders_split),
        Format("supervisely", looks_like_supervisely, read_supervisely),
        Format("segmentation-masks", looks_like_segmentation_masks, read_segmentation_masks, has_mask_split),
        Format("cvat", looks_like_cvat, read_cvat, has_cvat_split, takes=("image_folder",)),
        Format("labelme", looks_like_labelme, read_labelme, has_labelme_split, takes=("image_folder",)),
        Format("via", looks_like_via, read_via, takes=("class_attribute", "image_folder")),
        Format("kitti-mots", looks_like_kitti_mots, read_kitti_mots),
        Format("kitti-semantic", looks_like_kitti_semantic, read_kitti_semantic),
        Format("dota", looks_like_dota, read_dota, has_dota_split),
        Format("createml", looks_like_createml, read_createml, takes=("image_folder",)),
        Format("bdd100k", looks_like_bdd100k, read_bdd100k, takes=("image_folder",)),
        Format("datumaro", looks_like_datumaro, read_datumaro, takes=("image_folder",)),
        Format(
            "open-images",
            looks_like_open_images,
            read_open_images,
            has_open_images_split,
            takes=("image_folder",),
        ),
        Format(
            "run-lengths",
            looks_like_run_lengths,
            read_run_lengths,
            has_run_lengths_split,
            takes=("image_folder", "split_parts"),
        ),
        Format("mpii", looks_like_mpii, read_mpii, takes=("image_folder",)),
        Format("qupath", looks_like_qupath, read_qupath, has_qupath_split, takes=("class_attribute",)),
        Format("imagej-rois", looks_like_imagej_rois, read_imagej_rois, has_imagej_split),
        Format("label-studio", looks_like_label_studio, read_label_studio, takes=("image_folder",)),
        Format("coco-panoptic", looks_like_coco_panoptic, read_coco_panoptic, takes=("image_folder",)),
        Format("lvis", looks_like_lvis, read_lvis, takes=("image_folder",)),
        Format("boxes", looks_like_box_table, read_box_table, has_box_split, takes=("image_folder",)),
        Format("coco", looks_like_coco, read_coco, takes=("image_folder",)),
    ]


def find_format(name: str) -> Format | None:
    """The format called `name`."""
    return next((each for each in formats() if each.name == name), None)


def detect(path: Path) -> Format | None:
    """The format of the labels at `path`; None where there are none that we know.

    Raises:
        UserError: several formats could be meant.
    """
    *others, tables, coco = formats()
    # any other .json is taken for COCO's, whose reader says what is wrong with it; boxes may be masks' too
    found = [each for each in others if each.looks_like(path)] or [coco] * coco.looks_like(path)
    found = found or [tables] * tables.looks_like(path)
    if [each.name for each in found] == ["instance-png", "kitti-mots"]:
        del found[0]  # of instances/, whose numbers tell; if they are not its own, its reader says so
    if [each.name for each in found] in (["instance-png"], ["cellpose"]) and _coco_in(path):
        found.append(coco)
    if len(found) > 1:
        names = " and ".join(each.name for each in found)
        raise UserError(f"{path}: looks like {names}; say which one is meant, as in {found[0].name}:{path}")
    return found[0] if found else None


def looks_like_coco(path: Path) -> bool:
    """Whether `path` is a .json, or a folder whose only .json is one; `detect` asks the others first."""
    file = only_json(path)
    return file is not None and file.is_file() and not looks_like_supervisely(file.parent)


def _coco_in(folder: Path) -> bool:
    """Whether COCO's labels lie beside label images, which have none of its classes."""
    files = [*visible(folder, JSONS), *visible(folder, f"annotations/{JSONS}")][:TRIED]
    texts = (glance(file) for file in files)
    return any('"category_id"' in text and '"image_id"' in text for text in texts)


def _cityscapes_has(path: Path, split: str) -> bool:
    return (path / "gtFine" / split).is_dir()
