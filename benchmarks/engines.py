"""An image of 800 x 1333 through a ResNet-50-FPN Mask R-CNN by every engine, beside torchvision as it comes.

    python benchmarks/engines.py [--json FILE] [--rounds N] [--folder FOLDER]

Same weights, 1,000 proposals, 100 detections with full-size masks, batch 1; each engine in a process of its
own, all in turns. The weights are random (benchmarks/peer_network.py): time does not depend on them, and the
int8 form's accuracy is measured elsewhere, on trained models (docs/export.md). Graphs are exported into
FOLDER at the first run and kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inference import GFLOP, to_masks, way
from measure import (
    OURS,
    PEER,
    Apart,
    Line,
    arguments,
    in_turns,
    peak_gflops,
    report,
    serve,
    share_of_peak,
    torchvision,
)
from peer_network import HEIGHT, WIDTH, ours, state_of

from maskrcnn.export.quantise import quantise
from maskrcnn.export.run import export
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.runtime.engine import open_export
from maskrcnn.runtime.exported_folder import is_export, read_export, write_export
from maskrcnn.tuning import tune

FOLDER = Path("out/benchmarks/engines")
OPENVINO, INT8, ONNXRUNTIME = "openvino fp32", "openvino int8", "onnxruntime fp32"
FOLDERS = {OPENVINO: "openvino", INT8: "openvino-int8", ONNXRUNTIME: "onnx"}
AIMS = {OPENVINO: 1.9, INT8: 4.5}
CALIBRATION = 8  # generated images; random weights have no accuracy to keep


def engine_way(name: str, folder: Path) -> Callable[[], Any]:
    """What is measured under that name."""
    if name in (OURS, PEER):
        return way(name)
    tune()
    return to_masks(open_export(folder / FOLDERS[name]))


def make(folder: Path) -> None:
    """The graphs that are not there yet."""
    if all(is_export(folder / name) for name in FOLDERS.values()):
        return
    network = ours(state_of(torchvision()))
    for to in ("openvino", "onnx"):
        if not is_export(folder / to):
            export(network, to, folder / to, source="random weights", show=lambda table: None)
    int8 = folder / FOLDERS[INT8]
    shutil.rmtree(int8, ignore_errors=True)
    shutil.copytree(folder / "openvino", int8, ignore=shutil.ignore_patterns("export.json"))
    record, config, _ = read_export(folder / "openvino")
    # not by `export`, which would compare scores with PyTorch's: among random weights' equal scores int8
    # chooses others
    calibration = quantise(int8 / "model.xml", config, Synthetic(CALIBRATION, side=(600, 800)), CALIBRATION)
    changes = {"precision": "int8", "calibration": calibration, "verified": []}
    write_export(int8, record.model_copy(update=changes), config)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--serve")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the exported graphs are kept")
    options = parser.parse_args()
    if options.serve:
        serve(engine_way(options.serve, options.folder))
        return
    if torchvision() is None:
        raise SystemExit("engines.py: needs torchvision beside us; benchmarks/README.md says how")
    make(options.folder)
    peaks = [peak_gflops()]
    apart = {who: Apart(__file__, who, "--folder", str(options.folder)) for who in (PEER, OURS, *FOLDERS)}
    seconds = in_turns(apart, options.rounds)
    memory = {who: round(each.close() / 1e9, 2) for who, each in apart.items()}
    peaks.append(peak_gflops())
    lines = []
    for who in (OURS, *FOLDERS):
        line = Line("torch" if who == OURS else who, {OURS: seconds[who], PEER: seconds[PEER]}, AIMS.get(who))
        line.notes = {
            "GB": memory[who],
            "share of fp32 peak": share_of_peak(GFLOP, line.median(OURS), max(peaks)),
        }
        lines.append(line)
    report(
        f"Engines, {HEIGHT} x {WIDTH}, median ms (spread)",
        lines,
        options.json,
        peak_gflops=round(max(peaks)),
        torchvision_gb=memory[PEER],
        weights="random",
    )


if __name__ == "__main__":
    main()
