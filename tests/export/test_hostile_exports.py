"""Exported folders that strangers hand over: nothing in them runs unasked, and nothing outside is read."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from exported import no_images_of, small_network

from maskrcnn.cli.main import main
from maskrcnn.errors import UserError
from maskrcnn.export import cached
from maskrcnn.export.cached import export_cached
from maskrcnn.predict.predictor import predict
from maskrcnn.runtime.engine import open_export
from maskrcnn.runtime.onnx_file import refuse_external_data


class Touch:
    """Pickles as a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def touching(ran: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Touch(ran), buffer)
    return buffer.getvalue()


def inputs(archive: dict[str, bytes], ran: Path) -> list[tuple[str, bytes]]:
    """The pickled sample inputs."""
    return [(name, touching(ran) if "sample_inputs" in name else data) for name, data in archive.items()]


def twice(archive: dict[str, bytes], ran: Path) -> list[tuple[str, bytes]]:
    """A second entry of the same name behind a harmless one."""
    name = next(name for name in archive if "sample_inputs" in name)
    return [*archive.items(), (name, touching(ran))]


def expression(archive: dict[str, bytes], ran: Path) -> list[tuple[str, bytes]]:
    """A shape that is evaluated as Python."""
    name = next(name for name in archive if name.endswith("models/model.json"))
    before, key, after = archive[name].decode().partition('"expr_str": "')
    rest = after[after.index('"') :]
    code = f"__import__('pathlib').Path('{ran}').touch()"
    return [*(archive | {name: (before + key + code + rest).encode()}).items()]


@pytest.mark.parametrize("trick", [inputs, twice, expression])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_pt2_runs_nothing_unless_it_is_trusted(
    exports: dict[str, Path], tmp_path: Path, trick: Callable[[dict[str, bytes], Path], Any]
) -> None:
    folder, ran = tmp_path / "export", tmp_path / "ran"
    shutil.copytree(exports["torch"], folder)
    with zipfile.ZipFile(folder / "model.pt2") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / "model.pt2", "w") as archive:
        for name, data in trick(entries, ran):
            archive.writestr(name, data)
    with pytest.raises(UserError, match=r"is code.*--trust-code \(Python: trust_code=True\)"):
        open_export(folder)
    assert not ran.exists()
    with pytest.raises(UserError, match="not readable as a PyTorch program"):
        open_export(folder, trust_code=True)
    assert ran.exists()  # the control: it would have


def test_a_pt2_is_not_opened_unless_it_is_trusted(
    exports: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    arguments = [str(exports["torch"]), str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]
    assert main(["predict", *arguments, "--trust-code"]) == 0
    capsys.readouterr()

    def fail(*given: object) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr(torch.export, "load", fail)
    monkeypatch.setattr(zipfile, "ZipFile", fail)
    for command in (["predict", *arguments], ["evaluate", str(exports["torch"]), "synthetic"]):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "--trust-code" in error


def spoil_onnx(source: Path, folder: Path, location: str, within: str = "graph", **options: object) -> None:
    """An exported folder whose largest tensor is kept at `location`; ok.bin has its bytes."""
    onnx = pytest.importorskip("onnx")
    shutil.copytree(source, folder)
    model = onnx.load(folder / "model.onnx")
    tensor = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    (folder / "ok.bin").write_bytes(tensor.raw_data)
    outside = onnx.TensorProto()
    outside.CopyFrom(tensor)
    outside.ClearField("raw_data")
    outside.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **options}.items():
        entry = outside.external_data.add()
        entry.key, entry.value = key, str(value)
    if within == "graph":
        tensor.CopyFrom(outside)
    elif within == "constant":
        model.graph.initializer.remove(tensor)
        node = onnx.helper.make_node("Constant", [], [tensor.name])
        node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(outside)
        model.graph.node.insert(0, node)
    elif within == "branch":
        branch = onnx.helper.make_graph([], "b", [], [])
        branch.initializer.add().CopyFrom(outside)
        model.graph.node.append(onnx.helper.make_node("If", ["valid"], [], then_branch=branch))
    elif within == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(outside)
    else:
        function = model.functions.add(name="f", domain="d")
        node = onnx.helper.make_node("Constant", [], ["x"])
        node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(outside)
        function.node.append(node)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


