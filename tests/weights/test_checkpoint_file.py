"""Checkpoint files of each format come out as they went in, and nothing in a file can run or take what it
claims.
"""

from __future__ import annotations

import argparse
import gc
import os
import pickle
import resource
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from maskrcnn.errors import UserError
from maskrcnn.weights.checkpoint_file import Checkpoint, read_checkpoint


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "norm.bias": np.linspace(-1, 1, 200, dtype=np.float64),
        "norm.num_batches_tracked": np.array(2**40),
        "half": rng.normal(size=(2, 5)).astype(np.float16),
        "flags": np.array([True, False]),
        "columns": np.asfortranarray(rng.normal(size=(5, 4)).astype(np.float32)),
        "turned": rng.normal(size=(2, 3, 4)).astype(np.float32).transpose(1, 0, 2),
        "swapped": np.arange(6, dtype=">i8").reshape(2, 3),
        "none": np.zeros((0, 4), np.float32),
    }


def states() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(a.astype(a.dtype.newbyteorder("="))) for name, a in arrays().items()}


def check(found: Checkpoint) -> None:
    assert list(found.tensors) == list(arrays())
    for name, array in arrays().items():
        tensor = found.tensors[name]
        assert tensor.numpy().dtype == array.dtype.newbyteorder("=") and tensor.shape == array.shape
        np.testing.assert_array_equal(tensor.numpy(), array)
        tensor.add_(1) if tensor.dtype != torch.bool else tensor.logical_not_()  # its own memory


def refused(path: Path, content: bytes | None = None) -> str:
    """The one line that reading `path` ends in."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(path)) and len(message) < 500
    return message.removeprefix(str(path))


class Call:
    """Pickles as a call of anything."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("old", [False, True], ids=["numpy2", "numpy1"])
def test_a_detectron2_pickle(tmp_path: Path, protocol: int, old: bool) -> None:
    data = {"model": arrays(), "__author__": "Caffe2", "matching_heuristics": True, "iteration": np.int64(7)}
    content = pickle.dumps(data, protocol)
    if old:  # the module's name before NumPy 2, by which the published files ask
        content = content.replace(b"numpy._core.", b"numpy.core.")
        content = content.replace(b"\x8c\x16numpy.core.", b"\x8c\x15numpy.core.")
        content = content.replace(b"\x8c\x13numpy.core.", b"\x8c\x12numpy.core.")
        content = (
            content[:2] + content[11:] if content[2:3] == b"\x95" else content
        )  # the frame's length is wrong now
        assert b"numpy.core" in content
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    found = read_checkpoint(path)
    check(found)
    assert found.extra == {"__author__": "Caffe2", "matching_heuristics": True, "iteration": 7}


def python2(value: Any) -> bytes:
    """What Python 2's cPickle wrote in protocol 2: words and array contents as byte strings."""
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, str):
        return python2(value.encode("latin1"))
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, dict):
        return b"}(" + b"".join(python2(k) + python2(v) for k, v in value.items()) + b"u"
    shape = b"(" + b"".join(python2(n) for n in value.shape) + b"t"
    dtype = (
        b"cnumpy\ndtype\n" + python2(value.dtype.str[1:]) + b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
    )
    dtype += b"J\xff\xff\xff\xffK\x00tb"
    start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return start + b"(K\x01" + shape + dtype + b"\x89" + python2(value.tobytes()) + b"tb"


def test_a_python_2_pickle_of_caffe2_blobs(tmp_path: Path) -> None:
    weights = {"conv1_w": arrays()["conv.weight"], "bn_b": arrays()["norm.bias"]}
    path = tmp_path / "R-50.pkl"
    path.write_bytes(b"\x80\x02" + python2({"blobs": weights | {"lr": 1}, "cfg": "MODEL: x"}) + b".")
    found = read_checkpoint(path)
    assert list(found.tensors) == list(weights) and found.extra == {"lr": 1, "cfg": "MODEL: x"}
    for name, array in weights.items():
        np.testing.assert_array_equal(found.tensors[name].numpy(), array)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("key", ["model", "state_dict", "model_state", None])
def test_torch_files(tmp_path: Path, zipped: bool, key: str | None) -> None:
    state = OrderedDict(
        ("module." + name, torch.nn.Parameter(t, t.is_floating_point())) for name, t in states().items()
    )
    meta = {
        "CLASSES": ("cat", "dog"),
        "epoch": 12,
        "hook": None,
        "times": [1.5, torch.ones(1)],
        "seed": {1: "x"},
    }
    extra = {"meta": meta, "ema": {"w": torch.ones(2)}, "optimizer": {"lr": 0.1}, "iteration": 9}
    path = tmp_path / "model.bin"
    torch.save({key: state, **extra} if key else state, path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path)
    check(found)
    assert not any(t.requires_grad for t in found.tensors.values())
    if key:
        kept = {"CLASSES": ("cat", "dog"), "epoch": 12, "seed": {1: "x"}}
        assert found.extra == {"meta": kept, "ema": {}, "iteration": 9}


