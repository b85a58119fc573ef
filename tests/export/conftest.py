"""One export of the small network for all tests: tracing it takes longer than everything else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders by target; those whose packages are not installed are left out."""
    from exported import small_network

    from maskrcnn.errors import UserError
    from maskrcnn.export import run
    from maskrcnn.runtime.exported_folder import read_export, write_export

    base, network = tmp_path_factory.mktemp("exports"), small_network()
    program = run.trace(network)
    with pytest.MonkeyPatch.context() as patch:
        # saved first: translating a program uses it up
        patch.setattr(run, "trace", lambda model: program)
        folders = {"torch": run.export(network, "torch", base / "torch", show=lambda table: None)}
        try:
            run.check_target("onnx")
        except UserError:
            _forget_digests(folders)
            return folders
        folders["onnx"] = run.export(network, "onnx", base / "onnx", show=lambda table: None)
    _forget_digests(folders)
    try:
        run.check_target("openvino")
    except UserError:
        return folders
    from maskrcnn.export.onnx import write_openvino

    # the step that `export` takes after the same ONNX graph
    record, config, graph = read_export(folders["onnx"])
    folders["openvino"] = base / "openvino"
    folders["openvino"].mkdir()
    write_openvino(graph, folders["openvino"] / "model.xml")
    write_export(folders["openvino"], record.model_copy(update={"target": "openvino"}), config)
    _forget_digests(folders)
    return folders


def _forget_digests(folders: dict[str, Path]) -> None:
    """As a stranger would who changes a file: what is behind the digests is to hold as well."""
    for folder in folders.values():
        record = json.loads((folder / "export.json").read_text())
        (folder / "export.json").write_text(json.dumps(record | {"files": {}}))
