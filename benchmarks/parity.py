"""Our network against the peers' own answers on the same weights, from features to gradients.

    python benchmarks/parity.py --goldens FOLDER [--only NAME]

Reads every SOURCE.NAME.npz with its .keys.json (the README beside them defines both), fills the source's
state dict by the rule there, converts it as a published checkpoint would be, and prints the largest error of
each quantity relative to that quantity's own scale. Exit code 1 where an error passes its limit or a golden
cannot be run.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import arguments
from peer_network import ellipses
from rich.console import Console
from rich.table import Table
from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.images.batch import Targets, empty_targets
from maskrcnn.masks.paste import integer_boxes, paste_windows
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import RawDetections
from maskrcnn.model.roi_sampling import sample_rois
from maskrcnn.model.rpn import Proposals
from maskrcnn.ops.boxes import pairwise_iou
from maskrcnn.ops.heatmaps import decode_resize
from maskrcnn.weights.foreign import LIBRARIES, Library, load_foreign
from maskrcnn.weights.published import Published, config_for, published_checkpoints

LIMIT = 1e-3  # of a quantity's own scale
GRADIENT_LIMIT = (
    1e-2  # of a gradient's norm, or of FLOOR times the model's largest, since some are zero but for rounding
)
FLOOR = 1e-4
PARTNERS = 0.99  # share of boxes that must find theirs: same class, IoU above 0.99, score within 1e-3
PIXELS = 1e-3  # share of an image's pixels in which pasted masks may differ

HEIGHT, WIDTH = 256, 320
OBJECTS = [[20, 20, 100, 110], [60, 40, 210, 190], [180, 90, 300, 240]]
OBJECT_LABELS = [1, 3, 5]  # in the peer's own numbering
EVERYTHING = 1_000_000
LOSSES = {
    "torchvision": {
        **{
            "class": "loss_classifier",
            "box": "loss_box_reg",
            "mask": "loss_mask",
            "keypoint": "loss_keypoint",
        },
        **{"rpn_objectness": "loss_objectness", "rpn_box": "loss_rpn_box_reg"},
    },
    "detectron2": {
        **{"class": "loss_cls", "box": "loss_box_reg", "mask": "loss_mask", "keypoint": "loss_keypoint"},
        **{"rpn_objectness": "loss_rpn_cls", "rpn_box": "loss_rpn_loc"},
    },
    "mmdet": {
        **{"class": "loss_cls", "box": "loss_bbox", "mask": "loss_mask"},
        **{"rpn_objectness": "loss_rpn_cls", "rpn_box": "loss_rpn_bbox"},
    },
}


@dataclass
class Report:
    """What one golden says: a row (quantity, figure, limit, good) each."""

    name: str
    rows: list[tuple[str, float, float, bool]] = field(default_factory=list)

    def error(self, quantity: str, value: float, limit: float = LIMIT) -> None:
        """A figure that must not pass `limit`; one that is not finite does."""
        self.rows.append((quantity, value, limit, value <= limit))

    def share(self, quantity: str, value: float, least: float = PARTNERS) -> None:
        self.rows.append((quantity, value, least, value >= least))

    @property
    def good(self) -> bool:
        return all(row[3] for row in self.rows)


class Golden:
    """A peer's answers, and our network with the same weights."""

    def __init__(self, path: Path) -> None:
        self.rule = load_rule(path.parent)
        with np.load(path) as arrays:
            self.arrays = {key: arrays[key] for key in arrays.files}
        self.source, _, self.name = path.name.removesuffix(".npz").partition(".")
        self.library: Library = LIBRARIES[self.source]
        state = self._state(json.loads(path.with_suffix(".keys.json").read_text()))
        config = self._config(state)
        self.model = build(config).eval()
        load_foreign(self.model, state, self.library, path.name)

    def _state(self, shapes: dict[str, list[int]]) -> dict[str, Tensor]:
        """The peer's state dict, by the rule and the divisors that the golden states."""
        state = {key: self.rule.fill(key, tuple(shape)) for key, shape in shapes.items()}
        divisors = {
            "rpn_head.rpn_cls.weight": "rpn_cls_divisor",
            "roi_head.bbox_head.fc_cls.weight": "fc_cls_divisor",
        }
        for key, array in state.items():
            divisor = divisors.get(key) or ("stem_divisor" if array.ndim == 4 and array.shape[1] == 3 else "")
            if divisor in self.arrays:
                state[key] = (array / self.arrays[divisor]).astype(np.float32)
            factor = f"{key.rpartition('.')[2]}_factor"
            if factor in self.arrays:
                state[key] = (array * self.arrays[factor]).astype(np.float32)
        return {key: torch.from_numpy(np.asarray(array)) for key, array in state.items()}

    def _config(self, state: dict[str, Tensor]) -> ModelConfig:
        """The checkpoint's own settings, but with everything sampled and everything trained, as the goldens
        were.
        """
        config = config_for(entry_of(self.source, self.name, state), state)
        config.backbone.norm_eps = 1e-5  # the goldens' norms are fresh ones
        config.rpn.samples = config.roi.samples = EVERYTHING
        config.backbone.freeze = 0
        config.backbone.drop_path = 0.0
        if config.backbone.norm == "frozen":
            config.backbone.norm = "batch"  # in eval mode the same, and its scale and shift have gradients
        if self.source != "torchvision":
            config.rpn.post_nms_train = 200
        return config

    @property
    def batch(self) -> tuple[Tensor, Tensor]:
        image = torch.from_numpy(self.rule.image(HEIGHT, WIDTH)).permute(2, 0, 1)[None]
        if "square_pad" in self.arrays:
            side = int(self.arrays["square_pad"])
            image = torch.nn.functional.pad(image, (0, side - WIDTH, 0, side - HEIGHT))
        return image, torch.tensor([[HEIGHT, WIDTH]])