def test_safetensors_and_npz(tmp_path: Path) -> None:
    save_file({k: t.contiguous() for k, t in states().items()}, tmp_path / "weights", {"format": "pt"})
    found = read_checkpoint(tmp_path / "weights")
    check(Checkpoint({name: found.tensors[name] for name in arrays()}, {}))
    assert found.extra == {"format": "pt"}
    for number, save in enumerate((np.savez, np.savez_compressed)):
        save(tmp_path / f"{number}.npz", **arrays(), classes=np.array(["cat", "dog"]))
        found = read_checkpoint(str(tmp_path / f"{number}.npz"))
        check(found)
        assert found.extra == {"classes": ["cat", "dog"]}


def test_module_stays_where_not_every_name_has_it(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "x.pth")
    assert list(read_checkpoint(tmp_path / "x.pth").tensors) == ["module.a", "b"]


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_asks_for_more_is_refused_by_name(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "ran"
    for function, name in (
        (os.system, "posix.system"),
        (eval, "eval"),
        (np.load, "numpy.load"),
        (getattr, "getattr"),
    ):
        data = {"model": arrays(), "e": Call(function, f"touch {mark}")}
        for suffix in ("pkl", "pth"):
            assert name in refused(
                tmp_path / f"x.{suffix}" if protocol > 1 else tmp_path / "x.pkl", pickle.dumps(data, protocol)
            )
    assert not mark.exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_torch_file_that_asks_for_more_is_refused_by_name(
    tmp_path: Path, zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, mark = tmp_path / "x.pth", tmp_path / "ran"
    for thing, name in (
        (Call(os.system, f"touch {mark}"), "posix.system"),
        (argparse.Namespace(lr=1), "argparse.Namespace"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
    ):
        torch.save({"model": states(), "args": thing}, path, _use_new_zipfile_serialization=zipped)
        message = refused(path)
        assert name in message and "weights_only" not in message and "resave" in message
    assert not mark.exists()


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl"):
            archive.writestr(f"x/{name}", pickle.dumps({}, 2))
        archive.writestr("x/version", "3")
        archive.writestr("x/code/f.py", "")
    refused(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore")
def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    objects = np.array([{}, 1], dtype=object)
    for protocol in range(2, 6):
        assert "Python objects" in refused(
            tmp_path / "x.pkl", pickle.dumps({"model": {"w": objects}}, protocol)
        )
    np.savez(tmp_path / "x.npz", w=objects)
    assert "Python objects" in refused(tmp_path / "x.npz")
    assert "'U'" in refused(tmp_path / "x.pkl", pickle.dumps({"w": np.array(["a"])}))
    assert "'V'" in refused(tmp_path / "x.pkl", pickle.dumps({"w": np.zeros(1, [("a", "O")])}))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named(tmp_path: Path, bad: float) -> None:
    content = arrays()
    content["half"][1, 2] = content["columns"][0, 0] = bad
    assert ": half holds numbers" in refused(tmp_path / "x.pkl", pickle.dumps({"model": content}))
    torch.save({name: torch.from_numpy(content[name]) for name in ("flags", "half")}, tmp_path / "x.pth")
    assert ": half holds numbers" in refused(tmp_path / "x.pth")


def test_what_is_no_checkpoint_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    assert "no such file" in refused(path)
    assert "is a folder" in refused(tmp_path)
    assert "is empty" in refused(path, b"")
    assert "<!DOCTYPE html>" in refused(path, b"<!DOCTYPE html>\n<html>")
    assert "holds a list" in refused(path, pickle.dumps([1]))
    assert "entries are ema, epoch" in refused(path, pickle.dumps({"ema": arrays(), "epoch": 1}))
    assert "of type int" in refused(path, pickle.dumps({3: arrays()["half"]}))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "")
    assert "notes.txt" in refused(path)
    os.mkfifo(tmp_path / "pipe")
    assert "no such file" in refused(tmp_path / "pipe")
    if os.getuid():
        path.chmod(0)
        assert "Permission denied" in refused(path)


def test_a_number_that_changed_on_the_way_is_said(tmp_path: Path) -> None:
    torch.save(states(), tmp_path / "zip")
    content = bytearray((tmp_path / "zip").read_bytes())
    place = content.index(bytes(next(iter(states().values())).contiguous().numpy().tobytes()[:16]))
    content[place] ^= 1
    (tmp_path / "zip").write_bytes(content)
    assert "does not agree with its checksum" in refused(tmp_path / "zip")


def test_a_truncated_file_is_one_line(tmp_path: Path) -> None:
    with (tmp_path / "npz").open("wb") as file:
        np.savez(file, **arrays())
    (tmp_path / "pkl").write_bytes(pickle.dumps({"model": arrays()}, 2))
    save_file({k: t.contiguous() for k, t in states().items()}, tmp_path / "safetensors")
    torch.save(states(), tmp_path / "zip")
    torch.save(states(), tmp_path / "legacy", _use_new_zipfile_serialization=False)
    for name in ("npz", "pkl", "safetensors", "zip", "legacy"):
        content = (tmp_path / name).read_bytes()
        for length in {*range(1, 40), *range(40, len(content), 97), len(content) - 1}:
            refused(tmp_path / f"{name}.{name}", content[:length])


# --- claims


HUGE = b"\x8a\x05" + (2**31).to_bytes(5, "little")  # 2 GB of bytes
CLAIMS = {
    "ndarray(shape)": b"cnumpy\nndarray\n" + HUGE + b"\x85R",
    "reconstructed": b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + HUGE + b"\x85U\x01b\x87R",
    "bytes(n)": b"c__builtin__\nbytes\n" + HUGE + b"\x85R",
    "bytearray(n)": b"c__builtin__\nbytearray\n" + HUGE + b"\x85R",
    "bytes that do not follow": b"\x8e" + struct.pack("<Q", 2**31) + b"abc",
    "bytearray that does not follow": b"\x96" + struct.pack("<Q", 2**31) + b"abc",
    "word that does not follow": b"\x8d" + struct.pack("<Q", 2**31) + b"abc",
    "frame": b"\x95" + struct.pack("<Q", 2**31) + b"N",
    "integer": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"abc",
    "memo": b"Nr\xff\xff\xff\x7f",
    "memo in words": b"Np2147483647\n",
    "set of": b"c__builtin__\nset\nc__builtin__\nrange\n" + HUGE + b"\x85R\x85R",
    "repeated bytes": b"X" + struct.pack("<I", 1 << 20) + bytes(1 << 20) + b"q\x00]("
    + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 3000 + b"e",
    "repeated list": b"](" + b"".join(b"J" + struct.pack("<i", n) for n in range(100_000)) + b"eq\x00]("
    + b"c__builtin__\nset\nh\x00\x85R" * 3000 + b"e",
    "repeated before it is filled": b"]q\x00(" + b"".join(b"J" + struct.pack("<i", n) for n in range(100_000)) + b"e]("
    + b"c__builtin__\nset\nh\x00\x85R" * 3000 + b"e",
    "list in itself": b"]q\x00" + b"h\x00a" * 100_000,
    "nested tuples": b"}(" + b")" + b"\x85" * 1_000_000 + b"K\x01u",
    "doubled tuples": b"}(" + b")" + b"2\x86" * 60 + b"K\x01u",
    "doubled sets": b"}((" + b"\x912(" * 60 + b"\x91K\x01u",
    "tuples kept by an empty state": b"}(" + b")" + b"\x85Nb" * 300_000 + b"K\x01u",
    "tuples by the memo": b"}(" + b")" + b"\x85q\x000h\x00" * 200_000 + b"K\x01u",
    "keys of one hash": b"}(" + b"".join(b"\x8a\x0e" + (n * (2**61 - 1)).to_bytes(14, "little") + b"N" for n in range(50_000)) + b"u",
    "one array many times": b"X" + struct.pack("<I", 1 << 20) + bytes(1 << 20) + b"q\x00cnumpy\ndtype\nU\x02u1\x85Rq\x01]("
    + b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01J\x00\x00\x10\x00\x85h\x01\x89h\x00tb" * 3000 + b"e",
}  # fmt: skip
ARRAY_CLAIM = python2(np.zeros(3, np.float32)).replace(b"(J\x03\x00\x00\x00t", b"(" + HUGE + b"t")


def limited(path: Path) -> int:
    """Reads `path` in a process of its own that has little memory; its exit code: 0 for a UserError."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    gc.freeze()  # what other tests left behind is not ours to free: PyAV's would wait for threads of the parent
    try:
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20),) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
        read_checkpoint(path)
    except UserError as error:
        code = 2 if "MemoryError" in str(error) else 0
    finally:
        os._exit(code)


@pytest.mark.parametrize("claim", [*CLAIMS, "array"])
def test_a_claim_of_a_pickle_takes_no_memory(tmp_path: Path, claim: str) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02" + CLAIMS.get(claim, ARRAY_CLAIM) + b".")
    assert limited(path) == 0
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:  # torch's own unpickler gets the same
        archive.writestr("x/data.pkl", path.read_bytes())
        archive.writestr("x/version", "3")
    assert limited(tmp_path / "x.pth") == 0


def test_plain_keys_take_time_in_proportion(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    keys = [sign * n << 40 for n in range(1, 2**20) for sign in (1, -1)][:400_000]
    path.write_bytes(pickle.dumps({"w": np.ones(1), "ids": dict.fromkeys(keys)}, 2))
    assert list(read_checkpoint(path).tensors) == ["w"]  # in seconds, not minutes


def test_a_claim_of_a_torch_file_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    huge = b"J" + struct.pack("<i", 2**29)
    for zipped in (False, True):
        torch.save({"w": torch.zeros(5)}, path, _use_new_zipfile_serialization=zipped)
        content = path.read_bytes()
        if zipped:
            with zipfile.ZipFile(path) as archive:
                files = {name: archive.read(name) for name in archive.namelist()}
            for old in (b"K\x05", b"K\x05\x85"):  # storage and shape, and the shape alone
                with zipfile.ZipFile(path, "w") as archive:
                    for name, data in files.items():
                        claimed = data.replace(old, old.replace(b"K\x05", huge))
                        archive.writestr(name, claimed if name.endswith("data.pkl") else data)
                assert limited(path) == 0
        else:
            path.write_bytes(content.replace(b"K\x05", huge))
            assert limited(path) == 0
    torch.save({"w": torch.zeros(1).expand(2**29)}, path)
    assert limited(path) == 0 and "claims to be (536870912,)" in refused(path)


def test_a_claim_of_a_zip_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (536870912,), }"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(20))
    assert limited(path) == 0 and "2147483648 bytes and has 20" in refused(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("w.npy", bytes(80 << 20))
    assert limited(path) == 0 and "would unpack to 83886080" in refused(path)
    head = b'{"w":{"dtype":"F32","shape":[536870912],"data_offsets":[0,2147483648]}}'
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(20))
    assert limited(path) == 0


def test_a_stand_in_cannot_be_altered_for_later(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    for name in (b"numpy\nndarray", b"numpy\ndtype", b"collections\nOrderedDict", b"_codecs\nencode"):
        for state in (b"}U\x05_pathK\x01s", b"N}U\x04_runK\x01s\x86"):
            refused(path, b"\x80\x02c" + name + b"\n" + state + b"b.")
    path.write_bytes(pickle.dumps({"model": OrderedDict(arrays())}, 2))
    check(read_checkpoint(path))


def test_endless_nesting_of_facts_ends(tmp_path: Path) -> None:
    loop: dict[str, Any] = {"w": np.ones(1)}
    loop["self"] = loop
    wide: list[Any] = []
    for _ in range(60):
        wide = [wide, wide]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"model": loop, "wide": wide, "epoch": 1}))
    found = read_checkpoint(tmp_path / "x.pkl")
    assert list(found.tensors) == ["w"] and "wide" not in found.extra and found.extra["epoch"] == 1


# --- fuzz


SEED = [
    pickle.dumps({"model": {"w": np.ones((2, 3), np.float32), "b": np.arange(4)}, "n": np.float32(3), "s": {"a"}}, protocol)
    for protocol in (2, 4, 5)
] + [b"\x80\x02" + python2({"blobs": {"w": np.ones((2, 3), np.float32)}}) + b"."]  # fmt: skip
OPCODES = (
    b"()]}NKJTUXcb0123RtuseaQ.q\x80\x81\x85\x86\x87\x88\x89\x8a\x8c\x8f\x90\x91\x92\x93\x94\x95\x96\xff\x00"
)


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with a few bytes altered, cut out, repeated or put in."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(0, 12))
        piece = draw(
            st.one_of(st.binary(max_size=4), st.lists(st.sampled_from(list(OPCODES)), max_size=6).map(bytes))
        )
        match draw(st.integers(0, 2)):
            case 0:
                content[place : place + len(piece)] = piece
            case 1:
                content[place : place + length] = piece
            case _:
                content[place:place] = content[place : place + length] + piece
    return bytes(content)


def outcome(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        assert isinstance(read_checkpoint(path), Checkpoint)
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith(str(path))


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=mutated(SEED))
@example(content=b"\x80")
@example(content=b"\x80\x02.")
def test_any_pickle_is_a_checkpoint_or_a_user_error(tmp_path: Path, content: bytes) -> None:
    outcome(tmp_path / "x.pkl", content)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_torch_pickle_is_a_checkpoint_or_a_user_error(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "seed"
    torch.save({"model": {"w": torch.ones(2, 3)}, "meta": {"CLASSES": ("a",)}}, path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, data.draw(mutated([content])) if name.endswith("data.pkl") else content)
    outcome(tmp_path / "x.pth", (tmp_path / "x.pth").read_bytes())


def rezipped(path: Path, **contents: bytes) -> Path:
    """The torch file with other entries: data_pkl is what data.pkl holds then."""
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, contents.get(name.rpartition("/")[2].replace(".", "_"), content))
    return path


def one_list_in_many(levels: int) -> bytes:
    """A list that holds another twice, which holds another twice, and so on: 2**levels numbers."""
    return (
        b"]q\x00(K\x01K\x01e"
        if levels == 0
        else b"]q%c(" % levels + one_list_in_many(levels - 1) + b"h%ce" % (levels - 1)
    )


@pytest.mark.parametrize(
    "pickled",
    [
        b"ctorch\nTensor\n" + one_list_in_many(40) + b"\x85R",
        b"ctorch\nSize\n" + one_list_in_many(40) + b"\x85R",
        b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\nTensor\nctorch\nTensor\n"
        + one_list_in_many(40)
        + b"\x85NtR",
        b"ctorch\nTensor\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R",
        b"ctorch.storage\nUntypedStorage\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R",
        b"cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R",
    ],
)
def test_short_pickles_of_much(tmp_path: Path, pickled: bytes) -> None:
    path = tmp_path / "x.pth"
    torch.save({"w": torch.ones(2)}, path)
    refused(rezipped(path, data_pkl=b"\x80\x02" + pickled + b"."))


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_plain_contents_that_torch_saves(tmp_path: Path, zipped: bool) -> None:
    facts = {
        "size": torch.Size([1, 2]),
        "keys": {(1, 2): 3, ("a", 0): torch.ones(1), torch.float32: 1},
        "bytes": [b"a\xff", bytearray(b"b\xff"), bytearray(), {1, 2}, 1 + 2j, -(2**70)],
        "types": [torch.float16, torch.device("cpu"), torch.strided],
        "kinds": [torch.eye(2).to_sparse(), torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)],
        "parameter": torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
    }
    path = tmp_path / "x.pth"
    torch.save(
        {"model": {"w": torch.ones(2)}, "epoch": 3} | facts, path, _use_new_zipfile_serialization=zipped
    )
    found = read_checkpoint(path)
    assert list(found.tensors) == ["w"] and found.extra["epoch"] == 3


def test_many_tuples_of_one_hash_are_no_keys(tmp_path: Path) -> None:
    keys = {tuple(-1 - (n >> bit & 1) for bit in range(12)): n for n in range(2**12)}
    torch.save({"model": {"w": torch.ones(2)}, "keys": keys}, tmp_path / "x.pth")
    assert "a key of type tuple" in refused(tmp_path / "x.pth")


def test_a_pickle_that_only_torch_finds(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"w": torch.ones(2)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    root = next(iter(entries)).partition("/")[0]
    entries[f"{root}/DATA.PKL"] = b"\x80\x02cposix\nsystem\n."
    del entries[f"{root}/data.pkl"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        archive.writestr(f"{root}/other.pkl", b"\x80\x02}.")
    assert "posix.system" in refused(path)


def test_zips_that_two_libraries_read_differently(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"w": torch.ones(2)}, path)
    content = path.read_bytes()
    why = "a zip with something before, between or behind"
    assert why in refused(path, content[:-2] + b"\x03\x00abc")  # a comment
    assert why in refused(path, content[:4] + content)  # what is read is moved
    end = content.rindex(b"PK\x06\x07")
    assert why in refused(path, content[: end + 8] + b"\0" * 8 + content[end + 16 :])  # the long record
    short = content.rindex(b"PK\x05\x06")
    assert why in refused(path, content[: short + 16] + b"\0" * 4 + content[short + 20 :])
    path.write_bytes(content)
    assert list(read_checkpoint(path).tensors) == ["w"]


def test_a_torch_file_without_checksums(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(states(), tmp_path / "model.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    check(read_checkpoint(tmp_path / "model.pth"))
