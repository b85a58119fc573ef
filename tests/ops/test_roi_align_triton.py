"""RoIAlign's Triton kernels against `roi_align_plain`: on a GPU where there is one, else in Triton's
interpreter, which runs the kernel with NumPy. Triton chooses when it is imported, so the interpreter gets a
process of its own, in which the tests of `test_nms_triton.py` run too."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maskrcnn.ops.roi_align import roi_align, roi_align_plain

GOLDENS = Path(__file__).parents[3] / "shared" / "goldens" / "ops.npz"
GPU = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if GPU and not INTERPRETED else "cpu"
TRITON = importlib.util.find_spec("triton") is not None

STRIDES = [4, 8, 16, 32]
BOXES = torch.tensor(
    [
        [3.1, 2.7, 41.3, 30.9],
        [-9.0, -7.5, 20.2, 18.4],  # beyond the upper left corner
        [30.3, 20.1, 140.7, 90.3],  # beyond the lower right corner
        [10.2, 11.3, 11.1, 12.9],  # smaller than a cell
        [5.6, 1.2, 9.8, 63.7],  # tall
        [7.0, 9.0, 7.0, 9.0],  # a point
        [20.3, 30.1, 11.2, 22.4],  # turned inside out
        [400.0, 300.0, 440.0, 340.0],  # outside
        [-9e3, -9e3, 9e3, 9e3],  # far larger than the map
    ]
)
IMAGE = torch.tensor([0, 1, 0, 1, 1, 0, 1, 0, 1])
LEVEL = torch.tensor([0, 1, 2, 0, 1, 0, 2, 1, 3])


def levels(count: int, channels: int = 3, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(count)
    shapes = [(2, channels, 64 // s, 96 // s) for s in STRIDES[:count]]
    return [torch.randn(shape, generator=generator).to(DEVICE, dtype).requires_grad_() for shape in shapes]


def placed(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The boxes with their images and levels, of which there are `count`."""
    few = len(BOXES) if count == len(STRIDES) else -1  # on a fine map the last one is 10,000 samples to a bin
    return BOXES[:few].to(DEVICE), IMAGE[:few].to(DEVICE), LEVEL[:few].clamp(max=count - 1).to(DEVICE)


def with_gradients(
    way: Any, features: list[Tensor], *arguments: Any, **settings: Any
) -> tuple[Tensor, list[Tensor]]:
    """What `way` pools, and the gradients for a ramp over it."""
    pooled = way(features, STRIDES[: len(features)], *arguments, **settings)
    ramp = torch.linspace(-1, 1, pooled.numel(), device=pooled.device).view(pooled.shape).to(pooled.dtype)
    return pooled.detach(), list(torch.autograd.grad(pooled, features, ramp))


@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter")
def test_in_the_interpreter() -> None:
    if not TRITON:
        pytest.skip("Triton is not installed: pip install 'maskrcnn[dev]' on Linux")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-x", __file__]
    command.append(str(Path(__file__).with_name("test_nms_triton.py")))
    # without this the kernel would be compiled for the GPU, if there is one
    run = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    if "only 0-dimensional arrays can be converted to Python scalars" in run.stdout:
        pytest.skip("the interpreter of this Triton is too old for this NumPy, as 3.6's is for 2.4")
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]


@pytest.mark.skipif(INTERPRETED, reason="another process already imports Triton")
def test_triton_is_not_imported_on_a_cpu() -> None:
    script = (
        "import sys, torch; before = set(sys.modules); from maskrcnn.ops.roi_align import roi_align;"
        "none = torch.zeros(1, dtype=torch.int64);"
        "roi_align([torch.ones(1, 1, 8, 8)], [1], torch.ones(1, 4), none, none, size=2);"
        "print([n for n in set(sys.modules) - before if n.split('.')[0] == 'triton' or "
        "n.endswith('_triton')])"
    )
    source = str(Path(__file__).parents[2] / "src")
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


