"""`maskrcnn check`: each defect is found, counted and named; a clean set is clean; nothing is changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnn.check import run
from maskrcnn.check.advice import advise
from maskrcnn.check.auto import choose
from maskrcnn.check.findings import Finding, Findings
from maskrcnn.check.fix import write_fixed
from maskrcnn.check.images import inspect_image
from maskrcnn.check.kinds import CheckKind
from maskrcnn.check.length import Cost
from maskrcnn.check.report import Report
from maskrcnn.check.run import check, write_reports
from maskrcnn.check.statistics import describe
from maskrcnn.cli.main import main
from maskrcnn.config.load import Config, load_config
from maskrcnn.errors import DataError, UserError
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.readers.coco import read_coco
from maskrcnn.labels.subset import Subset
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Dataset, LabelledImage
from maskrcnn.labels.writers.coco import write_coco


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clean data set: 30 images to train on, 8 others."""
    root = tmp_path / "data"
    write_coco(Synthetic(30, seed=1), root / "train.json", root / "train")
    write_coco(Synthetic(8, seed=2), root / "val.json", root / "val")
    return root


def edit(root: Path, change, split: str = "train") -> None:
    path = root / f"{split}.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def found(root: Path, **options) -> dict[str, object]:
    report = check(str(root), measured=False, **options)
    return {finding.text: finding for finding in report.findings}


def test_a_clean_set_has_no_errors(folder: Path) -> None:
    report = check(str(folder), measured=False)
    assert report.exit_code == 0 and report.findings.errors == 0
    assert not [f.text for f in report.findings if "anchor" not in f.text]
    train = report.statistics["train"]
    assert train.images == 30 and train.objects == sum(train.classes.values()) == train.with_mask
    assert sum(train.sizes.values()) == train.objects
    assert report.statistics["val"].images == 8


