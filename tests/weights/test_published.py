"""The table of published checkpoints is well formed, and agrees with the digests in its own file names."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from maskrcnn.errors import UserError
from maskrcnn.weights import detectron2
from maskrcnn.weights.class_names import classes_of
from maskrcnn.weights.detectron2_yaml import resolve
from maskrcnn.weights.published import published_checkpoints

TABLE = Path(__file__).parents[2] / "src" / "maskrcnn" / "weights" / "published.yaml"
DETECTRON2_SECTIONS = {"_BASE_", "MODEL", "INPUT", "TEST"}
MMDET_KEYS = {"depth", "groups", "base_width", "style", "mean", "std", "to_rgb"}


class _Strict(yaml.SafeLoader):
    """The safe loader, except that a key given twice in one mapping is an error instead of the later one's
    gain.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"key given twice at {node.start_mark}"
        return super().construct_mapping(node, deep)


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    return yaml.safe_load(TABLE.read_text())


@pytest.fixture(scope="module")
def checkpoints(table: dict[str, Any]) -> list[dict[str, Any]]:
    return table["checkpoints"]


def _paths(config: dict[str, Any], prefix: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = set()
    for key, value in config.items():
        found |= _paths(value, (*prefix, key)) if isinstance(value, dict) else {(*prefix, key)}
    return found


def test_it_has_bases_and_checkpoints(table: dict[str, Any]) -> None:
    assert set(table) == {"bases", "checkpoints"} and len(table["checkpoints"]) > 80


def test_no_key_is_given_twice() -> None:
    yaml.load(TABLE.read_text(), _Strict)  # noqa: S506 - a subclass of the safe loader


def test_names_and_addresses_are_unique(checkpoints: list[dict[str, Any]]) -> None:
    for key in ("name", "url"):
        assert [value for value, times in Counter(c[key] for c in checkpoints).items() if times > 1] == []


def test_every_entry_has_its_keys(checkpoints: list[dict[str, Any]]) -> None:
    needed, optional = {"name", "kind", "url", "licence", "data", "config"}, {"sha256", "md5", "published"}
    for entry in checkpoints:
        assert needed <= set(entry) <= needed | optional, entry["name"]
        assert entry["name"].split("/")[0] in {"torchvision", "detectron2", "mmdet"}
        assert entry["kind"] in {"detector", "trunk"}
        assert entry["data"] in {"COCO", "LVIS v0.5", "Cityscapes", "VOC", "ImageNet"}
        assert (entry["data"] == "ImageNet") == (entry["kind"] == "trunk")
        assert isinstance(entry["config"], dict) and isinstance(entry["licence"], str)


def test_addresses_are_https_on_the_publishers_hosts(checkpoints: list[dict[str, Any]]) -> None:
    hosts = {
        "torchvision": "download.pytorch.org",
        "detectron2": "dl.fbaipublicfiles.com",
        "mmdet": "download.openmmlab.com",
    }
    for entry in checkpoints:
        source = entry["name"].split("/")[0]
        address = urlsplit(entry["url"])
        assert (address.scheme, address.netloc) == ("https", hosts[source]), entry["name"]
        assert address.path.endswith(".pkl" if source == "detectron2" else ".pth"), entry["name"]


def test_digests_are_hex_and_in_the_file_name(checkpoints: list[dict[str, Any]]) -> None:
    for entry in checkpoints:
        source = entry["name"].split("/")[0]
        key, digits, sign = ("md5", 6, "_") if source == "detectron2" else ("sha256", 8, "-")
        if entry["kind"] == "trunk" and source == "detectron2":
            assert "md5" not in entry and "sha256" not in entry, entry["name"]
            continue
        assert isinstance(entry[key], str), f"{entry['name']}: quote the digest, or YAML reads a number"
        assert re.fullmatch(rf"[0-9a-f]{{{digits}}}", entry[key]), entry["name"]
        assert Path(urlsplit(entry["url"]).path).stem.endswith(sign + entry[key]), entry["name"]


def test_published_numbers_are_percentages(checkpoints: list[dict[str, Any]]) -> None:
    for entry in checkpoints:
        for key, value in entry.get("published", {}).items():
            assert key in {"box", "mask", "keypoint", "proposal_ar"}, entry["name"]
            assert isinstance(value, float) and 20.0 < value < 70.0, entry["name"]


def test_detectron2_bases_exist_and_end_at_the_defaults(table: dict[str, Any]) -> None:
    bases = table["bases"]
    known = _paths(bases["defaults"])
    entries = [c for c in table["checkpoints"] if c["name"].startswith("detectron2/")]
    for name, config in [*bases.items(), *((c["name"], c["config"]) for c in entries)]:
        assert set(config) <= DETECTRON2_SECTIONS, name
        assert "_BASE_" not in config or config["_BASE_"] in bases, name
        assert _paths({k: v for k, v in config.items() if k != "_BASE_"}) <= known, (
            f"{name}: a key without a default"
        )
    assert all(
        "_BASE_" in c["config"] for c in entries if c["kind"] == "detector" and "ViTDet" not in c["name"]
    )
    for name in bases:
        seen = []
        while name:
            assert name not in seen
            seen.append(name)
            name = bases[name].get("_BASE_")


def test_detectron2_addresses_follow_the_names(checkpoints: list[dict[str, Any]]) -> None:
    for entry in checkpoints:
        if entry["name"].startswith("detectron2/"):
            name = re.sub(r"_\d+ep$", "", entry["name"])
            assert f"/{name}/" in entry["url"] or entry["url"].endswith(f"/{entry['name']}.pkl"), entry[
                "name"
            ]


def test_mmdet_configs_are_complete(checkpoints: list[dict[str, Any]]) -> None:
    for entry in checkpoints:
        if not entry["name"].startswith("mmdet/"):
            continue
        config = entry["config"]
        if "swin" in entry["name"] or "convnext" in entry["name"]:
            assert not config  # the tensors tell everything
            continue
        assert set(config) == MMDET_KEYS and config["style"] in {"pytorch", "caffe"}, entry["name"]
        assert ("-caffe" in entry["name"]) == (config["style"] == "caffe"), entry["name"]
        assert (config["mean"][0] > config["mean"][2]) == config["to_rgb"], entry["name"]


def test_torchvision_epsilon(checkpoints: list[dict[str, Any]]) -> None:
    overwritten = {c["name"].split("/")[1] for c in checkpoints if c["config"].get("bn_eps") == 0.0}
    assert overwritten == {"maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn"}


def test_the_documentation_lists_every_checkpoint():
    text = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")
    for row in published_checkpoints():
        figures = [str(row.published.get(kind, "")) for kind in ("box", "mask", "keypoint")]
        data = row.data + (" (trunk)" if row.kind == "trunk" else "")
        assert " | ".join([f"`{row.name}`", data, *figures]) in text


@pytest.mark.parametrize(
    "change",
    [
        {"ROI_BOX_HEAD": {"USE_SIGMOID_CE": True}},
        {"ROI_BOX_HEAD": {"USE_FED_LOSS": True}},
        {"ROI_HEADS": {"IN_FEATURES": ["p3", "p4", "p5"]}},
        {"RPN": {"IN_FEATURES": ["p6", "p5", "p4", "p3", "p2"]}},
        {"ROI_MASK_HEAD": {"POOLER_SAMPLING_RATIO": 2}},
        {"RPN": {"BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0]}},
        {"RPN": {"CONV_DIMS": [128, 64]}},
        {"ANCHOR_GENERATOR": {"ASPECT_RATIOS": [[0.5, 1.0, 2.0]] * 4 + [[1.0, 2.0, 3.0]]}},
        {"FPN": {"FUSE_TYPE": "avg"}},
    ],
)
def test_settings_of_detectron2_that_nothing_here_has_are_refused(change: dict[str, Any]) -> None:
    """The tensors are the same, so that the network would load and find something else."""

    base = {"_BASE_": "Base-RCNN-FPN.yaml", "MODEL": {"MASK_ON": True, **change}}
    section, key = next((section, key) for section, keys in change.items() for key in keys)
    with pytest.raises(UserError, match=rf"MODEL\.{section}\.{key}="):
        detectron2.config_of(resolve(base))


def test_settings_of_detectron2_that_are_taken() -> None:
    model = {"PROPOSAL_GENERATOR": {"MIN_SIZE": 16}, "RPN": {"CONV_DIMS": [128]}}
    config = detectron2.config_of(resolve({"_BASE_": "Base-RCNN-FPN.yaml", "MODEL": model}))
    assert (config.rpn.min_size, config.rpn.channels) == (16, 128)


@pytest.mark.parametrize(("people", "name"), [(False, "class 1"), (True, "person")])
def test_a_single_class_is_that_of_people_where_they_have_keypoints(people: bool, name: str) -> None:
    assert classes_of("COCO", 1, people) == ([name], [1])
