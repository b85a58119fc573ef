"""A ResNet-50-FPN Mask R-CNN on a GPU, compiled and not, beside torchvision's.

    PYTHONPATH=src python benchmarks/gpu.py [--json FILE] [--rounds N] [--minutes M]
    PYTHONPATH=src python benchmarks/gpu.py --cpu-check

Training steps, the network alone, and images to RLE. Training steps are those of `maskrcnn train` (its
`Learner`), copies of the batch to the device included, with the weights, images, objects and numbers of RoIs
of `training.py`. Each way runs alone, one after the other, so that the memory is its own. What failed, or
came after `--minutes`, is a line of the table too. Before all, compiled gradients are compared with eager
ones. `--cpu-check` goes through the whole script on a CPU, with a small network, to know that it works: its
figures mean nothing.
"""

from __future__ import annotations

import contextlib
import gc
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import torch
from measure import arguments, in_words, machine, torchvision
from peer_network import HEIGHT, WIDTH, image, ours, state_of, theirs
from rich.console import Console
from rich.table import Table
from training import OBJECTS, boxes_and_masks
from training import way as training_step

from maskrcnn.config.keypoints import coco_keypoints
from maskrcnn.config.load import load_config
from maskrcnn.config.model import ModelConfig
from maskrcnn.config.train import TrainConfig
from maskrcnn.files import write_json
from maskrcnn.images.batch import Batch, Targets, empty_targets
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.writers.coco import write_coco
from maskrcnn.masks.encoding import encode, encoders
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import MaskRCNN, RawDetections
from maskrcnn.ops import graphs, nms, roi_align
from maskrcnn.predict.predictor import predict_pixels
from maskrcnn.runtime.compiled_engine import CompiledEngine
from maskrcnn.runtime.engine import Runner
from maskrcnn.train import learner as learners
from maskrcnn.train.compiled import CompiledForward
from maskrcnn.train.learner import Learner
from maskrcnn.train.setup import determinism, make_accelerator
from maskrcnn.training_data.fill_config import fill_config
from maskrcnn.training_data.loader import train_loader

PEER = "torchvision, AMP"
Step = Callable[[], Any]
Make = Callable[[], Step]  # builds what is then timed
AGREES = 1e-2  # of a gradient's size, by which compiled ones may be off
SMALL = {
    "backbone": {"kind": "mobilenetv2", "freeze": 0},
    "neck": {"channels": 16},
    "rpn": {"pre_nms_train": 40, "post_nms_train": 30, "pre_nms_test": 40, "post_nms_test": 20},
    "roi": {"samples": 16},
    "box_head": {"fc_channels": 32},
    "mask_head": {"convs": 1, "channels": 16},
    "test": {"score": 0.0, "detections": 6, "candidates": 40},
    "input": {"short_side": 64, "long_side": 96},
}  # fmt: skip


@dataclass
class Row:
    """What came of one way of one task."""

    task: str
    way: str
    images: int  # of a round
    seconds: list[float]  # of each round
    first_s: float = 0.0  # the first call: compiling, choosing of kernels
    gb: float = 0.0  # that PyTorch held at most
    syncs: int | None = None  # times that a round waited for the GPU
    aim: str = ""
    note: str = ""

    @property
    def rate(self) -> float:
        return self.images / statistics.median(self.seconds) if self.seconds else 0.0