def test_the_classes_of_the_recipe_are_those_that_are_checked(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("data:\n  classes: [circle]\n")
    every = check(str(folder), measured=False).statistics["train"].classes
    assert len(every) > 1
    report = check(str(folder), measured=False, recipe=str(path))
    assert report.statistics["train"].classes == {"circle": every["circle"]}
    assert "data.classes" not in report.advice.command and str(path) in report.advice.command
    out = tmp_path / "report.json"
    command = ["check", str(folder), "--no-steps", "--json", str(out), "--recipe", str(path)]
    assert main(command) == 0 and list(json.loads(out.read_text())["statistics"]["train"]["classes"]) == [
        "circle"
    ]
    assert main([*command, "--set", "data.classes=[triangle]"]) == 0
    report = json.loads(out.read_text())
    assert list(report["statistics"]["train"]["classes"]) == ["triangle"]
    assert 'data.classes=["triangle"]' in report["advice"]["command"]
    assert main([*command, "--set", "data.classes=[]"]) == 0
    assert json.loads(out.read_text())["statistics"]["train"]["classes"] == every


def test_a_class_that_the_recipe_does_not_name_is_an_error(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model:\n  classes: [circle]\ntrain:\n  trunk: mobilenetv2-imagenet\n")
    report = check(str(folder), recipe=str(path))
    unknown = [finding for finding in report.findings if finding.kind is CheckKind.NOT_OF_RECIPE]
    assert unknown and unknown[0].severity == "error" and "circle" not in unknown[0].line
    others = sorted(report.statistics["train"].classes, reverse=True)
    path.write_text(f"model:\n  classes: {json.dumps(others)}\n")  # another order is measured
    assert check(str(folder), recipe=str(path)).advice.seconds_per_image > 0


def test_statistics_by_hand(tmp_path: Path) -> None:
    Image.new("RGB", (100, 80)).save(tmp_path / "a.png")
    Image.new("RGB", (100, 80)).save(tmp_path / "b.png")
    images = [{"id": i, "file_name": f"{n}.png", "height": 80, "width": 100} for i, n in ((1, "a"), (2, "b"))]
    box = {"image_id": 1, "category_id": 3, "iscrowd": 0}
    annotations = [
        {"id": 1, "bbox": [0, 0, 10, 40], "area": 400, **box},
        {"id": 2, "bbox": [5, 5, 64, 64], "area": 4096, **box},
        {"id": 3, "bbox": [0, 0, 5, 5], "area": 25, **(box | {"iscrowd": 1})},
    ]
    categories = [{"id": 3, "name": "thing"}, {"id": 4, "name": "other"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "x.json").write_text(json.dumps(document))
    stats = describe(read_coco(tmp_path / "x.json"))
    assert (stats.images, stats.empty, stats.objects, stats.crowds, stats.with_mask) == (2, 1, 2, 1, 0)
    assert stats.classes == {"thing": 2, "other": 0} and stats.sizes == {"small": 1, "medium": 1, "large": 0}
    assert stats.loose == 0 and stats.sides[2] == 42 and stats.ratios[0] < 4 and stats.most_in_image == 2


def test_images_that_cannot_be_used(folder: Path) -> None:
    files = sorted((folder / "train").glob("*.png"))
    files[3].write_bytes(files[3].read_bytes()[:300])
    with Image.open(files[5]) as image:
        image.convert("P").save(files[5])
    Image.fromarray(np.full((128, 160), 3000, np.uint16)).save(files[25])
    report = {f.text: f for f in check(str(folder), measured=False).findings}
    broken = report["image that cannot be used"]
    assert broken.severity == "error" and broken.count == 1 and files[3].name in broken.findings[0].record
    assert report["image with a palette"].count == 1
    assert report["image of 16 bits"].count == 1
    assert report["image of one colour"].count == 1


def test_labels_that_are_wrong(folder: Path) -> None:
    def change(document: dict) -> None:
        a = document["annotations"]
        # a wide object in a corner, its box written y first
        size = [document["images"][0]["height"], document["images"][0]["width"]]
        mask = np.zeros(size, bool)
        mask[2:12, 60:120] = True
        runs = np.diff(np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=False, append=False)), prepend=0)
        counts = [*runs.tolist(), mask.size - int(runs.sum())]
        swapped = {"segmentation": {"size": size, "counts": counts}, "area": 600, "bbox": [2, 60, 10, 60]}
        a[0] |= swapped | {"image_id": document["images"][0]["id"]}
        a[4]["area"] = 10 * a[4]["area"]
        a.append(a[6] | {"id": 10_000})
        x, y, w, h = a[8]["bbox"]
        a[8]["bbox"] = [x + 6, y, w - 6, h]
        document["categories"].append({"id": 99, "name": "never"})

    edit(folder, change)
    report = found(folder)
    assert report["box with x and y swapped"].severity == "error"
    assert report["area that does not match the mask"].count == 1
    assert (
        report["object labelled twice"].count == 1
        and "10000" in report["object labelled twice"].findings[0].record
    )
    assert report["mask that leaves its box"].count == 1
    assert "class 'never'" in report["class without an object"].line


def test_repairs_of_the_reader_are_findings(folder: Path) -> None:
    def change(document: dict) -> None:
        document["annotations"][0]["bbox"] = [float("nan"), 0, 5, 5]
        document["annotations"][1]["bbox"][2:] = [0, 0]
        for record in document["annotations"][:2]:
            del record["segmentation"]
        del document["annotations"][2]["area"]

    edit(folder, change)
    report = found(folder)
    for kind in ("non-finite coordinates dropped", "zero-area box dropped", "missing area computed"):
        assert report[kind].count == 1 and report[kind].severity == "warning" and report[kind].remedy


def test_a_image_in_both_splits(folder: Path) -> None:
    """The same image, smaller and as a JPEG under another name."""
    with Image.open(sorted((folder / "train").glob("*.png"))[7]) as image:
        copied = image.resize((120, 96))
    copied.save(folder / "val" / "copied.jpg", quality=85)

    def change(document: dict) -> None:
        document["images"].append({"id": 999, "file_name": "copied.jpg", "height": 96, "width": 120})

    edit(folder, change, "val")
    report = found(folder)
    leak = report["image in both splits"]
    assert leak.count == 1 and "copied.jpg" in leak.findings[0].record


def test_a_class_that_only_val_has(folder: Path) -> None:
    edit(folder, lambda d: d["categories"][0].update(name="novel"), "val")
    assert found(folder)["class of the val split that is not in train"].severity == "error"


def test_the_page_and_the_json(folder: Path, tmp_path: Path) -> None:
    edit(folder, lambda d: d["categories"][0].update(name="<script>alert(1)</script>"))
    edit(folder, lambda d: d["categories"][0].update(name="<script>alert(1)</script>"), "val")
    edit(folder, lambda d: d["annotations"].append(d["annotations"][3] | {"id": 500}))
    report = check(str(folder), measured=False)
    write_reports(report, tmp_path / "report.json", tmp_path / "sub" / "page.html")
    page = (tmp_path / "sub" / "page.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "data:image/jpeg;base64," in page and "object labelled twice" in page
    assert "http" not in page.replace("https://", "").split("<body>")[0]  # nothing is loaded from elsewhere
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["statistics"]["train"]["images"] == 30 and content["advice"]["command"].startswith(
        "maskrcnn train"
    )
    assert [f["kind"] for f in content["findings"]][0] == "object labelled twice"


def test_a_repaired_copy(folder: Path, tmp_path: Path) -> None:
    def change(document: dict) -> None:
        document["annotations"][0]["bbox"][2] *= -1
        document["annotations"][1]["bbox"][2:] = [0, 0]
        for record in document["annotations"][:2]:
            del record["segmentation"]
        del document["annotations"][2]["iscrowd"]

    edit(folder, change)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    report = check(str(folder), measured=False)
    assert report.datasets["train"].problems.texts()
    written = write_fixed(report, tmp_path / "fixed")
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    again = read_coco(written.written[0])
    assert not again.problems and len(again) == 30
    objects = [len(report.datasets["train"].image(i).annotations) for i in range(30)]
    assert [len(again.image(i).annotations) for i in range(30)] == objects
    with pytest.raises(UserError, match="not empty"):
        write_fixed(report, tmp_path / "fixed")
    with pytest.raises(UserError, match="a file is in the way"):
        write_fixed(report, written.written[0])


def test_what_cannot_be_used_is_left_out_of_the_copy(folder: Path, tmp_path: Path) -> None:
    """A broken image, a missing one, an unknown class, a damaged RLE, a box written y first, a wrong area."""
    files = sorted((folder / "train").glob("*.png"))
    files[0].write_bytes(files[0].read_bytes()[:200])
    files[1].unlink()

    def change(document: dict) -> None:
        a = document["annotations"]
        last = [annotation for annotation in a if annotation["image_id"] == document["images"][-1]["id"]]
        assert len(last) >= 2
        last[0]["category_id"] = 77
        last[1]["area"] *= 10
        a += [last[1] | {"id": 5000 + n, "segmentation": {"size": [3, 3], "counts": [9]}} for n in range(2)]
        mask = np.zeros((128, 160), bool)
        mask[2:12, 60:120] = True
        runs = np.diff(np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=False, append=False)), prepend=0)
        rle = {"size": [128, 160], "counts": [*runs.tolist(), mask.size - int(runs.sum())]}
        a.append(last[1] | {"id": 6000, "segmentation": rle, "area": 600, "bbox": [2, 60, 10, 60]})

    edit(folder, change)
    report = check(str(folder), measured=False)
    counts = {finding.text: finding.count for finding in report.findings if finding.severity == "error"}
    assert counts == {
        "image that cannot be used": 1,
        "image file that is missing": 1,
        "annotation of an unknown class": 1,
        "RLE that cannot be used": 2,
        "box with x and y swapped": 1,
    }
    assert report.exit_code == 3
    fixed = write_fixed(report, tmp_path / "fixed")
    assert fixed.changes["RLE that cannot be used left out"] == 2
    assert (
        fixed.changes["image that cannot be used left out"] == fixed.changes["box taken from the mask"] == 1
    )
    again = check(str(tmp_path / "fixed"), measured=False)
    assert again.exit_code == 0 and not [f.text for f in again.findings if "anchor" not in f.text]
    assert again.statistics["train"].images == 28
    assert (tmp_path / "fixed/train" / files[5].name).read_bytes() == files[5].read_bytes()


