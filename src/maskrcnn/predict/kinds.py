"""What `--save` can ask for, and what writes it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.labels.types import DatasetInfo
from maskrcnn.labels.writers.coco import CocoWriter
from maskrcnn.labels.writers.cvat import CvatWriter
from maskrcnn.labels.writers.format_writer import FormatWriter
from maskrcnn.labels.writers.geojson import GeoJsonWriter, MapWriter
from maskrcnn.labels.writers.label_studio import LabelStudioWriter
from maskrcnn.labels.writers.label_tiff import LabelTiffWriter
from maskrcnn.labels.writers.labelme import LabelMeWriter
from maskrcnn.labels.writers.left_out import LeftOut
from maskrcnn.labels.writers.yolo import YoloWriter
from maskrcnn.predict.writers.labels import LabelsWriter
from maskrcnn.predict.writers.overlay import OverlayWriter
from maskrcnn.predict.writers.results import ResultsWriter, overlay_name
from maskrcnn.predict.writers.tables import ObjectsWriter, SummaryWriter
from maskrcnn.predict.writers.writer import Writer
from maskrcnn.shell import nearest

RESULTS = "results.json"
# label files: each in a folder of its name
LABELS: dict[str, type[FormatWriter]] = {
    "coco-dataset": CocoWriter,
    "labelme": LabelMeWriter,
    "label-studio": LabelStudioWriter,
    "cvat": CvatWriter,
    "yolo": YoloWriter,
    "labels": LabelTiffWriter,
    "geojson": GeoJsonWriter,
    "map": MapWriter,
}
TABLES = ("csv", "parquet")  # of objects, with which a summary of the images comes
KINDS = ("overlay", "coco", *TABLES, "summary", *LABELS)


@dataclass(frozen=True)
class WriterOptions:
    """What writers need to know of a run."""

    out: Path  # the folder of the results
    model: ModelConfig
    scale: float | None  # micrometres per pixel
    simplify: float  # pixels
    left_out: LeftOut  # is told what a format has no place for


def check_kinds(save: Collection[str]) -> None:
    """
    Raises:
        UserError: a name that is none of `KINDS`.
    """
    for name in save:
        if name not in KINDS:
            raise UserError(f"--save {name:.40}: {nearest(name, KINDS)}")


def open_writers(save: Collection[str], options: WriterOptions, stack: contextlib.ExitStack) -> list[Writer]:
    """Those of results.json and of `save`; `stack` closes them, also after Ctrl-C or a full disk.

    Raises:
        UserError: a package is missing.
        OSError: a file cannot be written.
    """
    out = options.out
    makers: dict[str, Callable[[], Writer]] = {
        "coco": lambda: ResultsWriter(out / RESULTS, overlays="overlay" in save),
        "overlay": lambda: OverlayWriter(out),
        "csv": lambda: ObjectsWriter(out, options.scale, csv="csv" in save, parquet="parquet" in save),
        "summary": lambda: SummaryWriter(out, options.scale),
    }
    tables = {"csv", "summary"} if set(save) & set(TABLES) else set()
    wanted = {"coco", *tables, *save} - {"parquet"}
    writers: list[Writer] = []
    for name in KINDS:
        if name in wanted:
            writers.append(makers[name]() if name in makers else _labels(name, options))
            stack.callback(writers[-1].close)
    return writers


def _labels(name: str, options: WriterOptions) -> LabelsWriter:
    config = options.model
    writer = LABELS[name](options.out / name, options.left_out, tolerance=options.simplify, drafts=True)
    if isinstance(writer, YoloWriter):
        writer.poses = config.keypoint_head is not None and config.mask_head is None
    ids = config.class_ids or list(range(1, len(config.classes) + 1))
    keypoints = config.keypoints if config.keypoint_head else None
    return LabelsWriter(writer, DatasetInfo("predictions", config.classes, ids, keypoints))


def spare_labels(labels: Collection[str], out: Path) -> None:
    """
    Args:
        labels: names of folders.

    Raises:
        UserError: a folder of label files is not empty: a person may have corrected them.
    """
    for folder in (out / name for name in labels):
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(
                f"{folder}: holds label files already, which may be corrected ones; name another folder with "
                "--out, or remove it"
            )


def written_names(save: Collection[str], paths: Sequence[Path], stems: Sequence[str]) -> Iterator[str]:
    """What the files of a run are called; those of labels are in folders of their own."""
    yield RESULTS
    if {"summary", *TABLES} & set(save):
        yield "summary.csv"
    yield from (f"objects.{kind}" for kind in TABLES if kind in save)
    if "overlay" in save:
        yield from map(overlay_name, paths, stems)


def spare_others(
    out: Path, names: Iterable[str], sources: Iterable[Path], *, first: bool, labels: Iterable[str] = ()
) -> None:
    """See that a run writes over nothing but what an earlier run wrote.

    Args:
        out: the folder of the results.
        names: of the files that it writes there.
        sources: the images or videos that it reads.
        first: there is no earlier run's file in `out`.
        labels: names of the folders of label files there, into which images are linked too.

    Raises:
        UserError: it would replace one of its sources, or a file that is of no run.
    """
    there = [path for name in names if os.path.lexists(path := out / name)]
    folders = [os.path.realpath(path) + os.sep for name in labels if (path := out / name).is_dir()]
    # of a link that leads to itself too
    read = {os.path.realpath(source): source for source in sources} if there or folders else {}
    remedy = "name another folder for the results"
    for path in there:
        if os.path.realpath(path) in read:
            raise UserError(f"{path}: the run reads it and would replace it; {remedy}")
        if first:
            raise UserError(f"{path}: is of no run, and a run would replace it; remove it, or {remedy}")
    for real, source in read.items():
        if real.startswith(tuple(folders)):
            raise UserError(f"{source}: the run reads it and writes label files beside it; {remedy}")