def entry_of(source: str, name: str, state: dict[str, Tensor]) -> Published:
    """The published checkpoint that a golden is of; else the one of the same file name, with the golden's
    classes.
    """
    name = re.sub(r"\.square_\d+$", "", name)  # the same network on a smaller padded image
    rows = [row for row in published_checkpoints() if row.library == source and row.kind == "detector"]
    for row in rows:
        if row.name.replace("/", ".") in (f"{source}.{name}", f"{source}.{name.rpartition('.')[2]}"):
            return row
    alike = [row for row in rows if row.name.rpartition("/")[2] == name.rpartition(".")[2]]
    if not alike:
        raise LookupError(f"{source}.{name}: no published checkpoint has these settings")
    row = copy.deepcopy(alike[0])
    heads = row.config.setdefault("MODEL", {}).setdefault("ROI_HEADS", {})
    heads["NUM_CLASSES"] = state["roi_heads.box_predictor.cls_score.weight"].shape[0] - 1
    if "LVIS" in name:
        heads["SCORE_THRESH_TEST"] = 0.0001
        row.config["TEST"] = {"DETECTIONS_PER_IMAGE": 300}
    return row


def compare(path: Path) -> Report:
    """Every quantity of one golden file."""
    golden = Golden(path)
    report = Report(f"{golden.source}.{golden.name}")
    with torch.no_grad():
        check_conventions(golden, report)
        features = check_forward(golden, report)
        check_given(golden, features, report)
        check_detections(golden, report)
        if "given_train.rois" in golden.arrays:
            check_given_train(golden, features, report)
    check_training(golden, report)
    return report


def check_conventions(golden: Golden, report: Report) -> None:
    """Mean and deviation of the input, where the golden states them."""
    for name in ("mean", "std"):
        if f"pixel_{name}" in golden.arrays:
            ours = np.array(getattr(golden.model.config.input, name))
            report.error(f"input {name}", relative(ours, golden.arrays[f"pixel_{name}"]), 1e-6)