class TestKernel:
    __test__ = TRITON and (GPU or INTERPRETED)

    @pytest.mark.parametrize("count", [1, 4])
    @pytest.mark.parametrize("aligned", [True, False])
    @pytest.mark.parametrize("ratio", [0, 1, 2])
    def test_equals_the_plain_way(self, ratio: int, aligned: bool, count: int) -> None:
        from maskrcnn.ops.roi_align_triton import roi_align_triton

        settings = {"size": 2, "sampling_ratio": ratio, "aligned": aligned}
        found, gradients = with_gradients(roi_align_triton, levels(count), *placed(count), **settings)
        expected, own = with_gradients(roi_align_plain, levels(count), *placed(count), **settings)
        assert expected.abs().max() > 0.5
        assert found.stride() == expected.stride()
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(gradients, own, atol=1e-5, rtol=0)

    def test_many_samples_and_bins_to_a_program(self) -> None:
        from maskrcnn.ops.roi_align_kernels import forward
        from maskrcnn.ops.roi_align_triton import roi_align_triton

        few = [part[:2] for part in placed(2)]
        features = [level.detach() for level in levels(2)]
        expected = roi_align_plain(features, STRIDES[:2], *few, size=3, sampling_ratio=5)
        found = roi_align_triton(features, STRIDES[:2], *few, size=3, sampling_ratio=5)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        expected = roi_align_plain(features, STRIDES[:2], *few, size=3, sampling_ratio=1)
        found = forward(features, [1 / 4, 1 / 8], *few, 3, 1, True, bins=4, block=2, warps=1)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_summed_in_float32(self, dtype: torch.dtype) -> None:
        from maskrcnn.ops.roi_align_triton import roi_align_triton

        few = [part[:4] for part in placed(1)]
        found, gradients = with_gradients(
            roi_align_triton, levels(1, dtype=dtype), *few, size=2, sampling_ratio=1
        )
        exact = [level.detach().float().requires_grad_() for level in levels(1, dtype=dtype)]
        expected, own = with_gradients(roi_align_plain, exact, *few, size=2, sampling_ratio=1)
        assert found.dtype == gradients[0].dtype == dtype
        one_rounding = torch.finfo(dtype).eps
        torch.testing.assert_close(found.float(), expected, atol=one_rounding, rtol=one_rounding)
        # the ramp itself is rounded as well
        torch.testing.assert_close(gradients[0].float(), own[0], atol=2 * one_rounding, rtol=2 * one_rounding)

    def test_memory_format_of_the_features_does_not_matter(self) -> None:
        from maskrcnn.ops.roi_align_triton import roi_align_triton

        few = [part[:2] for part in placed(2)]
        plain = [level.detach() for level in levels(2)]
        last = [level.contiguous(memory_format=torch.channels_last) for level in plain]
        one, other = (roi_align_triton(f, STRIDES[:2], *few, size=2, sampling_ratio=1) for f in (plain, last))
        assert torch.equal(one, other)

    @pytest.mark.parametrize("ratio", [0, 2])
    def test_no_boxes(self, ratio: int) -> None:
        from maskrcnn.ops.roi_align_triton import roi_align_triton

        none = [part[:0] for part in placed(2)]
        pooled, gradients = with_gradients(roi_align_triton, levels(2), *none, size=7, sampling_ratio=ratio)
        assert pooled.shape == (0, 3, 7, 7)
        assert [g.abs().max() for g in gradients] == [0, 0]

    @pytest.mark.parametrize("ratio", [0, 1])
    def test_boxes_that_are_no_numbers_end(self, ratio: int) -> None:
        from maskrcnn.ops.roi_align_triton import roi_align_triton

        nan, inf = float("nan"), float("inf")
        boxes = torch.tensor([[nan, 0, 9, 9], [0, 0, inf, 9], [-inf, -inf, inf, inf]], device=DEVICE)
        zero = torch.zeros(3, dtype=torch.int64, device=DEVICE)
        features = [levels(4)[3].detach()]
        pooled = roi_align_triton(features, STRIDES[3:], boxes, zero, zero, size=1, sampling_ratio=ratio)
        assert torch.equal(pooled, torch.zeros_like(pooled))

    @pytest.mark.skipif(not GOLDENS.exists(), reason=f"{GOLDENS} is not here")
    @pytest.mark.parametrize(("ratio", "aligned"), [(2, True), (0, False)])
    def test_goldens(self, ratio: int, aligned: bool) -> None:
        from maskrcnn.ops.roi_align_triton import roi_align_triton

        name = f"roi_align.aligned={aligned}.sampling_ratio={ratio}.size=7"
        with np.load(GOLDENS) as file:
            feature, rois = (torch.from_numpy(file[key]).to(DEVICE) for key in ("feature", "rois"))
            expected, own = file[name], file[f"{name}.grad"]
        rows = rois if DEVICE == "cuda" else rois[-1:]  # the interpreter takes seconds for a box
        feature.requires_grad_()
        boxes, image, level = rows[:, 1:], rows[:, 0].long(), torch.zeros_like(rows[:, 0]).long()
        pooled = roi_align_triton(
            [feature], [8], boxes, image, level, size=7, sampling_ratio=ratio, aligned=aligned
        )
        difference = np.abs(pooled.detach().cpu().numpy() - expected[-len(rows) :]).max()
        assert difference < 1e-5 * np.abs(expected).max()
        if DEVICE == "cuda":
            ramp = torch.linspace(-1, 1, pooled.numel(), device=DEVICE).view(pooled.shape)
            (gradient,) = torch.autograd.grad(pooled, feature, ramp)
            assert np.abs(gradient.cpu().numpy() - own).max() < 1e-5 * np.abs(own).max()

    def test_what_is_left_to_the_plain_way(self) -> None:
        from maskrcnn.ops.roi_align_triton import takes

        features = levels(4)
        boxes, wanted = placed(4)[0], placed(4)[0].clone().requires_grad_()
        assert takes(features, boxes)
        assert not takes(features, wanted)
        assert not takes([level.double() for level in features], boxes)
        assert not takes([features[0], features[1].half()], boxes)
        assert not takes(features + features, boxes)
        with torch.no_grad():
            assert takes(features, wanted)

    @pytest.mark.parametrize(("ratio", "aligned"), [(0, True), (2, False)])
    def test_the_gradient_is_a_sum_in_the_order_of_the_boxes(self, ratio: int, aligned: bool) -> None:
        """Whichever program adds it up: nothing depends on which of them is the first."""
        from maskrcnn.ops.roi_align_gradient import backward

        boxes, image, level = (part[:5] for part in placed(1))
        grad = torch.randn(len(boxes), 5, 2, 2, generator=torch.Generator().manual_seed(0)).to(DEVICE)
        given = (grad, 2, [(6, 9)], [0.1], boxes, image, level, 2, ratio, aligned)
        (whole,) = backward(*given)
        (parts,) = backward(*given, tile=4, block=8)
        assert torch.equal(whole, parts) and (whole != 0).sum() > 100

    def test_compiled_as_one_graph(self) -> None:
        from maskrcnn.ops.roi_align_triton import roi_align_triton

        def pooled(features: list[Tensor], *arguments: Tensor) -> Tensor:
            way = roi_align if DEVICE == "cuda" else roi_align_triton
            return (
                way([2 * level for level in features], STRIDES[:2], *arguments, size=2, sampling_ratio=1) + 1
            )

        def graph(features: list[Tensor], strides: list[int], *arguments: Tensor) -> Tensor:
            found: Tensor = compiled(features, *arguments)
            return found

        def eager(features: list[Tensor], strides: list[int], *arguments: Tensor) -> Tensor:
            return pooled(features, *arguments)

        # inductor's C++ for the sum around it would take longer than the test
        compiled = torch.compile(
            pooled, fullgraph=True, backend="inductor" if DEVICE == "cuda" else "aot_eager"
        )
        for few in (4, 3):  # another number of boxes is compiled with a symbol for it
            found, gradients = with_gradients(graph, levels(2), *[part[:few] for part in placed(2)])
            expected, own = with_gradients(eager, levels(2), *[part[:few] for part in placed(2)])
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(gradients, own, atol=1e-5, rtol=0)

    @pytest.mark.skipif(DEVICE != "cuda", reason="on a CPU nothing is sent to the kernel")
    def test_which_way_is_taken(self) -> None:
        features = levels(4)
        settings: dict[str, Any] = {"size": 2, "sampling_ratio": 0}
        pooled = roi_align(features, STRIDES, *placed(4), **settings)
        assert "triton" in pooled.grad_fn.name().lower()
        assert torch.equal(
            roi_align(features, STRIDES, *placed(4), reduce="max", **settings),
            roi_align_plain(features, STRIDES, *placed(4), reduce="max", **settings),
        )

    @pytest.mark.skipif(DEVICE != "cuda", reason="takes 5 GB")
    def test_maps_of_over_two_to_the_31_numbers(self) -> None:
        feature = torch.zeros(9, 1000, 1000, 256, dtype=torch.bfloat16, device=DEVICE).permute(0, 3, 1, 2)
        feature[8, :, 600:, 600:] = 3
        boxes, zero = (
            torch.tensor([[700.0, 700, 800, 800]], device=DEVICE),
            torch.zeros(1, dtype=torch.int64, device=DEVICE),
        )
        pooled = roi_align([feature], [1], boxes, zero + 8, zero, size=2)
        assert (pooled == 3).all()
