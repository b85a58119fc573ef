"""Our network against the peers' own answers: two goldens here, all of them in the slow target."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
GOLDENS = ROOT.parent / "shared" / "goldens"
SMALLEST = (
    "detectron2.COCO-InstanceSegmentation.mask_rcnn_R_50_C4_3x",
    "mmdet.mask_rcnn.mask-rcnn_r50_fpn_1x_coco",
)
pytestmark = pytest.mark.skipif(not GOLDENS.exists(), reason="../shared/goldens is not here")


@pytest.fixture(scope="module")
def parity() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        return importlib.import_module("parity")


def names() -> list[object]:
    found = sorted(p.stem for p in GOLDENS.glob("*.npz") if p.with_suffix(".keys.json").exists())
    return [name if name in SMALLEST else pytest.param(name, marks=pytest.mark.slow) for name in found]


@pytest.mark.parametrize("name", names())
def test_agrees_with_the_peer(parity: ModuleType, name: str) -> None:
    report = parity.compare(GOLDENS / f"{name}.npz")
    assert len(report.rows) > 15
    assert report.good, [row for row in report.rows if not row[3]]


def test_a_wrong_weight_is_seen(parity: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: one tensor changed by a thousandth part of itself passes a limit."""
    golden = parity.Golden(GOLDENS / f"{SMALLEST[0]}.npz")
    golden.model.rpn.convs[0].weight.data *= 1.002
    report = parity.Report("changed")
    with parity.torch.no_grad():
        parity.check_forward(golden, report)
    assert not report.good