class Bench:
    """All rows, and what is needed to make one more."""

    def __init__(self, options: Any) -> None:
        self.small, self.rounds = options.cpu_check, 1 if options.cpu_check else options.rounds
        self.device = "cpu" if options.cpu_check else "cuda"
        self.peer = None if options.cpu_check else torchvision()
        self.height, self.width = (64, 96) if self.small else (HEIGHT, WIDTH)
        self.padded = (64, 96) if self.small else (800, 1344)
        self.steps = 1 if self.small else 5  # of training, in a round
        self.folder = options.folder
        self.deadline = time.monotonic() + 60 * options.minutes
        self.rows: list[Row] = []

    def network(self) -> MaskRCNN:
        """Ours, with torchvision's settings and weights where it is there."""
        if self.small or self.peer is None:
            torch.manual_seed(0)
            more = SMALL if self.small else {"test": {"score": 0.0}}  # so that something is found in noise
            classes = [f"class {number}" for number in range(3 if self.small else 90)]
            return build(ModelConfig.model_validate({**more, "classes": classes}))
        return ours(state_of(self.peer))

    def pixels(self) -> torch.Tensor:
        return image()[:, : self.height, : self.width]

    def add(self, task: str, way: str, images: int, make: Make, aim: str = "") -> None:
        """Time what `make` makes."""
        row = Row(task, way, images, [], aim=aim)
        self.rows.append(row)
        if way == PEER and self.peer is None:
            row.note = "torchvision is not installed"
        elif time.monotonic() > self.deadline:
            row.note = "left out: --minutes are over"
        else:
            try:
                self._time(row, make)
            except Exception as error:  # noqa: BLE001  # the others are measured all the same
                row.note = f"failed: {type(error).__name__}: {' '.join(str(error).split()):.120}"
        print(f"{task}, {way}: {row.rate:.1f} images/s {row.note}", flush=True)
        gc.collect()
        torch._dynamo.reset()
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def _time(self, row: Row, make: Make) -> None:
        on_gpu = self.device == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        begin = time.perf_counter()
        step = make()
        for number in range(1 if self.small else 4):  # a CUDA graph is captured in the second
            step()
            if number == 0:
                self._wait()
                row.first_s = time.perf_counter() - begin
        for _ in range(self.rounds):
            self._wait()
            begin = time.perf_counter()
            step()
            self._wait()
            row.seconds.append(time.perf_counter() - begin)
        if on_gpu:
            row.gb = torch.cuda.max_memory_allocated() / 1e9
            row.syncs = synchronisations(step)

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def synchronisations(step: Step) -> int:
    """Times that a step waits for the GPU."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing" in str(one.message) for one in told)


def batch_of(bench: Bench, count: int) -> tuple[Batch, Targets, list[str]]:
    """Images with twelve objects each, as the data loader gives them."""
    boxes, _ = boxes_and_masks()
    boxes = boxes * (bench.width / WIDTH)
    targets = empty_targets(count, 32, 112, 0)
    targets.boxes[:, :OBJECTS] = targets.mask_boxes[:, :OBJECTS] = boxes
    targets.valid[:, :OBJECTS], targets.has_mask[:, :OBJECTS] = True, True
    targets.masks[:, :OBJECTS] = 1
    targets.seeds[:] = torch.arange(count)
    images = torch.zeros(count, 3, *bench.padded, dtype=torch.uint8)
    images[:, :, : bench.height, : bench.width] = bench.pixels()
    sizes = torch.tensor([[bench.height, bench.width]] * count)
    batch = Batch(images, sizes, torch.ones(count, 2), sizes)
    if bench.device == "cuda":
        batch, targets = batch.pin_memory(), targets.pin_memory()
    return batch, targets, ["image"] * count


@contextlib.contextmanager
def without(*parts: str) -> Iterator[None]:
    """Some of what makes a step on a GPU fast is not used."""
    with contextlib.ExitStack() as stack:
        if "RoIAlign's kernels" in parts:
            stack.enter_context(mock.patch.object(roi_align, "_triton", lambda *_: None))
        if "NMS's kernel" in parts:
            stack.enter_context(mock.patch.object(nms, "_on_triton", lambda *_: False))
        yield


def ungraphed(network: torch.nn.Module, most: int, cuda_graphs: bool) -> CompiledForward:
    """Compiled, but not replayed as CUDA graphs."""
    return CompiledForward(network, most, cuda_graphs=False)


def step_of(bench: Bench, count: int, compiles: bool, graphs: bool = True, stream: bool = True) -> Step:
    """Training steps as `maskrcnn train` makes them, bf16: a step's figures are read after the next began."""
    config = TrainConfig(batch=count, precision="bf16", compile=compiles)
    network = bench.network().train()
    accelerator = make_accelerator(config)
    with contextlib.nullcontext() if graphs else mock.patch.object(learners, "CompiledForward", ungraphed):
        learner = Learner(network, config, accelerator, 1 if compiles else None)
    if not stream:
        learner.stream = None
    share = [batch_of(bench, count)]

    def steps() -> None:
        before = None
        for _ in range(bench.steps):
            step = learner.step(share, 1, 1e-6, lambda: False)
            if before is not None:
                before.figures.tolist()
            before = step

    return steps


def trainings(bench: Bench, count: int, shares: bool) -> None:
    """The steps of one batch size; or what each change brings, one taken away at a time."""
    task = f"training, batch {count}, bf16"

    def add(
        way: str, make: Make, off: tuple[str, ...] = (), aim: str = "", deterministic: bool = False
    ) -> None:
        with without(*off), determinism(deterministic):
            bench.add(task, way, count * bench.steps, make, aim)

    def peers() -> Step:
        step = training_step("torchvision", count, bench.device, bf16=True)
        return lambda: [step() for _ in range(bench.steps)]

    if not shares:
        add(PEER, peers)
        add("eager", lambda: step_of(bench, count, compiles=False))
        aim = "165 images/s, 3.5x torchvision" if count > 2 else "2x torchvision"
        add("compiled, CUDA graphs", lambda: step_of(bench, count, compiles=True), aim=aim)
        return
    add("compiled, no CUDA graphs", lambda: step_of(bench, count, compiles=True, graphs=False))
    add("compiled, copies without a stream", lambda: step_of(bench, count, compiles=True, stream=False))
    add("compiled, deterministic", lambda: step_of(bench, count, compiles=True), deterministic=True)
    for part in ("RoIAlign's kernels", "NMS's kernel"):
        add(f"eager without {part}", lambda: step_of(bench, count, compiles=False), off=(part,))


