"""`maskrcnn predict --count` on a generated clip whose crossings are known; ids by batches of any size."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from fixed_model import FixedModel, Raw
from torch import Tensor

from maskrcnn.cli.main import main
from maskrcnn.config.model import InputConfig, ModelConfig
from maskrcnn.video.source import video_source
from maskrcnn.video.stream import VideoStream

av = pytest.importorskip("av")
pytest.importorskip("scipy")

SIZE = (160, 320)
SLOTS = 8
ZONES = {
    "zones": [
        {"name": "door", "line": [[160, 0], [160, 160]]},
        {"name": "hall", "polygon": [[200, 0], [320, 0], [320, 160], [200, 160]], "classes": ["box"]},
        {"name": "attic", "line": [[0, 4], [320, 4]]},
    ]
}


class SeesBlocks(FixedModel):
    """Finds bright blocks, and gives those that are nearly hidden a low score."""

    def __init__(self) -> None:
        super().__init__()
        size = InputConfig(short_side=SIZE[0], long_side=SIZE[1], divisor=32)
        self.config = ModelConfig(classes=["box", "bag"], input=size, keypoint_head=None)

    def forward(self, images: Tensor, sizes: Tensor) -> Raw:
        boxes, scores = torch.zeros(len(images), SLOTS, 4), torch.zeros(len(images), SLOTS)
        for number, image in enumerate(images):
            bright = (image[0] > 128).numpy().astype(np.uint8)
            bright[int(sizes[number][0]) :] = bright[:, int(sizes[number][1]) :] = 0
            count, _, statistics, _ = cv2.connectedComponentsWithStats(bright)
            for slot, (x, y, w, h, area) in enumerate(statistics[1:count][: SLOTS - 1].tolist()):
                boxes[number, slot] = torch.tensor([x, y, x + w, y + h], dtype=torch.float32)
                scores[number, slot] = 0.9 if area > 200 else 0.3
        masks = torch.full((len(images), SLOTS, 28, 28), 0.9)
        labels = torch.zeros(len(images), SLOTS, dtype=torch.int64)
        return Raw(boxes, scores, labels, scores > 0, masks)


def places(frame: int) -> list[tuple[float, float]]:
    """Left and bottom of each block: three cross to the right, one of them comes back, one waits on the line."""
    shake = 1.4 * np.sin(frame * 1.7)
    there = 20 + 2.4 * frame if frame < 50 else 20 + 2.4 * 50
    back = there if frame < 80 else there - 2.4 * (frame - 80)
    waits = min(20 + 2.6 * frame, 150 + shake if frame < 85 else 150 - 2 * (frame - 85))
    return [(20 + 2.4 * frame, 40), (back + 60, 80), (10 + 2 * frame, 120), (waits, 158)]


def clip(path: Path, frames: int = 120) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            pixels = np.zeros((*SIZE, 3), np.uint8)
            for left, bottom in places(number):
                pixels[bottom - 30 : bottom, max(0, round(left)) : round(left) + 20] = 240
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> SeesBlocks:
    model = SeesBlocks()
    monkeypatch.setattr("maskrcnn.cli.predict.load_runner", lambda *_, **__: model)
    return model


def truth() -> tuple[int, int]:
    """How often middles of blocks cross x = 160 to the left, which is "in", and to the right."""
    middles = np.array([[left + 10 for left, _ in places(frame)] for frame in range(120)])
    side = middles > 160
    return int((side[:-1] & ~side[1:]).sum()), int((~side[:-1] & side[1:]).sum())


def test_crossings_of_a_clip_are_counted(tmp_path: Path, blocks: SeesBlocks, capsys) -> None:
    (tmp_path / "zones.json").write_text(json.dumps(ZONES))
    out, video = tmp_path / "out", clip(tmp_path / "clip.mp4")
    command = ["predict", "any", str(video), "--out", str(out), "--count", str(tmp_path / "zones.json")]
    assert main(command) == 0
    # the one that waits on the line shakes over it many times, and goes back
    assert truth()[1] > 6
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"followed 4 box in 120 frames of {video}: {out}"
    assert told[1:] == [
        "door: 1 box in, 3 out",
        "hall: 3 box in, 1 out, 2 inside at the end",
        "attic: 0 in, 0 out",
    ]
    rows = list(csv.DictReader((out / "clip.counts.csv").open()))
    assert [row["zone"] for row in rows[:3]] == ["door", "hall", "attic"] and rows[0]["time"] == "0.000"
    last = [row for row in rows if row["zone"] == "door"][-1]
    assert (last["class"], last["in"], last["out"], last["inside"]) == ("box", "1", "3", "")
    times = [float(row["time"]) for row in rows]
    assert times == sorted(times)
    with av.open(str(out / "clip.mp4")) as container:
        shown = [each.to_ndarray(format="rgb24") for each in container.decode(video=0)]
    assert len(shown) == 120 and (shown[5][100, 160] > 200).all()  # the line


def test_ids_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    source = video_source(str(clip(tmp_path / "clip.mp4", 60)))
    assert source is not None
    ids = []
    for batch in (1, 4, 7):
        with VideoStream(SeesBlocks(), source, batch=batch, track=True) as stream:
            ids.append([frame.found.track_ids.tolist() for frame in stream])
    assert ids[0] == ids[1] == ids[2] and sorted({each for frame in ids[0] for each in frame}) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "zones, line",
    [
        ({"zones": [{"name": "door"}]}, "zones.json: zone 1 ('door'): line: a zone has either a line or a polygon"),
        ({"zones": [ZONES["zones"][0] | {"classes": ["dog"]}]}, "zones.json: zone 1 ('door'): the model has no class 'dog'; there are: box, bag"),
        ({"zones": [{"name": "far", "line": [[900, 0], [900, 9]]}]}, "clip.mp4: the zone 'far' lies outside its frames of 320 x 160 pixels; correct its points, which are x and y in pixels"),
    ],
)  # fmt: skip
def test_wrong_zones_are_one_line(zones, line, tmp_path, blocks, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("zones.json").write_text(json.dumps(zones))
    clip(Path("clip.mp4"), 2)
    assert main(["predict", "any", "clip.mp4", "--count", "zones.json", "--no-overlay"]) == 2
    assert capsys.readouterr().err == f"maskrcnn: error: {line}\n"


def test_images_are_not_counted(tmp_path: Path, blocks: SeesBlocks, capsys) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((*SIZE, 3), np.uint8))
    assert main(["predict", "any", str(tmp_path / "a.png"), "--count", str(tmp_path / "z.json")]) == 2
    assert "--count: is for videos, and these are images" in capsys.readouterr().err