def test_generated_images_have_a_copy_too(tmp_path: Path) -> None:
    report = Report("synthetic", datasets={"train": Synthetic(2)})
    (written,) = write_fixed(report, tmp_path / "fixed").written
    again = read_coco(written)
    assert [len(image.annotations) for image in again] == [len(image.annotations) for image in Synthetic(2)]
    assert all(np.array_equal(again.pixels(index), Synthetic(2).pixels(index)) for index in range(2))


def test_nothing_left_is_no_copy(folder: Path, tmp_path: Path) -> None:
    edit(folder, lambda d: [a.update(category_id=77) for a in d["annotations"]])
    report = check(str(folder), measured=False)
    assert report.exit_code == 3
    with pytest.raises(DataError, match="nothing usable is left of train"):
        write_fixed(report, tmp_path / "fixed")
    assert not (tmp_path / "fixed").exists()


def test_labels_that_cannot_be_read_are_a_report_too(folder: Path, tmp_path: Path) -> None:
    (folder / "train.json").write_text('{"images": [')
    assert (
        main(["check", str(folder), "--html", str(tmp_path / "p.html"), "--json", str(tmp_path / "r.json")])
        == 3
    )
    finding = json.loads((tmp_path / "r.json").read_text())["findings"][0]
    assert finding["kind"] == "labels that cannot be read" and "line 1" in finding["first"][0]
    assert "cannot be read" in (tmp_path / "p.html").read_text()
    with pytest.raises(DataError, match="train.json"):
        write_fixed(check(str(folder), measured=False), tmp_path / "fixed")