def check_forward(golden: Golden, report: Report) -> list[Tensor]:
    """Features, RPN outputs and proposals; returns the features."""
    model, arrays, sample = golden.model, golden.arrays, golden.rule.sample
    images, sizes = golden.batch
    features = model.features(images, sizes)
    names = [key for key in arrays if key.startswith("feature.") and not key.endswith(".shape")]
    if len(names) != len(features):
        report.share("feature levels", len(features) / len(names), 1.0)
    for name, level in zip(names, features, strict=False):
        same = tuple(level.shape) == tuple(arrays[f"{name}.shape"])
        report.error(name, relative(sample(level.numpy()), arrays[name]) if same else float("inf"))
    output = model.rpn(features)
    for i, (level, scores, deltas) in enumerate(zip(features, output.objectness, output.deltas, strict=True)):
        height, width = level.shape[2:]
        scores = scores.view(1, height, width, -1).permute(0, 3, 1, 2).numpy()
        deltas = deltas.reshape(1, height, width, -1).permute(0, 3, 1, 2).numpy()
        report.error(f"rpn.objectness.{i}", relative(sample(scores), arrays[f"rpn.objectness.{i}"]))
        report.error(f"rpn.deltas.{i}", relative(sample(deltas), arrays[f"rpn.deltas.{i}"]))
    rpn = model.config.rpn
    proposals = model.rpn.propose(output, sizes, before=rpn.pre_nms_test, after=rpn.post_nms_test)
    ours = proposals.boxes[0][proposals.valid[0]]
    theirs = torch.from_numpy(arrays["rpn.proposals"])
    overlap = pairwise_iou(theirs, ours)
    report.share("rpn.proposals", min(float((overlap.amax(axis) > 0.99).float().mean()) for axis in (0, 1)))
    return features


def check_given(golden: Golden, features: list[Tensor], report: Report) -> None:
    """What the heads say of the eight given boxes."""
    model, arrays, sample = golden.model, golden.arrays, golden.rule.sample
    boxes = torch.from_numpy(arrays["given.boxes"]).float()
    first = torch.zeros(len(boxes), dtype=torch.int64)
    shared = model.roi_features.for_box(features, boxes, first)
    logits, deltas = model.box_head(shared)
    deltas = deltas.flatten(1)
    if golden.library.background_first:
        logits = torch.cat([logits[:, -1:], logits[:, :-1]], 1)
        arrays["given.box_deltas"] = arrays["given.box_deltas"][:, 4:]
    report.error("given.box_pooled", relative(sample(shared.numpy(), 2048), arrays["given.box_pooled"]))
    report.error("given.class_logits", relative(logits.numpy(), arrays["given.class_logits"]))
    report.error("given.box_deltas", relative(deltas.numpy(), arrays["given.box_deltas"]))
    if model.mask_head is not None:
        x = model.roi_features.for_mask(features, boxes, first)
        masks = model.mask_head(x).numpy()
        known = np.ones_like(masks)
        if golden.library.background_first:  # its mask of the background has no counterpart
            masks, known = (np.concatenate([np.zeros_like(each[:, :1]), each], 1) for each in (masks, known))
        where = sample(known, 4096) > 0
        theirs = arrays["given.mask_logits"]
        report.error("given.mask_logits", relative(sample(masks, 4096)[where], theirs[where]))
    if model.keypoint_head is not None:
        heat = model.keypoint_head(model.roi_features.for_keypoints(features, boxes, first))
        report.error(
            "given.keypoint_logits", relative(sample(heat.numpy(), 4096), arrays["given.keypoint_logits"])
        )


