"""Predictions in parts: every image once, whatever is killed, and nothing mixed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from blob_model import BlobModel, blobs
from fixed_model import FixedModel, image
from hypothesis import given
from hypothesis import strategies as st
from photos import photos
from PIL import Image

from maskrcnn.cli.main import main
from maskrcnn.errors import DataError, UserError
from maskrcnn.instances import Instances
from maskrcnn.predict.augment import Augmented
from maskrcnn.predict.predictor import predict
from maskrcnn.scale.addresses import find_addresses
from maskrcnn.scale.batch_predictor import BatchPredictor
from maskrcnn.scale.limit import read_limit
from maskrcnn.scale.parts import NAME, Run, ShardSummary, missing_blocks, read_run
from maskrcnn.scale.rows import coco_results
from maskrcnn.scale.shards import predict_shard

pytest.importorskip("pyarrow")


def run(folder: Path, out: Path, **options: Any) -> ShardSummary:
    model = options.pop("model", None) or BlobModel()
    score = options.pop("score", 0.5)
    predictor = BatchPredictor(model, score=score)
    return predict_shard(predictor, find_addresses([str(folder)]), out, **{"block": 3, **options})


def parts(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def rows_of(out: Path) -> list[dict[str, Any]]:
    there = read_run(out)
    return [row for block in there.blocks for row in there.rows(block)]


def test_shards_together_write_what_one_process_does(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 11)
    whole = run(folder, tmp_path / "whole")
    shares = [run(folder, tmp_path / "shares", shard=(k, 3)) for k in (2, 3, 1)]
    assert whole.images == sum(share.images for share in shares) == 11
    assert parts(tmp_path / "whole") == parts(tmp_path / "shares") and len(parts(tmp_path / "whole")) == 5
    assert [row["id"] for row in rows_of(tmp_path / "whole")] == list(range(1, 12))


def test_rows_are_what_predict_finds(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 4, broken=(2,))
    assert run(folder, tmp_path / "out").failures == 1
    ids = read_run(tmp_path / "out").category_ids()
    assert ids == {"blob": 1}
    for row in rows_of(tmp_path / "out"):
        if row["id"] == 3:
            assert row["error"].startswith("not an image of a known format") and row["boxes"] is None
            assert coco_results(row, ids) == []
            continue
        found = predict(BlobModel(), Path(row["address"]))
        assert coco_results(row, ids) == found.to_coco(row["id"]) and len(found) > 0
        assert (row["height"], row["width"], row["error"]) == (40, 50, None)


def test_rows_hold_keypoints_and_ranks_of_masks_too() -> None:
    from maskrcnn.scale.rows import found_row

    found = predict(FixedModel(), image(), score=0.1)
    found.mask_scores, found.keypoint_scores = found.scores * np.float32(0.5), found.scores * np.float32(0.3)
    assert coco_results({"id": 7} | found_row(found), {"cat": 1, "dog": 2}) == found.to_coco(7)
    assert isinstance(found, Instances) and len(found) == 3
    nothing = predict(FixedModel(), image(), score=1.0)
    assert nothing.keypoints is not None and nothing.keypoints.shape == (0, 2, 3)
    assert coco_results({"id": 8} | found_row(nothing), {"cat": 1, "dog": 2}) == nothing.to_coco(8) == []


def test_a_restart_does_what_is_missing(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "photos", 10), tmp_path / "out"
    run(folder, out)
    before = parts(out)
    there = read_run(out)
    there.part(1).unlink()
    (out / ".part-000001.abcd.tmp").write_bytes(b"half")
    model = BlobModel()
    summary = run(folder, out, model=model)
    assert model.seen == 3 and (summary.images, summary.resumed) == (10, 7)
    assert {name: data for name, data in parts(out).items() if not name.startswith(".")} == before


def test_a_stop_in_the_midst_costs_a_block(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "photos", 10), tmp_path / "out"

    class Killed(BlobModel):
        def forward(self, images: torch.Tensor, sizes: torch.Tensor) -> Any:
            if self.seen == 5:
                raise SystemExit(143)
            return super().forward(images, sizes)

    with pytest.raises(SystemExit) as stop:
        run(folder, out, model=Killed())
    assert stop.value.__notes__ == [f"3 of 10 images are done: {out}; the same command goes on"]
    model = BlobModel()
    assert run(folder, out, model=model).resumed == 3 and model.seen == 7


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"score": 0.6}, "score"),
        ({"block": 4}, "block"),
        ({"model": Augmented(BlobModel())}, "augmentation"),
        ({"model": FixedModel()}, "category_ids and model settings"),
    ],
)
def test_mixed_settings_are_refused(tmp_path: Path, change: dict[str, Any], differs: str) -> None:
    folder = photos(tmp_path / "photos", 4)
    run(folder, tmp_path / "out", shard=(1, 2))
    with pytest.raises(UserError, match=f"other {differs}"):
        run(folder, tmp_path / "out", shard=(2, 2), **change)


def test_another_list_is_refused(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 4)
    run(folder, tmp_path / "out", shard=(1, 2))
    (folder / "000.png").rename(folder / "009.png")
    with pytest.raises(UserError, match="other list of images"):
        run(folder, tmp_path / "out", shard=(2, 2))


def test_a_part_of_another_run_is_refused(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 4)
    run(folder, tmp_path / "out")
    run(folder, tmp_path / "other", score=0.6)
    part = next((tmp_path / "other").glob("part-*"))
    shutil.copy(part, tmp_path / "out")
    with pytest.raises(UserError, match=f"{part.name}: is of another run"):
        run(folder, tmp_path / "out")


def test_too_many_failures_stop(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 12, broken=(1, 4, 7))
    assert run(folder, tmp_path / "all", limit=read_limit("25%")).failures == 3
    with pytest.raises(
        DataError, match="stopped: 2 images of 12 could not be read, more than --max-failures 1"
    ):
        run(folder, tmp_path / "few", limit=read_limit("1"))
    there = read_run(tmp_path / "few")
    assert missing_blocks(there) == [2, 3]


@pytest.mark.parametrize("text", ["", "-1", "101%", "nan%", "1.5", "x", "1%%"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="give a number of images, or a share such as 1%"):
        read_limit(text)


@pytest.mark.parametrize("damage", ["short", "empty", "other"])
def test_a_damaged_part_is_named(tmp_path: Path, damage: str) -> None:
    folder, out = photos(tmp_path / "photos", 6), tmp_path / "out"
    run(folder, out)
    part = read_run(out).part(1)
    data = part.read_bytes()
    contents = {"short": data[: len(data) // 2], "empty": b"", "other": read_run(out).part(0).read_bytes()}
    part.write_bytes(contents[damage])
    with pytest.raises(DataError, match=f"{part.name}: .*remove it"):
        list(read_run(out).rows(1))
    if damage != "other":
        with pytest.raises(DataError, match=f"{part.name}: .*remove it"):
            run(folder, out)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"images": -1, "block": 2, "category_ids": {}}'])
def test_a_damaged_description_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(UserError, match=NAME):
        read_run(tmp_path)


@given(st.integers(1, 500), st.integers(1, 60), st.integers(1, 20))
def test_every_image_is_in_one_block_of_one_shard(images: int, block: int, shards: int) -> None:
    run_ = Run(Path(), {"images": images, "block": block})
    places = [p for k in range(shards) for number in run_.blocks[k::shards] for p in run_.places(number)]
    assert sorted(places) == list(range(images))


def test_a_batch_of_rows_gives_a_batch_of_rows(tmp_path: Path) -> None:
    import pyarrow as pa

    folder = photos(tmp_path / "photos", 3, broken=(1,))
    paths = [str(path) for path in sorted(folder.iterdir())]
    predictor = BatchPredictor(BlobModel(), batch=2)
    by_path = predictor({"path": paths, "id": ["a", "b", "c"]})
    given = pa.table({"address": paths, "bytes": [Path(path).read_bytes() for path in paths]})
    by_bytes = predictor(given)
    assert by_path.drop_columns("id").equals(by_bytes.drop_columns("id"))
    assert by_path["id"].to_pylist() == ["a", "b", "c"] and by_bytes["id"].to_pylist() == [None] * 3
    assert [error is None for error in by_path["error"].to_pylist()] == [True, False, True]
    assert predictor(given.to_batches()[0]).equals(by_bytes)
    with pytest.raises(UserError, match="need a column 'address', 'path' or 'bytes'"):
        predictor({"id": [1]})


def test_rows_of_pandas_give_rows_of_pandas(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    folder = photos(tmp_path / "photos", 2)
    frame = pandas.DataFrame({"address": [str(path) for path in sorted(folder.iterdir())]}, index=[5, 9])
    found = BatchPredictor(BlobModel())(frame)
    assert list(found["names"].map(len)) == [len(one) for one in found["boxes"]] and len(found) == 2


def test_a_large_image_goes_in_tiles(tmp_path: Path) -> None:
    pixels, count = blobs(90, 200)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    predictor = BatchPredictor(BlobModel(), tiles=64)
    (row,) = predictor.rows([{"address": str(tmp_path / "large.png")}])
    assert len(row["scores"]) == count


def test_addresses_of_other_file_systems(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 3)
    (folder / "film.mov").touch()
    here = find_addresses([str(folder)])
    there = find_addresses([f"file://{folder}/"])
    names = list(zip(here.between(range(3)), there.between(range(3)), strict=True))
    assert all(there == f"file://{here}" for here, there in names)
    assert [Path(name).name for name in there.passed_over] == ["film.mov"]
    rows = [BatchPredictor(BlobModel()).rows([{"address": name}])[0] for name in names[0]]
    assert rows[0] | {"address": ""} == rows[1] | {"address": ""}
    missing = BatchPredictor(BlobModel()).rows([{"address": f"file://{folder}/none.png"}])
    assert missing[0]["error"] == "no such file; check the name"
    with pytest.raises(UserError, match="on the network.*--allow-network"):
        BatchPredictor(BlobModel()).rows([{"address": "s3://bucket/one.png"}])
    with pytest.raises(UserError, match="on the network.*--allow-network"):
        find_addresses(["s3://bucket/"])


def test_a_range_of_values_is_the_predictors_own(tmp_path: Path) -> None:
    model = BlobModel()
    Image.fromarray(blobs(60, 80)[0][..., 0].astype(np.uint16) * 10).save(tmp_path / "a.png")
    (seen,) = BatchPredictor(model, value_range=(0, 2000)).rows([{"address": str(tmp_path / "a.png")}])
    (dark,) = BatchPredictor(model).rows([{"address": str(tmp_path / "a.png")}])
    assert model.config.input.value_range is None and len(seen["boxes"]) > 0 == len(dark["boxes"])
    for wrong in ((5, 1), (0, float("nan")), 3):
        with pytest.raises(UserError, match=r"BatchPredictor: .*value_range"):
            BatchPredictor(model, value_range=wrong)  # type: ignore[arg-type]


def test_names_in_folders_of_other_machines_are_escaped(tmp_path: Path) -> None:
    (folder := tmp_path / "photos").mkdir()
    for number, name in enumerate(["aA.png", "a%41.png", "a b.png", "50%.png", "a#1.png", "b?x=1.png"]):
        Image.fromarray(blobs(60, 80, seed=number)[0]).save(folder / name)
    found = find_addresses([f"file://{folder}/"])
    rows = BatchPredictor(BlobModel()).rows([{"address": one} for one in found.between(range(6))])
    here = BatchPredictor(BlobModel()).rows([{"address": str(path)} for path in sorted(folder.iterdir())])
    digests = {unquote(Path(row["address"]).name): row["sha256"] for row in rows}
    assert digests == {Path(row["address"]).name: row["sha256"] for row in here}
    rows = BatchPredictor(BlobModel()).rows(
        [{"address": f"file://{folder}/{name}"} for name in ("a b.png", "50%.png", "aA.png")]
    )
    assert [row.get("error") is None for row in rows] == [False, False, True]
    assert "no address that can be opened" in rows[0]["error"] and "a space as %20" in rows[0]["error"]
    with pytest.raises(UserError, match="no address that can be opened"):
        find_addresses([f"file://{folder}/a b/"])


def test_one_file_by_two_paths_is_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path / "photos", 2)
    monkeypatch.chdir(tmp_path)
    listed = ["photos/000.png", "./photos/000.png", "s3://b/a.png", "s3://b//a.png"]
    found = find_addresses([str(tmp_path / "photos"), "photos"], listed)
    assert (len(found), found.doubled) == (4, 2)
    assert {Path(one).name for one in found.between(range(4))} == {"000.png", "001.png", "a.png"}


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read")
def test_a_disk_that_fails_is_no_images_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends, and goes on when the disk is back; no row says that the image is damaged."""
    monkeypatch.setattr("maskrcnn.cli.predict_shards.load_runner", lambda *_, **__: BlobModel())
    folder, out = photos(tmp_path / "photos", 5), tmp_path / "out"
    (folder / "003.png").rename(tmp_path / "away.png")
    (folder / "003.png").symlink_to("/proc/self/mem")  # its first byte is an Input/output error
    command = ["predict", "m", str(folder), "--out", str(out), "--block", "2", "--shard", "1/1"]
    assert main(command) == 2
    line = capsys.readouterr().err
    assert "003.png: Input/output error; check the disk" in line and line.count("\n") == 1
    assert missing_blocks(read_run(out)) == [1, 2]
    (tmp_path / "away.png").replace(folder / "003.png")
    assert main(command) == 0
    assert "2 of them were done before" in capsys.readouterr().err
    assert [row["error"] for block in range(3) for row in read_run(out).rows(block)] == [None] * 5


