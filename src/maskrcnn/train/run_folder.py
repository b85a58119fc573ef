"""A run's folder: what it holds so that it explains itself, and who may begin or resume in it.

config.yaml, command.txt, env.json, data.json, metrics.jsonl, plots/, samples/, weights/last, weights/best,
state.pt; recipe.yaml where `auto` made one, nonfinite.json where a loss was not finite and, at the end,
report.md and report.html.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from maskrcnn.config.load import Config
from maskrcnn.environment import describe_environment
from maskrcnn.errors import DataError, UserError
from maskrcnn.files import locked, remove_unfinished, write_json, write_text
from maskrcnn.labels.split import hold_out
from maskrcnn.labels.types import ANY_CLASS, Annotation, Dataset, LabelledImage, refuse_unfit
from maskrcnn.shell import counted, shell_command
from maskrcnn.system_errors import refusal
from maskrcnn.training_data.backgrounds import WithBackgrounds
from maskrcnn.training_data.tiles import TiledDataset

LAUNCHED = "MASKRCNN_LAUNCHED"  # in the environment of what `maskrcnn launch` starts
LOCK = ".lock"  # held by the process that trains
SIGNS_OF_A_RUN = ("config.yaml", "state.pt", "metrics.jsonl", "weights")
# what else a run writes, none of it before its config.yaml
OTHERS_OF_A_RUN = (
    *("data.json", "env.json", "command.txt", "recipe.yaml", "nonfinite.json"),
    *("samples", "plots", "report.md", "report.html"),
)
GENERATED_SAMPLE = 32  # images of a generated data set that the digest looks at


def refuse_folder(run: Path, resume: bool) -> None:
    """Refuse a folder that holds a run or something that a run would replace, or with `resume` one that
    holds no run.

    Raises:
        UserError: it does; names the remedy.
    """
    if run.exists() and not run.is_dir():
        raise UserError(f"{run}: is a file; give a folder for the run")
    if resume and not _signs(run):
        raise UserError(f"{run}: no run to resume here; leave --resume out to begin one, or give its folder")
    for path in run.iterdir() if resume else ():
        if path.exists() and not path.is_file() and not path.is_dir():  # it could keep us waiting for ever
            raise UserError(f"{path}: a pipe or a device, no file; remove it, or put the file back")
    if not resume and (signs := _signs(run)):
        raise UserError(
            f"{run}: already holds a run ({signs[0]}); add --resume to continue it, or give another folder"
        )
    if not resume and (others := [name for name in OTHERS_OF_A_RUN if (run / name).exists()]):
        raise UserError(f"{run / others[0]}: is of no run, and a run would replace it; give another folder")


def open_run(run: Path, resume: bool, held: ExitStack) -> None:
    """Make the folder of a new run, or see that there is one to resume.

    Args:
        held: keeps other trainings out of the folder until it is closed or the process ends in any way.

    Raises:
        UserError: another process trains there; the folder holds a run and `resume` is false; or there is
            none to resume; or it cannot be made.
    """
    refuse_folder(run, resume)
    try:
        str(run.resolve()).encode()
    except UnicodeEncodeError:  # TensorBoard, for one, cannot write there
        raise UserError(f"{run}: its name is not UTF-8; give the run another folder") from None
    try:
        run.mkdir(parents=True, exist_ok=True)
        held.enter_context(locked(run / LOCK, wait=False))
    except OSError as error:
        raise UserError(f"{run}: cannot be made: {error.strerror}; give the run another folder") from None
    refuse_folder(run, resume)  # another may have trained there meanwhile
    remove_unfinished(run)


def goes_on(run: Path | None) -> bool:
    """Whether this process is one of a training that was restarted, whose run is in the folder already."""
    restarted = LAUNCHED in os.environ or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    return restarted and run is not None and bool(_signs(run))


def _signs(run: Path) -> list[str]:
    return [name for name in SIGNS_OF_A_RUN if (run / name).exists()]


def saved_weights(run: Path) -> Path:
    """The folder of a run's best weights or, where it has none, of its last."""
    best = run / "weights" / "best"
    return best if best.exists() else run / "weights" / "last"