class Found:
    """An engine that has found a hundred objects in each image already."""

    def __init__(self, bench: Bench, count: int) -> None:
        self.config = bench.network().config
        objects, generator = 6 if bench.small else 100, torch.Generator().manual_seed(0)
        sides = torch.rand(count, objects, 2, generator=generator) * bench.height / 2 + 2
        corners = torch.rand(count, objects, 2, generator=generator) * (
            torch.tensor(bench.padded[::-1]) - sides
        )
        down, across = torch.linspace(-1, 1, 28)[:, None], torch.linspace(-1, 1, 28)[None]
        noise = torch.rand(count, objects, 28, 28, generator=generator)
        masks = torch.sigmoid(6 * (0.9 - (down**2 + across**2).sqrt()) + noise)
        boxes = torch.cat([corners, corners + sides], dim=2)
        scores, labels = torch.linspace(0.99, 0.5, objects).expand(count, -1), torch.zeros(count, objects)
        self.raw = RawDetections(boxes, scores, labels.long(), torch.ones_like(labels).bool(), masks)

    def __call__(self, *given: Any) -> RawDetections:
        return self.raw


def networks(bench: Bench, count: int) -> None:
    """The network alone from pixels on the device, and images to RLE."""
    pixels, on_gpu = bench.pixels(), bench.device == "cuda"
    array = pixels.permute(1, 2, 0).contiguous().numpy()
    sizes = torch.tensor([[bench.height, bench.width]] * count)

    def engine(compiles: bool) -> CompiledEngine:
        made = CompiledEngine(bench.network().eval().to(bench.device), batch=count, bf16=True)
        if not compiles:
            made._graphs = made.network.detect  # type: ignore[assignment]
        return made

    def alone(runner: CompiledEngine) -> Step:
        images = torch.zeros(count, 3, *bench.padded, dtype=torch.uint8, device=bench.device)
        images[:, :, : bench.height, : bench.width] = pixels.to(bench.device)
        on_device = sizes.to(bench.device)
        return lambda: runner(images, on_device)

    def to_rle(runner: Runner) -> Step:
        return lambda: encode(
            (
                found.masks
                for found in predict_pixels(runner, [array] * count, score=runner.config.test.score)
            ),
            pool,
        )

    def peers(rle: bool) -> Step:
        from pycocotools.mask import encode

        other, given = theirs(bench.peer, state_of(bench.peer)).to(bench.device), pixels.to(bench.device)

        def run() -> Any:
            with torch.no_grad(), torch.autocast(bench.device, torch.bfloat16):
                found = other([given.float() / 255] * count)
            if rle:
                masks = [(each["masks"][:, 0] > 0.5).permute(1, 2, 0).cpu().numpy() for each in found]
                return [encode(np.asfortranarray(each, np.uint8)) for each in masks]
            return found

        return run

    name, aims = f"network, batch {count}, bf16", ("300 images/s", "150 images/s") if on_gpu else ("", "")
    bench.add(name, PEER, count, lambda: peers(rle=False))
    bench.add(name, "eager", count, lambda: alone(engine(False)))
    bench.add(name, "compiled, CUDA graphs", count, lambda: alone(engine(True)), aims[0])
    name = f"image to RLE, batch {count}, bf16"
    bench.add(name, PEER, count, lambda: peers(rle=True))
    with encoders(True) as pool:
        bench.add(name, "eager", count, lambda: to_rle(engine(False)))
        bench.add(name, "compiled, CUDA graphs", count, lambda: to_rle(engine(True)), aims[1])
        bench.add(name, "the host alone", count, lambda: to_rle(Found(bench, count)), aims[1])


def loader(bench: Bench) -> None:
    """The data loader alone, from JPEG files, on the cores at hand."""
    workers = 1 if bench.small else max(1, min(15, (os.cpu_count() or 1) - 1))
    batch, side = (2, (64, 96)) if bench.small else (16, (480, 640))
    settings = {"train": {"batch": batch}, "data": {"workers": workers}}
    if bench.small:
        settings["data"]["augment"] = {"short_sides": [64], "long_side": 96}  # type: ignore[dict-item]

    def make() -> Step:
        folder = Path(bench.folder)
        write_coco(Synthetic(4 * batch, side=side), folder / "train.json", folder / "images")
        dataset = open_dataset(folder / "train.json")
        config = fill_config(load_config(settings), dataset)
        labels = list(range(len(dataset.classes)))
        batches = iter(train_loader(dataset, labels, config, endless=True))
        for _ in range(2 * workers):  # what the workers have ready before they are waited for
            next(batches)
        return lambda: [next(batches) for _ in range(2 * workers)]

    images = 2 * workers * batch
    bench.add("data loader alone", f"{workers} workers", images, make, "200 images/s on 15 cores")
    row = bench.rows[-1]
    row.note = (
        row.note or f"{row.rate / workers:.1f} images/s a core; on 15, scaled: {15 * row.rate / workers:.0f}"
    )


