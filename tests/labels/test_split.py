"""A split loses no image, tears no group and shares every class out alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maskrcnn.cli.main import main
from maskrcnn.errors import DataError, UserError
from maskrcnn.labels.assign_parts import assign_groups, assign_random, assign_stratified, part_sizes
from maskrcnn.labels.open import open_dataset, open_pair
from maskrcnn.labels.split import Grouping, image_strata, split_data
from maskrcnn.labels.subset import Subset, without_empty

SHARES = st.sampled_from([[0.8, 0.2], [0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.25, 0.25]])
CLASSES = ["cat", "dog", "bird"]


def write_set(folder: Path, classes: list[list[int]], names: list[str] | None = None) -> Path:
    """folder/labels.json and folder/images: an image for each list of the classes of its objects."""
    names = names or [f"{number:03d}.png" for number in range(len(classes))]
    images, annotations = [], []
    for number, (labels, name) in enumerate(zip(classes, names, strict=True), start=1):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (number % 256, 0, 0)).save(path)
        images.append({"id": number, "file_name": name, "height": 10, "width": 20})
        for label in labels:
            box = {"bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0, "segmentation": [[1, 2, 4, 2, 4, 6, 1, 6]]}
            annotations.append({"id": len(annotations), "image_id": number, "category_id": 10 * label} | box)
    categories = [{"id": 10 * label, "name": name} for label, name in enumerate(CLASSES)]
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def split(source: Path, out: Path, **options) -> dict[str, Subset]:
    given = {
        "val": 0.2,
        "test": 0.0,
        "by": "random",
        "grouping": Grouping(),
        "seed": 0,
        "copy": False,
    } | options
    return split_data(str(source), out, **given)


@given(st.integers(0, 500), SHARES)
def test_sizes_add_up_and_are_nearest(count, shares):
    sizes = part_sizes(count, shares)
    assert sum(sizes) == count
    assert all(abs(size - count * share) < 1 for size, share in zip(sizes, shares, strict=True))


@given(st.integers(0, 300), SHARES, st.integers(0, 9))
def test_random_parts_have_their_sizes(count, shares, seed):
    parts = assign_random(count, shares, np.random.default_rng(seed))
    assert np.bincount(parts, minlength=len(shares)).tolist() == part_sizes(count, shares)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=300), SHARES, st.integers(0, 9))
def test_every_class_is_shared_out_like_the_whole(labels, shares, seed):
    """With one class an image no part may be further from its share of a class than one image for each
    class.
    """
    strata = [[label] for label in labels]
    parts = assign_stratified(strata, shares, np.random.default_rng(seed))
    assert np.bincount(parts, minlength=len(shares)).tolist() == part_sizes(len(labels), shares)
    for label in set(labels):
        found = np.bincount(parts[np.array(labels) == label], minlength=len(shares))
        exact = np.array(shares) * labels.count(label)
        assert np.abs(found - exact).max() <= 1 + len(set(labels)), (label, found, exact)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=5, unique=True), min_size=1, max_size=120),
    SHARES,
)
def test_strata_that_overlap_still_give_whole_parts(strata, shares):
    parts = assign_stratified(strata, shares, np.random.default_rng(0))
    assert np.bincount(parts, minlength=len(shares)).tolist() == part_sizes(len(strata), shares)


def test_stratified_beats_random_on_rare_classes():
    rng = np.random.default_rng(0)
    frequency = np.array([0.5, 0.2, 0.1, 0.05, 0.02])
    present = rng.random((1000, 5)) < frequency
    strata = [np.flatnonzero(row).tolist() or [5] for row in present]

    def worst(parts: np.ndarray) -> float:
        return max(abs(present[parts == 1, k].mean() / present[:, k].mean() - 1) for k in range(5))

    stratified = [
        worst(assign_stratified(strata, [0.8, 0.2], np.random.default_rng(seed))) for seed in range(5)
    ]
    random = [worst(assign_random(1000, [0.8, 0.2], np.random.default_rng(seed))) for seed in range(5)]
    assert max(stratified) < 0.06 < min(random)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), SHARES, st.integers(0, 9))
def test_groups_stay_whole_and_parts_near_their_size(groups, shares, seed):
    parts = assign_groups(groups, shares, np.random.default_rng(seed))
    of_group: dict[int, set[int]] = {}
    for group, part in zip(groups, parts.tolist(), strict=True):
        of_group.setdefault(group, set()).add(part)
    assert all(len(found) == 1 for found in of_group.values())
    largest = max(groups.count(group) for group in groups)
    sizes = np.bincount(parts, minlength=len(shares))
    assert np.all(sizes <= np.array(shares) * len(groups) + largest)


def test_strata_count_objects_in_powers_of_two(tmp_path):
    strata = image_strata(open_dataset(write_set(tmp_path, [[0], [0, 0, 1], [0, 0, 0, 0], []])))
    first, second, third, empty = map(set, strata)
    assert first < second and len(second) == 3 and len(third) == 3  # cat 1; cat 1, 2, dog 1; cat 1, 2, 4
    assert len(empty) == 1 and not empty & (first | second | third)


@pytest.mark.parametrize("options", [{}, {"by": "stratified", "test": 0.1}, {"copy": True}])
def test_parts_open_are_disjoint_and_complete(tmp_path, options):
    source = write_set(tmp_path / "data", [[k % 3] * (1 + k % 4) if k % 5 else [] for k in range(40)])
    whole = {image.image_id: image for image in open_dataset(source)}
    split(source, tmp_path / "out", **options)
    found = []
    for path in sorted((tmp_path / "out").glob("*.json")):
        part = open_dataset(path)
        assert part.classes == CLASSES and part.class_ids == [0, 10, 20] and not part.problems
        for index in range(len(part)):
            image = part.image(index)
            expected = whole[image.image_id]
            found.append(image.image_id)
            assert image.file_name == expected.file_name and len(image.annotations) == len(
                expected.annotations
            )
            assert [a.id for a in image.annotations] == [a.id for a in expected.annotations]
            assert part.pixels(index)[0, 0, 0] == image.image_id % 256
    assert sorted(found) == sorted(whole)
    train, val = open_pair(tmp_path / "out")
    assert val is not None and (len(train), len(val)) == ((28, 8) if "test" in options else (32, 8))
    assert (tmp_path / "out/images").is_symlink() != bool(options.get("copy"))


def test_deterministic_and_the_seed_counts(tmp_path):
    source = write_set(tmp_path / "data", [[k % 3] for k in range(30)])
    parts = [
        split(source, tmp_path / f"{k}", by="stratified", seed=seed) for k, seed in enumerate((0, 0, 1, -1))
    ]
    indices = [part["val"].indices.tolist() for part in parts]
    assert indices[0] == indices[1] != indices[2]
    assert (tmp_path / "0/val.json").read_bytes() == (tmp_path / "1/val.json").read_bytes()


def test_beside_the_data_on_request(tmp_path):
    source = write_set(tmp_path, [[0]] * 10)
    split(source, tmp_path)
    assert not (tmp_path / "images").is_symlink() and len(open_dataset(tmp_path / "val.json")) == 2
    with pytest.raises(UserError, match=r"train.json: is there already"):
        split(source, tmp_path)
    split(source, tmp_path / "images")
    assert (
        not (tmp_path / "images/images").exists() and len(open_dataset(tmp_path / "images/train.json")) == 8
    )


def test_groups_by_pattern_folder_and_file(tmp_path):
    names = [f"{'abcde'[k % 5]}/slide{k % 4}_{k}.png" for k in range(40)]
    source = write_set(tmp_path / "data", [[0]] * 40, names)
    listed = tmp_path / "groups.csv"
    listed.write_text("file_name,group\n" + "".join(f"{name},{k % 8}\n" for k, name in enumerate(names)))
    ways = {
        "pattern": (Grouping(pattern=r"slide(\d)"), lambda name: name.split("slide")[1][0]),
        "folder": (Grouping(source="folder"), lambda name: name[0]),
        "file": (Grouping(source=str(listed)), lambda name: str(names.index(name) % 8)),
    }
    for way, (grouping, group) in ways.items():
        parts = split(source, tmp_path / way, by="group", grouping=grouping, val=0.25)
        groups = [{group(part.image(i).file_name) for i in range(len(part))} for part in parts.values()]
        assert groups[0] and groups[1] and not groups[0] & groups[1], way


def test_near_duplicates_stay_together(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"{k:02d}.png" for k in range(24)]
    source = write_set(tmp_path / "data", [[0]] * 24, names)
    for first in range(0, 24, 2):  # 1 is 0 in other brightness, 3 is 2, ...
        scene = np.kron(rng.integers(0, 200, (4, 8, 3)), np.ones((16, 16, 1))).astype(np.uint8)
        Image.fromarray(scene).resize((20, 10)).save(tmp_path / "data/images" / names[first])
        Image.fromarray(scene + 3).resize((20, 10)).save(tmp_path / "data/images" / names[first + 1])
    parts = split(source, tmp_path / "out", by="group", grouping=Grouping(source="duplicates"), val=0.3)
    for part in parts.values():
        pairs = [int(part.image(i).file_name[:2]) // 2 for i in range(len(part))]
        assert pairs and all(pairs.count(pair) == 2 for pair in pairs)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"val": 0.6, "test": 0.4}, UserError, "nothing is left to train on"),
        ({"val": 0.0}, UserError, "nothing to split off"),
        ({"by": "luck"}, UserError, "--by luck: there are random, stratified, group"),
        ({"by": "group"}, UserError, "--by group goes with"),
        ({"grouping": Grouping(source="folder")}, UserError, "neither goes with another"),
        ({"by": "group", "grouping": Grouping("(", None)}, UserError, "not a regular expression"),
        ({"by": "group", "grouping": Grouping("x", None)}, UserError, "has no group"),
        ({"by": "group", "grouping": Grouping("(9)", None)}, DataError, "9 of 10 images have no group"),
        ({"by": "group", "grouping": Grouping(source="nothing.csv")}, UserError, "no such file"),
        ({"by": "group", "grouping": Grouping(source="folder")}, DataError, "would get 0 images"),
        ({"val": 0.01}, DataError, "val of .* would get 0 images"),
    ],
)
def test_refusals_are_one_line(tmp_path, options, kind, message):
    source = write_set(tmp_path / "data", [[0]] * 10)
    with pytest.raises(kind, match=message) as error:
        split(source, tmp_path / "out", **options)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["000.png,1\n", "000.png\n", "000.png,1\n000.png,2\n", "\xff\xfe"])
def test_csv_files_that_are_wrong(tmp_path, text):
    source = write_set(tmp_path / "data", [[0]] * 10)
    (tmp_path / "groups.csv").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match="groups.csv"):  # DataError is one
        split(source, tmp_path / "out", by="group", grouping=Grouping(source=str(tmp_path / "groups.csv")))


def test_lvis_keeps_what_was_searched_for(tmp_path):
    source = write_set(tmp_path / "data", [[0]] * 10)
    document = json.loads(source.read_text())
    for image in document["images"]:
        image |= {"neg_category_ids": [20], "not_exhaustive_category_ids": [0]}
    source.write_text(json.dumps(document))
    split(source, tmp_path / "out")
    found = open_dataset(tmp_path / "out/val.json").image(0)
    assert found.negative == [2] and found.not_exhaustive == [0]


def test_command_prints_and_refuses_what_is_split(tmp_path, capsys):
    source = write_set(tmp_path / "data", [[0, 0], [1]] * 10 + [[]] * 5)
    out = tmp_path / "out"
    assert main(["split", str(source), "--out", str(out), "--val", "0.2", "--by", "stratified"]) == 0
    text = capsys.readouterr().out
    assert "20 / 24" in text and "5 / 6" in text and "8 / 16" in text and "2 / 4" in text
    assert main(["split", str(out), "--out", str(tmp_path / "again")]) == 2
    assert "has a val split already" in capsys.readouterr().err
    assert main(["split", str(out / "train.json"), "--out", str(tmp_path / "again")]) == 0
    assert main(["split", str(source), "--out", str(out)]) == 2


def test_empty_images_are_dropped_and_counted_only_on_request(tmp_path):
    dataset = open_dataset(write_set(tmp_path, [[0], [], [1], []]))
    kept, lines = without_empty(dataset)
    assert [kept.image(i).image_id for i in range(len(kept))] == [1, 3] and kept.pixels(1)[0, 0, 0] == 3
    assert kept.problems.texts()["image without an object left out"] == 2 and not dataset.problems
    assert len(lines) == 1 and "left out: 2" in lines[0]
    assert without_empty(Subset(dataset, [0, 2]))[1] == []
    with pytest.raises(DataError, match="leaves no image"):
        without_empty(Subset(dataset, [1]))
    with pytest.raises(IndexError):
        kept.image(2)