def test_a_store_that_does_not_answer_ends_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(address: str, allow_network: bool) -> Any:
        raise OSError("AWS Error NETWORK_CONNECTION during HeadBucket\ntwice")

    for place in ("remote", "addresses"):
        monkeypatch.setattr(f"maskrcnn.scale.{place}.open_filesystem", unreachable)
    line = (
        "cannot be reached .AWS Error NETWORK_CONNECTION during HeadBucket twice.; the same command goes on"
    )
    with pytest.raises(UserError, match=f"s3://bucket/one.png: {line}"):
        BatchPredictor(BlobModel(), allow_network=True).rows([{"address": "s3://bucket/one.png"}])
    with pytest.raises(UserError, match=f"s3://bucket/: {line}"):
        find_addresses(["s3://bucket/"], allow_network=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_nothing_waits_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (row,) = BatchPredictor(BlobModel()).rows([{"address": str(tmp_path / "a.png")}])
    assert row["error"] == "a pipe or a device, no file; save it as a file first"


def test_who_gives_out_the_work_needs_no_pytorch() -> None:
    script = "import sys, maskrcnn.scale.ray_data, maskrcnn.cli.predict; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"


def test_a_list_is_sorted_and_has_each_once() -> None:
    found = find_addresses([], ["b.png", "a.png", "b.png", "s3://x/y.png"])
    assert found.between(range(3)) == ["a.png", "b.png", "s3://x/y.png"]
    assert (len(found), found.doubled) == (3, 1)
    for name in ("\udcff.png", "a\0.\0p\0n\0g\0"):  # bytes that are no UTF-8; a list in UTF-16
        with pytest.raises(UserError, match="is no text"):
            find_addresses([], [name])


@pytest.mark.skipif(sys.platform == "win32", reason="needs links and names of POSIX")
def test_what_a_path_is_to_blame_for_is_a_row(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 2)
    (folder / "loop.png").symlink_to("loop.png")
    paths = [
        str(folder / name) for name in ("000.png", "loop.png", "x" * 300, "001.png/x.png", "a\0b", "001.png")
    ]
    errors = [
        row.get("error") for row in BatchPredictor(BlobModel()).rows([{"address": path} for path in paths])
    ]
    assert errors[0] is errors[-1] is None and all(errors[1:-1])
    assert "use a shorter path" in str(errors[2]) and "write the list as UTF-8" in str(errors[4])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"path": [5]}, "column 'path' holds int64; it must hold text"),
        ({"address": [b"a.png"]}, "column 'address' holds binary; it must hold text"),
        ({"id": [1], "bytes": ["abc"]}, "column 'bytes' holds string; it must hold a file's bytes"),
        ({"bytes": [[1, 2]]}, "it must hold a file's bytes"),
    ],
)
def test_columns_of_other_things_are_refused(rows: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        BatchPredictor(BlobModel())(rows)


@pytest.mark.parametrize("rows", [{"path": []}, {"bytes": np.array([])}, {"bytes": [None], "path": [None]}])
def test_rows_of_nothing_are_rows(rows: dict[str, Any]) -> None:
    found = BatchPredictor(BlobModel())(rows)
    assert len(found) == len(next(iter(rows.values()))) == len(found["error"].drop_null())


def test_no_image_at_all_is_refused() -> None:
    with pytest.raises(UserError, match="no images given"):
        find_addresses([])


def test_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("maskrcnn.cli.predict_shards.load_runner", lambda *_, **__: BlobModel())
    folder, out = photos(tmp_path / "photos", 5, broken=(4,)), tmp_path / "out"
    command = ["predict", "m", str(folder), "--out", str(out), "--block", "2"]
    assert main([*command, "--shard", "1/2"]) == 3
    assert "skipped 1 image that could not be read" in capsys.readouterr().err
    assert main([*command, "--shard", "2/2"]) == 0
    assert "predicted 2 images of 5" in capsys.readouterr().out
    assert main([*command, "--shard", "1/2", "--max-failures", "50%"]) == 0
    assert main([*command, "--shard", "1/2", "--max-failures", "1%"]) == 3
    assert json.loads((out / NAME).read_text())["images"] == 5
    for wrong, line in {
        ("--shard", "0/2"): "write it as 1/4",
        ("--shard", "1/2", "--save", "csv"): "--save: has no effect",
        ("--shard", "1/2", "--ray", "local"): "--ray shares out the work itself",
        ("--shard", "1/2", "--value-range", "auto"): "give the two numbers",
        ("--max-failures", "1"): "is for --shard and --ray",
    }.items():
        assert main([*command, *wrong]) == 2
        assert line in capsys.readouterr().err