def agreement(bench: Bench) -> None:
    """How far compiled gradients are from eager ones, float32, masks and keypoints: speed is worth nothing
    without."""
    torch.manual_seed(0)
    more = {
        "classes": ["person"],
        "keypoints": coco_keypoints(),
        "keypoint_head": {"convs": 1, "channels": 16},
    }
    network = build(ModelConfig.model_validate(SMALL | more)).train().to(bench.device)
    batch, targets, _ = batch_of(bench, 2)
    targets.keypoints = torch.zeros(*targets.boxes.shape[:2], len(coco_keypoints().names), 3)
    middle = (targets.boxes[..., :2] + targets.boxes[..., 2:]) / 2
    targets.keypoints[..., :2], targets.keypoints[..., 2] = middle.unsqueeze(2), 2
    batch, targets = batch.to(bench.device), targets.to(bench.device)
    gradients = []
    for losses in (network.losses, graphs.Graphs(network.losses, 1, cuda_graphs=False)):
        network.zero_grad()
        torch.stack(list(losses(batch.images, batch.sizes, targets).values())).sum().backward()
        gradients.append({n: p.grad for n, p in network.named_parameters() if p.grad is not None})
    torch._dynamo.reset()
    eager, compiled = gradients
    far = {n: float((compiled[n] - g).norm() / g.norm().clamp(min=1e-6)) for n, g in eager.items()}
    worst = max(far, key=lambda name: far[name])
    verdict = "agree" if far[worst] < AGREES else "DIFFER: do not train with train.compile=true"
    print(
        f"gradients compiled and eager {verdict}: at most {far[worst]:.1e} of their size ({worst})",
        flush=True,
    )


def table_of(rows: list[Row]) -> Table:
    table = Table(title="Images/s: medians of rounds")
    names = ("", "", "ms (spread)", "images/s", "/ torchvision", "first call, s", "GB", "waits", "aim", "")
    for name in names:
        table.add_column(name, justify="left" if name in ("", "aim") else "right")
    peers = {row.task: row.rate for row in rows if row.way == PEER}
    for row in rows:
        ms = [1e3 * one for one in row.seconds] or [0.0]
        ratio = f"{row.rate / peers[row.task]:.2f}" if peers.get(row.task) else ""
        spread = f"{statistics.median(ms):.1f} ({min(ms):.1f} to {max(ms):.1f})" if row.seconds else ""
        waits = "" if row.syncs is None else str(row.syncs)
        first, held = f"{row.first_s:.0f}", f"{row.gb:.1f}"
        cells = (spread, f"{row.rate:.1f}", ratio, first, held, waits, row.aim, row.note)
        table.add_row(row.task, row.way, *cells)
    return table


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=6.5, help="nothing new is begun after so many")
    parser.add_argument("--cpu-check", action="store_true", help="the whole script on a CPU, small")
    options = parser.parse_args()
    if not options.cpu_check and not torch.cuda.is_available():
        raise SystemExit("gpu.py: no GPU here; --cpu-check tries the script on a CPU")
    if options.cpu_check:
        graphs.BACKEND = "eager"  # inductor takes a CPU minutes
    with TemporaryDirectory() as options.folder:
        bench = Bench(options)
        measure(bench)
    print_and_write(bench, options.json)


def measure(bench: Bench) -> None:
    """What matters most first, as time may run out."""
    agreement(bench)
    large, small, many = (2, 1, 2) if bench.small else (16, 2, 8)
    trainings(bench, large, shares=False)
    if not bench.small:
        trainings(bench, small, shares=False)
    networks(bench, many)
    trainings(bench, large, shares=True)
    loader(bench)


def print_and_write(bench: Bench, out: Path | None) -> None:
    where = machine() | {"card": torch.cuda.get_device_name() if bench.device == "cuda" else "none: a CPU"}
    console = Console(width=200)
    console.print(table_of(bench.rows))
    console.print(in_words(where), highlight=False)
    if bench.peer is None:
        console.print("torchvision is not installed, so there are our own rows only")
    if out is not None:
        rows = [asdict(row) | {"images_per_s": row.rate} for row in bench.rows]
        write_json(out, {"machine": where, "rows": rows})


if __name__ == "__main__":
    main()