OUTSIDE: dict[str, dict[str, object]] = {
    "absolute": {"location": "{secret}"},
    "above": {"location": "../secret.bin"},
    "above and down": {"location": "sub/../../secret.bin"},
    "link": {"location": "link.bin"},
    "linked folder": {"location": "linked/secret.bin"},
    "hard link": {"location": "hard.bin"},
    "huge offset": {"location": "ok.bin", "offset": 2**62},
    "negative offset": {"location": "ok.bin", "offset": -4096},
    "huge length": {"location": "ok.bin", "length": 2**62},
    "past its end": {"location": "ok.bin", "offset": 64},
    "endless": {"location": "/dev/zero"},
    "memory": {"location": "/proc/self/mem", "offset": 4096},
    "an address": {"location": "*/_ORT_MEM_ADDR_/*", "offset": 12345678, "length": 64},
    "address on the network": {"location": "file://host/secret.bin"},
    "backslashes": {"location": "..\\secret.bin"},
    "no name": {"location": ""},
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_tensor_of_another_file_is_refused(exports: dict[str, Path], tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    secret, folder = tmp_path / "secret.bin", tmp_path / "export"
    secret.write_bytes(bytes(2**21))
    options = {k: str(v).format(secret=secret) for k, v in OUTSIDE[name].items()}
    spoil_onnx(exports["onnx"], folder, **options)  # type: ignore[arg-type]
    (folder / "link.bin").symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path)
    os.link(secret, folder / "hard.bin")
    for engine in ("onnxruntime", "openvino"):
        with pytest.raises(UserError, match="refused: a tensor in it is kept in another file"):
            open_export(folder, engine)


@pytest.mark.parametrize("within", ["constant", "branch", "sparse", "function"])
def test_a_tensor_of_another_file_is_found_wherever_it_hides(
    exports: dict[str, Path], tmp_path: Path, within: str
) -> None:
    if "onnx" not in exports:
        pytest.skip("onnx is not installed")
    spoil_onnx(exports["onnx"], tmp_path / "export", "ok.bin", within)
    with pytest.raises(UserError, match="kept in another file"):
        refuse_external_data(tmp_path / "export" / "model.onnx")


def test_damaged_onnx_files_are_one_line(exports: dict[str, Path], tmp_path: Path) -> None:
    if "onnx" not in exports:
        pytest.skip("onnx is not installed")
    whole, path = (exports["onnx"] / "model.onnx").read_bytes(), tmp_path / "model.onnx"
    generator = np.random.default_rng(0)
    damaged = [b"", b"\x0b", b"\x3a\xff\xff\xff\xff\x0f", b"\xff" * 20, whole[:-1], generator.bytes(300)]
    deep = b""
    for _ in range(400):  # a branch in a branch in a branch
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            size, rest = b"", len(deep)
            while rest > 127:
                size, rest = size + bytes([rest & 127 | 128]), rest >> 7
            deep = tag + size + bytes([rest]) + deep
    damaged.append(b"\x3a\x03" + deep)
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"model\.onnx: (not readable as ONNX|refused)"):
            refuse_external_data(path)


WEIGHTS: dict[str, Callable[[int, int, int], str]] = {
    "huge offset": lambda offset, size, whole: f'offset="{2**62}" size="{size}"',
    "negative offset": lambda offset, size, whole: f'offset="-4096" size="{size}"',
    "offset that overflows": lambda offset, size, whole: f'offset="{2**64 - 1}" size="{size}"',
    "huge size": lambda offset, size, whole: f'offset="{offset}" size="{2**62}"',
    "past the end": lambda offset, size, whole: f'offset="{whole - 10}" size="{size}"',
    "too small": lambda offset, size, whole: f'offset="{offset}" size="4"',
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_openvino_reads_no_weights_outside_its_file(
    exports: dict[str, Path], tmp_path: Path, name: str
) -> None:
    import re

    pytest.importorskip("openvino")
    folder = tmp_path / "export"
    shutil.copytree(exports["openvino"], folder)
    text, whole = (folder / "model.xml").read_text(), (folder / "model.bin").stat().st_size
    places = re.finditer(r'offset="(\d+)" size="(\d+)"', text)
    largest = max(places, key=lambda place: int(place[2]))
    told = WEIGHTS[name](int(largest[1]), int(largest[2]), whole)
    (folder / "model.xml").write_text(text.replace(largest[0], told))
    with pytest.raises(UserError, match="OpenVINO cannot read it"):
        open_export(folder)


@pytest.mark.parametrize("target", ["openvino", "onnx", "torch"])
def test_a_graph_that_leads_out_of_its_folder_is_refused(
    exports: dict[str, Path], tmp_path: Path, target: str
) -> None:
    if target not in exports:
        pytest.skip(f"{target} is not installed")
    folder, name = tmp_path / "export", {"openvino": "model.bin", "onnx": "model.onnx", "torch": "model.pt2"}
    shutil.copytree(exports[target], folder)
    graph = folder / name[target]
    graph.rename(tmp_path / "elsewhere")
    graph.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="leads out of its folder"):
        open_export(folder, trust_code=True)


