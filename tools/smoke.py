"""As a new user: the wheel in an empty environment, and every how-to of docs/ typed from its first line to
its last.

    python tools/smoke.py [--keep FOLDER] [--only cells,parts,...]

Trainings are cut short by settings that are added to their lines; everything else runs as it stands in the
docs. Labels and images are drawn, so nothing is downloaded but the packages. An HTML comment
`<!-- exit code N -->` before a block says that its lines end with that code.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
JOURNEYS = {  # who goes through which how-to
    "cells": "biologist",
    "parts": "engineer",
    "experiments": "researcher",
    "migrate": "migrant",
    "service": "backend",
    "correct": "corrector",
}
EXTRAS = "demo,onnx,table"
SHORT = "--set train.epochs=1 --set train.batch=4 --set train.reference_batch=4 --set data.workers=0"
BLOCK = re.compile(r"(?:<!-- exit code (\d+) -->\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"`([\w.-]+\.yaml)`")
# run by the new environment's Python in each journey's folder, whose name it is given
PREPARE = '''
import json, sys
from pathlib import Path
import cv2, numpy as np
from PIL import Image
from maskrcnn.labels.convert import WRITERS
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.writers.coco import write_coco
from maskrcnn.labels.writers.left_out import LeftOut

def blobs(seed):
    """Bright ellipses on a dark ground, and the number of each."""
    rng = np.random.default_rng(seed)
    image, ids = np.full((256, 256), 12, np.uint8), np.zeros((256, 256), np.uint16)
    for number in range(1, 13):
        place = [int(v) for v in rng.integers(24, 232, 2)]
        sides = [int(v) for v in rng.integers(9, 16, 2)]
        for canvas, value in ((image, int(rng.integers(120, 230))), (ids, number)):
            cv2.ellipse(canvas, place, sides, int(rng.integers(0, 180)), 0, 360, value, -1)
    return cv2.GaussianBlur(image, (0, 0), 1.5), ids

def save_blobs(folder, seed, names, labels=None):
    for place, name in enumerate(names):
        image, ids = blobs(seed + place)
        for path, pixels in ((folder, image), (labels, ids)):
            if path is not None:
                Path(path).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(Path(path) / name)

def save_shapes(name, folder):
    datasets = {"train": Synthetic(count=12, seed=0), "val": Synthetic(count=4, seed=1)}
    WRITERS[name](datasets, Path(folder), LeftOut())

def save_photographs(folder, count=3):
    from skimage import data
    Path(folder).mkdir()
    for place in range(count):
        Image.fromarray(data.astronaut()[:: place + 1, :: place + 1]).save(Path(folder) / f"{place}.jpg")

journey = sys.argv[1]
if journey == "cells":
    save_blobs("cells/images", 0, [f"{place}.png" for place in range(12)], "cells/labels")
    save_blobs("new-cells", 100, ["a.tif", "b.tif"])
elif journey == "parts":
    save_shapes("yolo", "parts")
elif journey == "experiments":
    save_shapes("coco", "data")
elif journey == "migrate":
    from maskrcnn.config.model import ModelConfig
    from maskrcnn.model.build import build
    from maskrcnn.weights.convert import export_file
    names = ["scratch", "dent"]
    export_file(build(ModelConfig(classes=names)), "detectron2", Path("model_final.pkl"))
    Path("model_final.yaml").rename("mask_rcnn.yaml")
    Path("classes.txt").write_text("scratch\\ndent\\n")
    save_photographs("photographs", 1)
    save_shapes("coco", "labels")
elif journey == "service":
    save_photographs("photographs")
elif journey == "correct":
    write_coco(Synthetic(count=6, seed=0), Path("labels/train.json"), Path("labels/images"))
    labels = json.loads(Path("labels/train.json").read_text())
    box = labels["annotations"][0]["bbox"]
    labels["annotations"][0]["bbox"] = [box[0], box[1], -box[2], 3]
    labels["annotations"][1]["category_id"] = 77
    Path("labels/train.json").write_text(json.dumps(labels))
    save_blobs("new-images", 200, ["a.png", "b.png"])
    save_blobs("more-images", 300, ["c.png", "d.png"])
'''


def main() -> int:
    """Build, install, go through the journeys; the exit code is 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    parser.add_argument("--only", default=",".join(JOURNEYS), help="journeys, separated by commas")
    given = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="maskrcnn-smoke-") as temporary:
        folder = (given.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        environment = install(folder)
        failed = [name for name in given.only.split(",") if not journey(name, folder, environment)]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{time.monotonic() - start:.0f} s in all, {used.ru_utime + used.ru_stime:.0f} s of a core")
    for name in failed:
        print(f"failed: {name}")
    return 1 if failed else 0


def install(folder: Path) -> dict[str, str]:
    """A new environment with the wheel and nothing of this repository; the variables of a shell that uses
    it.
    """
    venv = folder / "venv"
    if not (venv / "bin" / "maskrcnn").exists():
        run([sys.executable, "-m", "venv", str(venv)])
        pip = [str(venv / "bin" / "python"), "-m", "pip", "-q"]
        run([*pip, "wheel", "--no-deps", "-w", str(folder / "dist"), str(ROOT)])
        (wheel,) = (folder / "dist").glob("maskrcnn-*.whl")
        run([*pip, "install", "-c", str(ROOT / "constraints.txt"), f"{wheel}[{EXTRAS}]"])
    foreign = ("PYTHON", "MASKRCNN", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return kept | {"PATH": f"{venv / 'bin'}{os.pathsep}{kept['PATH']}", "HOME": str(home)}


def journey(name: str, folder: Path, environment: dict[str, str]) -> bool:
    """Everything that docs/how-to-NAME.md tells to type, in a folder of its own; whether all went well."""
    place, start = folder / name, time.monotonic()
    place.mkdir()
    run(["python", "-c", PREPARE, name], place, environment)
    for words, code in steps(ROOT / "docs" / f"how-to-{name}.md", place):
        done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != code:
            shown = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
            print(f"{JOURNEYS[name]} ({name}): exit code {done.returncode}, not {code}: {words[-1]}\n{shown}")
            return False
    print(f"{JOURNEYS[name]} ({name}): well, {time.monotonic() - start:.0f} s", flush=True)
    return True


def steps(page: Path, place: Path) -> Iterator[tuple[list[str], int]]:
    """The commands of a page with their exit codes; its YAML files are written as they come."""
    text = page.read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        code, language, body = int(block[1] or 0), block[2], block[3]
        if language == "yaml":
            name = FILE_NAME.findall(text[: block.start()])[-1]
            (place / name).write_text(body, encoding="utf-8")
        elif language == "python":
            yield ["python", "-W", "error::FutureWarning", "-c", body], code
        elif language == "sh":
            for line in body.replace("\\\n", " ").splitlines():
                short = f" {SHORT}" if "maskrcnn train" in line and "--resume" not in line else ""
                if not line.startswith("pip install"):
                    yield ["bash", "-c", line + short], code


def run(words: list[str], place: Path | None = None, environment: dict[str, str] | None = None) -> None:
    """A step of ours that has to go well."""
    subprocess.run(words, cwd=place, env=environment, check=True)


if __name__ == "__main__":
    sys.exit(main())
