"""RoIAlign on a GPU: the Triton kernel beside the plain operators and torchvision's, checked and timed.

PYTHONPATH=src python benchmarks/roi_align_cuda.py [--json FILE] [--sweep]

Needs torch, Triton and NumPy; torchvision is compared with where it is there. Takes less than a minute. Times
are medians of Triton's `do_bench`, which empties the cache before each run; they include what the launch
costs the CPU where that is longer than the kernel.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskrcnn.ops.roi_align import roi_align_plain
from maskrcnn.ops.roi_align_gradient import backward
from maskrcnn.ops.roi_align_kernels import forward
from maskrcnn.ops.roi_align_triton import roi_align_triton

CHANNELS, HEIGHT, WIDTH, BATCH = 256, 800, 1344, 2  # pixels; the map of stride 4 is 200 x 336
STRIDES = [4, 8, 16, 32]
DEVICE = "cuda"
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


class Case:
    """Features, boxes and settings of one measurement."""

    def __init__(
        self,
        name: str,
        count: int,
        size: int,
        ratio: int,
        levels: int,
        train: bool,
        dtype: torch.dtype,
        aligned: bool = True,
    ) -> None:
        generator = torch.Generator().manual_seed(count + size)
        self.name, self.size, self.ratio, self.train, self.aligned = name, size, ratio, train, aligned
        self.dtype, self.strides = dtype, STRIDES[:levels]
        self.features = [
            torch.randn(BATCH, CHANNELS, HEIGHT // s, WIDTH // s, device=DEVICE).to(dtype)
            for s in self.strides
        ]
        smallest, largest = (16.0, 700.0) if levels > 1 else (8.0, 112.0 if count > 200 else 500.0)
        sides = smallest * (largest / smallest) ** torch.rand(count, 2, generator=generator)
        corner = torch.rand(count, 2, generator=generator) * (torch.tensor([WIDTH, HEIGHT]) - sides).clamp(
            min=0
        )
        self.boxes = torch.cat([corner, corner + sides], 1).to(DEVICE)
        self.image = torch.randint(BATCH, (count,), generator=generator).to(DEVICE)
        self.level = torch.zeros_like(self.image)
        if levels > 1:
            self.level = (4 + torch.log2(sides.prod(1).sqrt() / 224 + 1e-8)).floor().clamp(2, 5).long().to(
                DEVICE
            ) - 2
        self.last = [
            f.contiguous(memory_format=torch.channels_last).requires_grad_(train) for f in self.features
        ]
        self.plain = [f.requires_grad_(train) for f in self.features]

    def ours(self, way: Callable[..., Tensor], features: list[Tensor]) -> Tensor:
        return way(
            features,
            self.strides,
            self.boxes,
            self.image,
            self.level,
            size=self.size,
            sampling_ratio=self.ratio,
            aligned=self.aligned,
        )

    def peer(self, features: list[Tensor]) -> Tensor:
        """torchvision's operator, level by level as its own pooler does it."""
        from torchvision.ops import roi_align

        rois = torch.cat([self.image[:, None].to(self.dtype), self.boxes.to(self.dtype)], 1)
        if len(features) == 1:
            return roi_align(
                features[0], rois, self.size, 1 / self.strides[0], self.ratio or -1, self.aligned
            )
        pooled = features[0].new_zeros(len(rois), CHANNELS, self.size, self.size)
        for number, (feature, stride) in enumerate(zip(features, self.strides, strict=True)):
            rows = torch.where(self.level == number)[0]
            pooled[rows] = roi_align(
                feature, rois[rows], self.size, 1 / stride, self.ratio or -1, self.aligned
            )
        return pooled

    def ways(self) -> dict[str, Callable[[], Any]]:
        found: dict[str, Callable[[], Any]] = {
            "plain": self.step(lambda: self.ours(roi_align_plain, self.last), self.last),
            "triton": self.step(lambda: self.ours(roi_align_triton, self.last), self.last),
        }
        if torchvision_version():
            found["torchvision"] = self.step(lambda: self.peer(self.plain), self.plain)
        return found

    def step(self, way: Callable[[], Tensor], features: list[Tensor]) -> Callable[[], Any]:
        """Forward only, or with the gradients of the features."""
        if not self.train:
            return way
        ramp = torch.rand(len(self.boxes), self.size, self.size, CHANNELS, device=DEVICE).to(self.dtype)

        def trained() -> Any:
            pooled = way()
            return pooled, torch.autograd.grad(pooled, features, ramp.permute(0, 3, 1, 2))

        return trained

    def floor(self, bandwidth: float) -> float:
        """Milliseconds in which the fewest bytes can be moved: maps (their cells that are touched, at most)
        and bins.
        """
        touched = (
            sum(min(f.numel() // CHANNELS, self._cells(number)) for number, f in enumerate(self.features))
            * CHANNELS
            * self.features[0].element_size()
        )
        bins = len(self.boxes) * self.size**2 * CHANNELS * self.features[0].element_size()
        # the gradient of the whole map is written once
        own = sum(f.numel() for f in self.features) * self.features[0].element_size() + bins
        return 1e3 * (touched + bins + (own if self.train else 0)) / bandwidth

    def _cells(self, number: int) -> int:
        """Cells under the boxes of a level, those under several counted for each."""
        own = self.boxes[self.level == number] / self.strides[number]
        side = (own[:, 2:] - own[:, :2] + 1).ceil()
        if self.ratio:
            side = side.clamp(max=2 * self.ratio * self.size)
        return int(side.prod(1).sum())


def torchvision_version() -> str | None:
    try:
        import torchvision
    except ImportError:
        return None
    return str(torchvision.__version__)


def relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm().clamp(min=1e-12))  # a level may have no box


def check(case: Case) -> list[dict[str, Any]]:
    """Errors of each way against the plain operators in float64, as norms' ratios: forward, then each level's
    gradient.
    """
    exact = [f.detach().double().requires_grad_(case.train) for f in case.last]
    doubled = Case.__new__(Case)
    doubled.__dict__.update(case.__dict__, boxes=case.boxes.double())
    reference = doubled.ours(roi_align_plain, exact)
    ramp = torch.rand(reference.shape, device=DEVICE).to(case.dtype)
    expected = [reference, *torch.autograd.grad(reference, exact, ramp.double())]
    ways: dict[str, tuple[Callable[[], Tensor], list[Tensor]]] = {
        "triton": (lambda: case.ours(roi_align_triton, case.last), case.last),
        "plain": (lambda: case.ours(roi_align_plain, case.last), case.last),
    }
    if (
        torchvision_version() and case.dtype == torch.float32
    ):  # in half precision its coordinates are halved too
        ways["torchvision"] = (lambda: case.peer(case.plain), case.plain)
    lines = []
    for name, (way, features) in ways.items():
        found = way()
        gradients = torch.autograd.grad(found, features, ramp)
        errors = [relative(f, e) for f, e in zip([found, *gradients], expected, strict=True)]
        right = all(e <= TOLERANCE[case.dtype] for e in errors)  # false for NaN
        lines.append(
            {"case": case.name, "dtype": str(case.dtype), "way": name, "errors": errors, "right": right}
        )
    return lines


def checks() -> list[dict[str, Any]]:
    f32, bf16, f16 = torch.float32, torch.bfloat16, torch.float16
    return [
        line
        for case in (
            Case("one level, ratio 2", 300, 7, 2, 1, True, f32),
            Case("one level, adaptive", 300, 7, 0, 1, True, f32),
            Case("one level, adaptive, not aligned", 300, 7, 0, 1, True, f32, aligned=False),
            Case("one level, ratio 1, not aligned", 300, 14, 1, 1, True, f32, aligned=False),
            Case("four levels, ratio 2", 300, 7, 2, 4, True, f32),
            Case("four levels, adaptive", 300, 7, 0, 4, True, f32),
            Case("four levels, ratio 2", 300, 7, 2, 4, True, bf16),
            Case("four levels, adaptive", 300, 7, 0, 4, True, f16),
        )
        for line in check(case)
    ]


def cases() -> list[Case]:
    f32, bf16 = torch.float32, torch.bfloat16
    return [
        Case("1,000 x 7 x 7", 1000, 7, 2, 1, False, f32),
        Case("1,000 x 7 x 7, bf16", 1000, 7, 2, 1, False, bf16),
        Case("1,000 x 7 x 7, adaptive", 1000, 7, 0, 1, False, f32),
        Case("100 x 14 x 14", 100, 14, 2, 1, False, f32),
        Case("1,000 x 7 x 7, four levels", 1000, 7, 2, 4, False, f32),
        Case("1,000 x 7 x 7, four levels, adaptive", 1000, 7, 0, 4, False, f32),
        Case("512 x 7 x 7, forward and backward", 512, 7, 2, 1, True, f32),
        Case("512 x 7 x 7, four levels, forward and backward", 512, 7, 2, 4, True, f32),
        Case("512 x 7 x 7, four levels, forward and backward, bf16", 512, 7, 2, 4, True, bf16),
        Case("512 x 7 x 7, four levels, adaptive, forward and backward", 512, 7, 0, 4, True, f32),
    ]


def milliseconds(way: Callable[[], Any], repeat: int = 60) -> float | None:
    """The median, or None where the operator does not know the data type."""
    from triton.testing import do_bench

    try:
        way()
    except (NotImplementedError, RuntimeError) as error:
        if "not implemented" not in str(error):
            raise
        return None
    found: float = do_bench(way, warmup=15, rep=repeat, return_mode="median")
    return found


def bandwidth() -> float:
    """Bytes per second of a large copy, read and written."""
    source = torch.rand(1 << 28, device=DEVICE)
    target = torch.empty_like(source)
    taken = milliseconds(lambda: target.copy_(source))
    assert taken is not None
    return 2 * source.numel() * 4 / taken * 1e3


def sweep() -> list[dict[str, Any]]:
    """The bare launches with other shapes of a program, without what PyTorch's dispatch costs."""
    lines = []
    for dtype in (torch.float32, torch.bfloat16):
        for ratio in (2, 0):
            case = Case("sweep", 1000, 7, ratio, 4, False, dtype)
            scales = [1 / s for s in case.strides]
            box = (case.boxes, case.image, case.level)
            shapes = [(f.shape[2], f.shape[3]) for f in case.last]
            grad = (
                torch.rand(len(case.boxes), case.size, case.size, CHANNELS, device=DEVICE)
                .to(dtype)
                .permute(0, 3, 1, 2)
            )
            ahead = partial(forward, case.last, scales, *box, case.size, ratio, True)
            back = partial(backward, grad, BATCH, shapes, scales, *box, case.size, ratio, True)
            for bins, block, warps in SHAPES:
                shape = {"bins": bins, "block": block, "warps": warps}
                taken = {"forward": milliseconds(partial(ahead, **shape), 20)}
                lines.append({"dtype": str(dtype), "ratio": ratio, **shape, **taken})
            for tile, block in TILES:
                shape = {"tile": tile, "block": block}
                taken = {"backward": milliseconds(partial(back, **shape), 20)}
                lines.append({"dtype": str(dtype), "ratio": ratio, **shape, **taken})
    return lines


SHAPES = [
    (1, 256, 1),
    (1, 256, 2),
    (1, 256, 4),
    (1, 128, 1),
    (7, 256, 1),
    (7, 256, 2),
    (7, 128, 1),
    (49, 256, 2),
]
TILES = [(8, 64), (8, 32), (8, 128), (4, 64), (4, 256), (16, 32)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sweep", action="store_true", help="time other shapes of a program, too")
    options = parser.parse_args()
    begin = time.perf_counter()
    import triton

    versions = {
        "torch": torch.__version__,
        "triton": triton.__version__,
        "torchvision": torchvision_version(),
    }
    device = torch.cuda.get_device_name()
    print(device, versions)
    torch.manual_seed(0)

    found = checks()
    for line in found:
        errors = " ".join(f"{e:.1e}" for e in line["errors"])
        print(
            f"{'right' if line['right'] else 'WRONG'}  {line['case']}, {line['dtype']}, {line['way']}: "
            f"{errors}"
        )
    torch.cuda.empty_cache()

    speed = bandwidth()
    print(
        f"copy {speed / 1e12:.2f} "
        f"TB/s\n{'ms':58s}{'plain':>9s}{'triton':>9s}{'tv':>9s}{'plain/':>8s}{'tv/':>8s}{'floor':>8s}"
    )
    timed = []
    for case in cases():
        # twice, in turns: a difference smaller than that between the two is noise
        turns = [{name: milliseconds(way) for name, way in case.ways().items()} for _ in range(2)]
        both = {name: [turn[name] for turn in turns] for name in turns[0]}
        medians = {name: statistics.median(v) if None not in v else None for name, v in both.items()}  # type: ignore[type-var]
        ours = medians["triton"]
        ratios = {name: value / ours if value and ours else None for name, value in medians.items()}
        timed.append({"case": case.name, "ms": both, "times triton": ratios, "floor": case.floor(speed)})
        columns = [
            medians["plain"],
            ours,
            medians.get("torchvision"),
            ratios["plain"],
            ratios.get("torchvision"),
        ]
        shown = "".join("        -" if v is None else f"{v:9.3f}" for v in columns[:3])
        shown += "".join("       -" if v is None else f"{v:8.1f}" for v in columns[3:])
        print(f"{case.name:58s}{shown}{case.floor(speed):8.3f}")
    swept = sweep() if options.sweep else []
    for line in swept:
        print(", ".join(f"{key} {value}" for key, value in line.items()))
    seconds = time.perf_counter() - begin
    print(f"{seconds:.0f} s")
    if options.json:
        every = {
            "device": device,
            **versions,
            "bytes per second": speed,
            "checks": found,
            "timed": timed,
            "sweep": swept,
        }
        options.json.write_text(json.dumps(every, indent=1))
    return 0 if all(line["right"] for line in found) else 1


if __name__ == "__main__":
    sys.exit(main())