def check_detections(golden: Golden, report: Report) -> None:
    """Final boxes, and the masks and keypoints of those that have a partner."""
    arrays = golden.arrays
    found = golden.model.detect(*golden.batch)
    keep = found.valid[0]
    boxes, scores = found.boxes[0][keep], found.scores[0][keep]
    labels = found.labels[0][keep] + int(golden.library.background_first)
    theirs = {k: torch.from_numpy(arrays[f"detections.{k}"]) for k in ("boxes", "scores", "labels")}
    overlap = pairwise_iou(theirs["boxes"], boxes)
    same = theirs["labels"][:, None] == labels
    near = (theirs["scores"][:, None] - scores).abs() < 1e-3
    partner = (overlap > 0.99) & same & near
    report.share("detections", min(float(partner.any(axis).float().mean()) for axis in (0, 1)))
    best, where = (overlap * partner).max(1)
    paired = [(row, int(where[row])) for row in range(min(20, len(best))) if best[row] > 0]
    if found.masks is not None and "detections.mask_packed" in arrays:
        bitmaps = pasted(found, keep, golden.model.config.test.paste)
        packed = np.unpackbits(arrays["detections.mask_packed"], axis=-1)[..., :WIDTH].astype(bool)
        worst = max((float((packed[row] != bitmaps[mine]).mean()) for row, mine in paired), default=1.0)
        report.error("detections.masks (share of pixels)", worst, PIXELS)
    if found.keypoint_logits is not None:
        points = decode_resize(found.keypoint_logits[0][keep], boxes)
        wanted = torch.from_numpy(arrays["detections.keypoints"])
        close = torch.stack(
            [(points[mine, :, :2] - wanted[row, :, :2]).abs().amax(-1) < 0.5 for row, mine in paired]
        )
        report.share("detections.keypoints (within half a pixel)", float(close.float().mean()))


def pasted(found: RawDetections, keep: Tensor, convention: str) -> np.ndarray:
    """(D, H, W) bool: masks of one image's detections at its size."""
    assert found.masks is not None
    bitmaps = np.zeros((int(keep.sum()), HEIGHT, WIDTH), bool)
    masks, boxes = found.masks[0][keep].numpy(), found.boxes[0][keep].numpy()
    if convention == "integer_boxes":
        boxes = integer_boxes(boxes, masks.shape[-1])
    windows = paste_windows(masks, boxes, HEIGHT, WIDTH, threshold=0.5)
    for bitmap, (x, y, window) in zip(bitmaps, windows, strict=True):
        bitmap[y : y + window.shape[0], x : x + window.shape[1]] = window
    return bitmaps


def check_training(golden: Golden, report: Report) -> None:
    """Losses, and the norm of every parameter's gradient of their sum."""
    model, arrays = golden.model, golden.arrays
    losses = model.losses(*golden.batch, targets_of(golden))
    for ours, theirs in LOSSES[golden.source].items():
        if f"loss.{theirs}" in arrays:
            value = losses[ours].item() if ours in losses else float("inf")
            report.error(f"loss.{theirs}", relative(np.array(value), arrays[f"loss.{theirs}"]))
    model.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    norms = {
        key.removeprefix("gradnorm."): float(v) for key, v in arrays.items() if key.startswith("gradnorm.")
    }
    floor = FLOOR * max(norms.values())
    ours_by_name = {golden.library.their_name(name, model.config): p for name, p in model.named_parameters()}
    worst, where, checked = 0.0, "", 0
    for name, norm in norms.items():
        parameter = ours_by_name.get(name)
        if parameter is None or parameter.grad is None:
            worst, where = float("inf"), name
            continue
        checked += 1
        error = abs(float(parameter.grad.norm()) - norm) / max(norm, floor)
        if error > worst:
            worst, where = error, name
    report.error(f"gradient norms of {checked} parameters (worst: {where})", worst, GRADIENT_LIMIT)


def check_given_train(golden: Golden, features: list[Tensor], report: Report) -> None:
    """mmdetection's second stage on given proposals: which RoIs it trains on, their targets and losses."""
    model, arrays = golden.model, golden.arrays
    targets = targets_of(golden)
    boxes = torch.from_numpy(arrays["given_train.proposals"])[None]
    proposals = Proposals(boxes, torch.zeros(boxes.shape[:2]), torch.ones(boxes.shape[:2], dtype=torch.bool))
    rois = sample_rois(proposals.boxes, proposals.valid, targets, model.config.roi)
    picked = rois.boxes[0][rois.valid[0]]
    wanted = torch.from_numpy(arrays["given_train.rois"])
    distance = (wanted[:, None] - picked).abs().amax(-1)
    ours_label = torch.where(
        rois.positive, targets.labels.gather(1, rois.object_index), len(model.config.classes)
    )
    label = ours_label[0][rois.valid[0]][distance.argmin(1)]
    report.error("given_train.rois (pixels)", float(distance.amin(1).max()), 1e-3)
    report.share("given_train.labels", float((label.numpy() == arrays["given_train.labels"]).mean()), 1.0)
    losses = model.roi_losses(features, rois, targets)
    for ours, theirs in (("class", "loss_cls"), ("box", "loss_bbox"), ("mask", "loss_mask")):
        if f"given_train.{theirs}" in arrays:
            report.error(
                f"given_train.{theirs}", relative(losses[ours].numpy(), arrays[f"given_train.{theirs}"])
            )