@pytest.mark.parametrize(
    ("target", "change", "said"),
    [
        ("onnx", {"outputs": ["boxes", "scores", "labels", "valid"]}, "inputs or outputs"),
        ("onnx", {"inputs": []}, "inputs or outputs"),
        ("onnx", {"sides": {"least": 96, "most": 10**9, "multiple": 32}}, "sides do not fit"),
        ("onnx", {"sides": {"least": 320000, "most": 16384, "multiple": 32}}, "sides do not fit"),
        ("onnx", {"sides": {"least": 96, "most": 16384, "multiple": 7}}, "sides do not fit"),
    ],
)
def test_a_record_of_another_graph_is_refused(
    exports: dict[str, Path], tmp_path: Path, target: str, change: dict[str, object], said: str
) -> None:
    if target not in exports:
        pytest.skip(f"{target} is not installed")
    folder = tmp_path / "export"
    shutil.copytree(exports[target], folder)
    record = json.loads((folder / "export.json").read_text())
    (folder / "export.json").write_text(json.dumps(record | change))
    with pytest.raises(UserError, match=said):
        open_export(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["a"], "class_ids": []},
        {"keypoints": {"names": ["a"], "flip": [0], "sigmas": [0.1]}},
    ],
)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_graph_of_other_settings_is_refused_when_it_answers(
    exports: dict[str, Path], tmp_path: Path, engine: str, change: dict[str, object]
) -> None:
    pytest.importorskip(engine)
    folder = tmp_path / "export"
    shutil.copytree(exports["onnx"], folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | change))
    with pytest.raises(UserError, match="its settings are another model's"):
        open_export(folder, engine)(*no_images_of(1, 96, 128), -1.0)


def test_the_cache_of_engines_is_used_only_where_nobody_else_writes(
    exports: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "onnx" not in exports:
        pytest.skip("onnx is not installed")
    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path))
    made = []

    def export(model: object, to: str, out: Path, **options: object) -> Path:
        made.append(out)
        shutil.copytree(exports["onnx"], out)
        (out / "model.onnx").chmod(0o664)  # as some umasks have it
        return out

    monkeypatch.setattr(cached, "export", export)
    network = small_network()
    folder = export_cached(network, "onnx", made.append)
    assert export_cached(network, "onnx", made.append) == folder and len(made) == 2  # told, and made once
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    for loose in (folder, folder / "model.onnx", folder / "config.json"):
        made.clear()
        loose.chmod(0o777)
        assert export_cached(network, "onnx", made.append) == folder and len(made) == 2
        assert not any(place.stat().st_mode & 0o022 for place in (folder, *folder.iterdir()))
    folder.parent.chmod(0o777)
    with pytest.raises(UserError, match=r"others may write to it.*MASKRCNN_CACHE"):
        export_cached(network, "onnx", made.append)
    folder.parent.chmod(0o700)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(UserError, match="others may write to it"):
        export_cached(network, "onnx", made.append)


ODD = [None, [], {}, "words", -1, 0, 0.5, 7, 10**30, 1e300, True, [1], [[1]]]


def places(inside: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in inside.items() if isinstance(inside, dict) else enumerate(inside):
        yield (*above, key)
        if isinstance(value, dict | list):
            yield from places(value, (*above, key))


@pytest.mark.parametrize("name", ["export.json", "config.json"])
def test_json_with_any_value_is_read_or_one_line(exports: dict[str, Path], tmp_path: Path, name: str) -> None:
    if "onnx" not in exports:
        pytest.skip("onnx is not installed")
    folder, draw = tmp_path / "export", random.Random(0)
    shutil.copytree(exports["onnx"], folder)
    whole = (folder / name).read_text()
    found = [place for place in places(json.loads(whole)) if place[0] != "verified"]
    for place in draw.sample(found, min(len(found), 20)):
        content = inner = json.loads(whole)
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = draw.choice(ODD)
        (folder / name).write_text(json.dumps(content))
        try:
            predict(open_export(folder), np.zeros((40, 60, 3), np.uint8), score=0.0)
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000