@contextmanager
def writing_to(run: Path) -> Iterator[None]:
    """A full disk, a folder that cannot be written or want of memory is the user's to mend: one line
    instead of a traceback.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        refused = refusal(error)
        if refused is None:
            raise
        line = refused[1] if getattr(error, "filename", None) else f"{run}: {refused[1]}"
        raise UserError(f"{line}; a run that has begun goes on with --resume") from error


def write_description(
    run: Path, config: Config, command: str, data: dict[str, Any], resumed: bool, processes: int
) -> None:
    """config.yaml, command.txt (a resume adds a line), env.json and data.json."""
    settings = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(run / "config.yaml", settings)
    commands = run / "command.txt"
    before = commands.read_text(encoding="utf-8", errors="replace") if resumed and commands.exists() else ""
    write_text(commands, f"{before}{command or shell_command(sys.argv)}\n")
    write_json(run / "env.json", environment(processes))
    write_json(run / "data.json", data)


def environment(processes: int) -> dict[str, Any]:
    """Versions, commit and machine."""
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "commit": _commit(Path(__file__).parent),
        "processor": _processor(),
        "processes": processes,
        **describe_environment(),
    }


def describe_all(train: Dataset, val: Dataset | None, classes: list[str]) -> dict[str, Any]:
    """What is written into data.json: both splits, and the network's classes."""
    return {
        "train": describe_data(train),
        "val": describe_data(val) if val is not None else None,
        "model_classes": classes,
    }


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """What a data set holds, with a digest that changes when any label does.

    Of a generated data set (its images have no path) only the first 32 are looked at.
    """
    hasher = hashlib.sha256(json.dumps([dataset.classes, dataset.class_ids]).encode())
    counts: Counter[str] = Counter()
    per_class: Counter[str] = Counter()
    looked_at = _looked_at(dataset)
    for index in range(looked_at):
        image = dataset.image(index)
        refuse_unfit(image, len(dataset.classes))
        _add_image(hasher, image)
        for annotation in image.annotations:
            counts["objects"] += 1
            counts["crowds"] += annotation.crowd
            counts["masks"] += annotation.polygons is not None or annotation.rle is not None
            counts["keypoints"] += annotation.keypoints is not None
            if annotation.label != ANY_CLASS:
                per_class[dataset.classes[annotation.label]] += 1
    return {
        "source": dataset.name,
        "images": len(dataset),
        "looked_at": looked_at,
        "digest": hasher.hexdigest(),
        "labels": labels_digest(dataset),
        "classes": dict(zip(dataset.classes, dataset.class_ids, strict=True)),
        "keypoints": dataset.keypoints.names if dataset.keypoints else None,
        **{key: counts[key] for key in ("objects", "crowds", "masks", "keypoints")},
        "objects_per_class": {name: per_class[name] for name in dataset.classes},
        "repairs": dataset.problems.texts(),
    }


def labels_digest(dataset: Dataset) -> str:
    """Of the images that have an object, as they were before tiles and backgrounds were made of them."""
    while isinstance(dataset, TiledDataset | WithBackgrounds):
        dataset = dataset.dataset
    hasher = hashlib.sha256(json.dumps([dataset.classes, dataset.class_ids]).encode())
    for index in range(_looked_at(dataset)):
        image = dataset.image(index)
        if image.annotations:
            _add_image(hasher, image)
    return hasher.hexdigest()


def _looked_at(dataset: Dataset) -> int:
    generated = len(dataset) > 0 and dataset.image(0).path is None
    return min(len(dataset), GENERATED_SAMPLE) if generated else len(dataset)


def kept_images(run: Path, dataset: Dataset) -> tuple[Dataset, str]:
    """What a run kept of a data set to evaluate on (`data.val_share`), and a line that says so.

    The data set itself where `run` is no run's folder or did not train on it; with a warning where it kept
    nothing of it.
    """
    try:
        described = json.loads((run / "data.json").read_text(encoding="utf-8"))
        settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        key = "labels" if "labels" in described["train"] else "digest"  # of all images, in runs of before
        trained, kept = described["train"][key], (described["val"] or {}).get(key)
        share = settings["data"]["val_share"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return dataset, ""
    if describe_data(dataset)[key] == trained:
        return dataset, "warning: these are the images that the run was trained on: the figures are too good"
    if share is None:
        return dataset, ""
    try:
        own = hold_out(dataset, share)[1]
    except DataError:
        return dataset, ""
    if describe_data(own)[key] != kept:
        return dataset, ""
    line = (
        f"{len(own)} of {counted(len(dataset), 'image')}: those that the run kept to evaluate on;"
        f" {saved_weights(run)} is evaluated on all, most of which it was trained on"
    )
    return own, line


def _add_image(hasher: Any, image: LabelledImage) -> None:
    hasher.update(json.dumps([str(image.image_id), image.file_name, image.height, image.width]).encode())
    for annotation in image.annotations:
        _add_annotation(hasher, annotation)


def _add_annotation(hasher: Any, annotation: Annotation) -> None:
    hasher.update(
        repr((annotation.label, annotation.crowd, tuple(float(v) for v in annotation.box))).encode()
    )
    for ring in annotation.polygons or []:
        hasher.update(ring.tobytes())
    if annotation.rle is not None:
        counts = annotation.rle["counts"]
        hasher.update(counts if isinstance(counts, bytes) else repr(counts).encode())
    if annotation.keypoints is not None:
        hasher.update(annotation.keypoints.tobytes())


def _commit(folder: Path) -> str | None:
    """The commit of the checkout that this code runs from, with "+" when files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()

    try:
        # an installed package may lie inside somebody else's repository
        if not (Path(git("rev-parse", "--show-toplevel")) / "src" / "maskrcnn").is_dir():
            return None
        return git("rev-parse", "HEAD") + (
            "+" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