def test_swapped_boxes_that_leave_the_image(tmp_path: Path) -> None:
    """A box without a mask is told by its place: outside a wide image, and inside when x and y change
    places.
    """
    Image.new("RGB", (200, 80)).save(tmp_path / "a.png")
    box = {"image_id": 1, "category_id": 1, "iscrowd": 0, "area": 100}
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 80, "width": 200}],
        "annotations": [
            {"id": 1, "bbox": [150, 10, 10, 10], **box},
            {"id": 2, "bbox": [10, 150, 10, 10], **box},
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (tmp_path / "x.json").write_text(json.dumps(document))
    report = check(str(tmp_path / "x.json"), measured=False)
    (finding,) = [finding for finding in report.findings if finding.severity == "error"]
    assert "x and y swapped" in finding.text and finding.count == 1 and "annotation 2" in finding.line


def test_anchors_reach_the_large_objects() -> None:
    dataset = Synthetic(40, seed=3)
    stats = describe(dataset)
    for sides in ([8.0, 22, 60, 130, 270], [7.0, 12, 20, 30, 50], [10.0, 30, 100, 300, 900]):
        stats.sides, stats.short_sides, stats.long_sides = sides, [400.0] * 5, [500.0] * 5
        advice = advise("d", stats, asked=["train.init=null"])  # a start's are kept
        config = load_config(advice.recipe, advice.overrides)
        scale = config.model.input.short_side / 400
        sizes = np.array([size for level in config.model.rpn.sizes for size in level], float)
        assert (np.diff(sizes) > 0).all() and sizes[-1] >= 0.9 * sides[4] * scale
        for side in np.geomspace(max(sides[0] * scale, 8), sides[4] * scale, 50):
            assert (np.minimum(sizes, side) ** 2 / np.maximum(sizes, side) ** 2).max() > 0.39


def test_advice_follows_the_objects() -> None:
    dataset = Synthetic(40, seed=3)
    stats = describe(dataset)
    advice = advise("d", stats)
    assert advice.recipe == advice.config.train.init == "person-efficientnet"  # shapes, no nuclei
    assert advice.config.train.epochs == 200
    stats.sides = [4.0, 5.0, 6.0, 7.0, 8.0]
    small = advise("d", stats, asked=["train.init=null"])
    side = next(o for o in small.overrides if o.startswith("model.input.short_side"))
    assert int(side.partition("=")[2]) == 256  # twice the images' 128, no more
    stats.with_mask = 0
    assert "model.mask_head=null" in advise("d", stats).overrides


def test_boxes_that_are_not_around_their_masks_are_left_to_the_box_head() -> None:
    dataset = Synthetic(40, seed=3)
    assert describe(dataset).loose == 0
    stats = describe(Amodal(dataset))
    assert stats.loose > stats.with_mask / 2
    assert "model.test.box_from_mask=0" in advise("d", stats).overrides
    stats.loose = stats.with_mask // 2
    assert advise("d", stats).config.model.test.box_from_mask == 0.75


class Amodal(Subset):
    """Boxes reach beyond what is seen of their objects."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset, list(range(len(dataset))))

    def image(self, index: int) -> LabelledImage:
        image = super().image(index)
        wider = [
            replace(each, box=(*each.box[:2], each.box[2] + 0.5 * (each.box[2] - each.box[0]), each.box[3]))
            for each in image.annotations
        ]
        return replace(image, annotations=wider)


def test_exit_codes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(folder), "--no-steps"]) == 0
    usual = capsys.readouterr().out
    assert main(["check", str(folder), "--no-steps", "--recipe", "auto"]) == 0
    # free memory, and whether bf16 is faster, is looked at each time
    said, again = (
        [line for line in text.splitlines() if "GB free" not in line]
        for text in (usual, capsys.readouterr().out)
    )
    assert "no errors" in usual and again == said
    path = sorted((folder / "train").glob("*.png"))[29]
    path.write_bytes(b"")
    assert main(["check", str(folder), "--no-steps"]) == 3
    output = capsys.readouterr()
    assert path.name in output.out and len(output.err.strip().splitlines()) == 1
    assert main(["check", str(folder / "nothing")]) == 2


def test_a_step_is_measured_on_the_device_that_trains(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(config: Config, train: Dataset, val: Dataset | None, device: str) -> Cost:
        asked.append(device)
        return Cost(1.0, 1.0, None, 1)

    monkeypatch.setattr(run, "measure", note)
    monkeypatch.setattr(run, "best_device", lambda: "cuda")
    check(str(folder))
    assert asked == ["cuda"]


def test_a_step_that_is_refused_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Cost:
        raise UserError("the cache cannot be written; set MASKRCNN_CACHE")

    monkeypatch.setattr(run, "measure", refuse)
    report = check(str(folder))
    assert report.advice is not None and report.findings.errors == 1
    assert "set MASKRCNN_CACHE" in next(iter(report.findings)).line


def test_two_steps_are_measured(folder: Path) -> None:
    report = check(str(folder))
    advice = report.advice
    assert advice is not None and advice.seconds_per_image and advice.seconds_per_image > 0
    assert advice.hours is not None and advice.memory_gb and advice.memory_gb > 0.1


def test_every_orientation_is_seen(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    seen = inspect_image(LabelledImage(1, "a.jpg", tmp_path / "a.jpg", 30, 20))
    assert seen.turned and seen.error is None
    assert "EXIF" in str(inspect_image(LabelledImage(1, "a.jpg", tmp_path / "a.jpg", 20, 30)).error)


def test_findings_put_errors_first() -> None:
    findings = Findings()
    findings.add(Finding(CheckKind.RARE_CLASS, "train", "r"))
    findings.add(Finding(CheckKind.UNUSABLE_IMAGE, "train", "r"), count=3)
    assert [f.kind for f in findings] == [
        CheckKind.UNUSABLE_IMAGE,
        CheckKind.RARE_CLASS,
    ] and findings.errors == 3


def test_a_step_of_images_of_16_bits_is_measured(tmp_path: Path) -> None:
    write_coco(Synthetic(4), tmp_path / "train.json", tmp_path / "train")
    document = json.loads((tmp_path / "train.json").read_text())
    for image in document["images"]:
        path = tmp_path / "train" / image["file_name"]
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 16
        Image.fromarray(grey).save(path)
    report = check(str(tmp_path))
    assert report.advice.seconds_per_image > 0 and not report.findings.errors
    dataset = open_dataset(str(tmp_path), "train")
    assert choose(str(tmp_path), dataset, None, seconds=600).seconds_per_image > 0