def targets_of(golden: Golden) -> Targets:
    """The three objects of the goldens' README: ellipses, their masks as bitmaps over the whole image."""
    config = golden.model.config
    count = len(config.keypoints.names) if config.keypoints else 0
    targets = empty_targets(1, 3, 0, count)
    targets.boxes[0] = torch.tensor(OBJECTS, dtype=torch.float32)
    targets.valid[:] = targets.has_mask[:] = True
    first = 1 if golden.library.background_first else 0
    labels = [first] * 3 if len(config.classes) == 1 else OBJECT_LABELS
    targets.labels[0] = torch.tensor(labels) - first
    targets.masks = ellipses(OBJECTS, HEIGHT, WIDTH)[None]
    targets.mask_boxes[0] = torch.tensor([0.0, 0.0, WIDTH, HEIGHT])
    rng = np.random.default_rng(7)
    for i, (x1, y1, x2, y2) in enumerate(OBJECTS if count else []):
        points = rng.uniform(x1 + 1, x2 - 1, count), rng.uniform(y1 + 1, y2 - 1, count)
        targets.keypoints[0, i] = torch.from_numpy(
            np.stack([*points, 2 * (rng.uniform(size=count) > 0.2)], 1)
        )
    return targets


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest error relative to the scale of `theirs`; infinite where the shapes or sizes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    if not ours.size:
        return 0.0
    scale = float(np.abs(theirs).max())
    error = float(np.abs(ours.astype(np.float64) - theirs).max())
    return error / scale if scale else error


def load_rule(folder: Path) -> Any:
    """The goldens' own `rule.py`."""
    spec = importlib.util.spec_from_file_location("golden_rule", folder / "rule.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{folder}/rule.py")
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    return rule


def golden_files(folder: Path, only: str = "") -> list[Path]:
    """The detector goldens of a folder."""
    return sorted(p for p in folder.glob("*.npz") if p.with_suffix(".keys.json").exists() and only in p.name)


def main() -> int:
    parser = arguments(__doc__, rounds=False)
    parser.add_argument("--goldens", type=Path, required=True)
    parser.add_argument("--only", default="", help="goldens with this in their name")
    args = parser.parse_args()
    files = golden_files(args.goldens, args.only)
    if not files:
        print(f"{args.goldens}: no SOURCE.NAME.npz with its .keys.json", file=sys.stderr)
        return 2
    console, bad, figures = Console(), [], {}
    for path in files:
        start = time.perf_counter()
        try:
            report = compare(path)
        except (
            Exception
        ) as error:  # a golden that cannot be run is a failure of ours, to be named with the others
            console.print(f"{path.name}: cannot be run: {type(error).__name__}: {error}", markup=False)
            bad.append(path.name)
            continue
        table = Table("quantity", "figure", "limit", "", title=report.name, title_justify="left")
        for quantity, value, limit, good in report.rows:
            table.add_row(quantity, f"{value:.3g}", f"{limit:g}", "" if good else "FAILS")
        console.print(table)
        console.print(f"{time.perf_counter() - start:.0f} s\n")
        figures[report.name] = {row[0]: row[1] for row in report.rows}
        if not report.good:
            bad.append(report.name)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    console.print(
        f"{len(files) - len(bad)} of {len(files)} goldens agree" + (f"; not: {', '.join(bad)}" if bad else "")
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
