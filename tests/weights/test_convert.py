"""Other libraries' checkpoints: by name from a server, by file, and back; every tensor arrives where it came
from.
"""

from __future__ import annotations

import hashlib
import http.server
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import maskrcnn
from maskrcnn import MaskRCNN
from maskrcnn.cli.main import main
from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.model.build import build
from maskrcnn.weights import convert, detectron2, mmdet, published, torchvision, vitdet
from maskrcnn.weights.detectron2_yaml import read_yaml, resolve, zoo_bases
from maskrcnn.weights.foreign import LIBRARIES, foreign_state, guess_library, load_foreign
from maskrcnn.weights.load import load_model
from maskrcnn.weights.published import Published, config_for, find_published, published_checkpoints
from maskrcnn.weights.trunk import load_trunk

DETECTRON2 = "detectron2/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"
TORCHVISION = "torchvision/maskrcnn_resnet50_fpn"
MMDET = "mmdet/mask-rcnn_r50_fpn_1x_coco"


def settings_of(name: str) -> ModelConfig:
    """Our settings of a published detector; those that its tensors tell are the defaults'."""
    if name.startswith("detectron2/"):
        return detectron2.config_of(resolve(find_published(name).config))
    template = build(detectron2.config_of(resolve(find_published(DETECTRON2).config)))
    if name.startswith("mmdet/"):
        return mmdet.config_of(foreign_state(template, LIBRARIES["mmdet"]))
    return torchvision.config_of(foreign_state(template, LIBRARIES["torchvision"]), eps=0.0)


def random_model(config: ModelConfig) -> MaskRCNN:
    """A network in which no two tensors are alike, norms included."""
    model = build(config)
    generator = torch.Generator().manual_seed(3)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.1 + 0.5)
    return model.eval()


def file_of(model: MaskRCNN, library: str, path: Path, **facts: object) -> Path:
    """A checkpoint in the publisher's own format."""
    state = foreign_state(model, LIBRARIES[library])
    if library == "detectron2":
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        arrays["pixel_mean"] = torch.zeros(3, 1, 1).numpy()
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo", **facts}))
    else:
        torch.save({"state_dict": state, "meta": facts} if library == "mmdet" else state, path)
    return path


def same(a: MaskRCNN, b: MaskRCNN, *, but: tuple[str, ...] = ()) -> None:
    mine, other = a.state_dict(), b.state_dict()
    assert mine.keys() == other.keys()
    assert [
        k
        for k in mine
        if not torch.equal(mine[k], other[k]) and not k.endswith(but or ("num_batches_tracked",))
    ] == []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Serves a folder on localhost, and records what was asked for."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, *args):
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}", folder, asked
        httpd.shutdown()


@pytest.mark.parametrize(("name", "suffix"), [(DETECTRON2, "pkl"), (TORCHVISION, "pth"), (MMDET, "pth")])
def test_by_name_from_a_server(
    name: str,
    suffix: str,
    server: tuple[str, Path, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, folder, asked = server
    library = name.partition("/")[0]
    model = random_model(settings_of(name))
    path = file_of(model, library, folder / f"weights.{suffix}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    row = find_published(name)
    entry = Published(
        name,
        f"{address}/weights.{suffix}",
        sha256=digest,
        config=row.config,
        licence="L",
        published={"box": 1.0},
    )
    monkeypatch.setattr(published, "published_checkpoints", lambda: [entry])
    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path / "cache"))
    older = tmp_path / "cache" / "converted" / name / "0123456789ab"  # by another version of the conversion
    older.mkdir(parents=True)
    os.utime(older, (1, 1))
    told: list[tuple[int, int | None]] = []
    loaded = load_model(name, lambda done, total: told.append((done, total)))
    same(model, loaded)
    assert told[-1] == (path.stat().st_size, path.stat().st_size)
    assert loaded.config.classes[0] == "person"
    assert len(asked) == 1
    path.unlink()
    same(model, MaskRCNN.from_pretrained(name))  # from the cache of converted ones
    assert len(asked) == 1
    (converted,) = (tmp_path / "cache" / "converted" / name).iterdir()  # of this version of the conversion
    card = (converted / "README.md").read_text()
    assert "Licence of the weights: L" in card and "box AP 1.0" in card


def test_without_a_network_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = Published(DETECTRON2, "http://127.0.0.1:9/model_final.pkl", config={})
    monkeypatch.setattr(published, "published_checkpoints", lambda: [entry])
    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path))
    assert main(["convert", "weights", DETECTRON2, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1 and "127.0.0.1:9" in error and "by hand" in error


def test_a_wrong_name_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'torchvision/maskrcnn_resnet50_fpn"):
        MaskRCNN.from_pretrained("torchvision/maskrcnn_resnet50_fpm")
    with pytest.raises(UserError, match="train.trunk=torchvision/resnet50_v1"):
        MaskRCNN.from_pretrained("torchvision/resnet50_v1")


def test_a_file_and_its_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`maskrcnn convert weights FILE --config YAML`, as a user of detectron2 has them."""
    model = random_model(settings_of(DETECTRON2))
    path = file_of(model, "detectron2", tmp_path / "model_final.pkl")
    config = tmp_path / "mask_rcnn_R_50_FPN_3x.yaml"
    config.write_text(
        '_BASE_: "../Base-RCNN-FPN.yaml"\nMODEL:\n  WEIGHTS: "x"\n  MASK_ON: True\nSOLVER:\n  STEPS: (1, 2)\n'
    )
    assert (
        main(["convert", "weights", str(path), "--config", str(config), "--out", str(tmp_path / "ours")]) == 0
    )
    assert "resnet50-fpn, 80 classes, boxes, masks" in capsys.readouterr().out
    same(model, MaskRCNN.from_pretrained(tmp_path / "ours"))
    assert main(["convert", "weights", str(path), "--out", str(tmp_path / "other")]) == 2
    assert "--config" in capsys.readouterr().err


def test_mmdetection_tells_its_classes_but_not_its_style(tmp_path: Path) -> None:
    config = settings_of(MMDET)
    model = random_model(config)
    names = [f"thing {i}" for i in range(80)]
    path = file_of(model, "mmdet", tmp_path / "epoch_12.pth", dataset_meta={"classes": tuple(names)})
    with pytest.raises(UserError, match="--style"):
        convert.convert_file(path)
    found = convert.convert_file(path, style="caffe")
    assert found.config.classes == names
    assert found.config.input.order == "bgr" and found.config.backbone.stride_in_1x1
    same(model, found)
    with pytest.raises(UserError, match="x.yaml: not readable as Python"):
        convert.convert_file(path, "x.yaml", style="caffe")
    with pytest.raises(UserError, match="--style caffe: the settings of mmdet/"):
        convert.convert_file(path, MMDET, style="caffe")


def test_a_style_is_for_mmdetection_only(tmp_path: Path) -> None:
    path = file_of(random_model(settings_of(TORCHVISION)), "torchvision", tmp_path / "model.pth")
    with pytest.raises(UserError, match="--style caffe: only mmdetection's.* torchvision's; leave it out"):
        convert.convert_file(path, style="caffe")
    with pytest.raises(
        UserError, match="--config x.yaml: .* is torchvision's, which has no file of settings"
    ):
        convert.convert_file(path, "x.yaml")


def test_two_conversions_into_one_folder_do_not_mix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(random_model(settings_of(TORCHVISION)), "torchvision", tmp_path / "model.pth")
    folder = tmp_path / "out"
    folder.mkdir()
    code = (
        "import sys, pathlib\nfrom maskrcnn.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), wait=False):\n    print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder / ".lock")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = os.environ | {"PYTHONPATH": str(Path(maskrcnn.__file__).parents[1])}
    with subprocess.Popen(command, env=environment, **pipes) as other:  # type: ignore[call-overload]
        other.stdout.readline()
        arguments = ["convert", "weights", str(path), "--config", TORCHVISION, "--out", str(folder)]
        assert main(arguments) == 2
        other.stdin.close()
    assert f"process {other.pid} on" in capsys.readouterr().err
    assert [file.name for file in folder.iterdir()] == [".lock"]
    assert main(arguments) == 0


@pytest.mark.parametrize("library", ["torchvision", "detectron2"])
def test_there_and_back_is_exact(library: str, tmp_path: Path) -> None:
    name = {"torchvision": TORCHVISION, "detectron2": DETECTRON2}[library]
    model = random_model(settings_of(name))
    path = tmp_path / f"model.{convert.SUFFIXES[library]}"
    assert convert.export_file(model, library, path) == []
    config = path.with_suffix(".yaml") if library == "detectron2" else TORCHVISION
    back = convert.convert_file(path, config)
    same(model, back)
    assert convert.differences(model.config, back.config) == []


@pytest.mark.parametrize("library", ["torchvision", "detectron2"])
@pytest.mark.parametrize(
    "changes", [{"roi": {"op": "warp"}}, {"mask_head": {"kind": "mlp"}}, {"mask_head": {"loss": "softmax"}}]
)
def test_what_no_other_library_has_is_refused(
    library: str, changes: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    model = build(ModelConfig.model_validate({"classes": ["a"], **changes}))
    ((section, field),) = changes.items()
    with pytest.raises(UserError, match=f"it has no model.{section}.{next(iter(field))}="):
        convert.export_file(model, library, tmp_path / f"model.{convert.SUFFIXES[library]}")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "entry", [e for e in published_checkpoints() if e.library == "detectron2" and e.kind == "detector"]
)
def test_every_detectron2_setting_survives_our_yaml(entry: Published, tmp_path: Path) -> None:
    from maskrcnn.weights.detectron2_write import yaml_of

    config = detectron2.config_of(resolve(entry.config), data=entry.data)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(yaml_of(config)))
    assert convert.differences(config, detectron2.config_of(read_yaml(path))) == []


def test_settings_that_a_library_lacks_are_named(tmp_path: Path) -> None:
    """Ours with half-pixel RoIAlign goes to torchvision, which has none: the file is written, the difference
    told.
    """
    config = settings_of(TORCHVISION)
    config.roi.aligned = True
    lines = convert.export_file(random_model(config), "torchvision", tmp_path / "x.pth")
    assert lines == ["roi.aligned: True here, False there"]


def test_a_network_that_a_library_lacks_is_refused(tmp_path: Path) -> None:
    for library in ("torchvision", "detectron2"):
        with pytest.raises(UserError, match="this model has a mobilenetv2"):
            convert.export_file(MaskRCNN.from_pretrained("person-mobilenet"), library, tmp_path / "x")
        assert not (tmp_path / "x").exists()


def test_tensors_that_do_not_fit_are_named() -> None:
    config = settings_of(DETECTRON2)
    model = build(config)
    state = foreign_state(model, LIBRARIES["detectron2"])
    state["roi_heads.box_head.fc3.weight"] = state.pop("roi_heads.box_head.fc2.weight")
    state["roi_heads.mask_head.predictor.bias"] = torch.zeros(3)
    with pytest.raises(UserError) as caught:
        load_foreign(model, state, LIBRARIES["detectron2"], "file.pkl")
    message = str(caught.value)
    assert message.startswith("file.pkl") and "fc2.weight is missing" in message
    assert "fc3.weight has no place" in message and "predictor.bias is (3,)" in message


def test_a_tensor_without_such_a_layout_is_named() -> None:
    model = build(settings_of(DETECTRON2))
    state = foreign_state(model, LIBRARIES["detectron2"])
    state["roi_heads.box_head.fc1.weight"] = torch.zeros(1024, 12545)
    with pytest.raises(UserError, match=r"fc1.weight is \(1024, 12545\) in our layout"):
        load_foreign(model, state, LIBRARIES["detectron2"], "file.pkl")


BOX_HEAD = "roi_head.bbox_head.fc_"
MMDET_HEADS = (
    "rpn_head.x",
    BOX_HEAD + "cls.weight",
    BOX_HEAD + "reg.weight",
    "neck.lateral_convs.0.conv.weight",
)


@pytest.mark.parametrize("shape", [(), (0, 0, 0, 0), (3,)], ids=str)
@pytest.mark.parametrize(
    "names",
    [
        (*MMDET_HEADS, mmdet.SWIN_STEM),
        (*MMDET_HEADS, mmdet.CONVNEXT_STEM),
        (*MMDET_HEADS, mmdet.RESNET_MARK),
        ("proposal_generator.x", vitdet.MARK, "roi_heads.box_predictor.cls_score.weight",
         "roi_heads.mask_head.predictor.weight"),
        ("rpn.head.x", "roi_heads.box_predictor.cls_score.weight", "backbone.body.layer1.0.conv2.weight",
         "backbone.fpn.inner_blocks.0.0.weight"),
    ],
    ids=["swin", "convnext", "resnet", "vitdet", "torchvision"],
)  # fmt: skip
def test_shapes_that_tell_no_settings_are_one_line(
    names: tuple[str, ...], shape: tuple[int, ...], tmp_path: Path
) -> None:
    torch.save(dict.fromkeys(names, torch.ones(shape)), tmp_path / "x.pth")
    with pytest.raises(UserError):
        convert.convert_file(tmp_path / "x.pth", style="caffe" if mmdet.RESNET_MARK in names else None)


@pytest.mark.parametrize("stem", ["backbone.patch_embed.proj.weight", "backbone.net.pos_embed"])
def test_other_networks_of_mmdetection_are_not_asked_for_their_style(stem: str, tmp_path: Path) -> None:
    torch.save(dict.fromkeys((*MMDET_HEADS, stem), torch.ones(3, 3)), tmp_path / "x.pth")
    with pytest.raises(UserError, match="not a detector of mmdetection's with a ResNet, Swin or ConvNeXt"):
        convert.convert_file(tmp_path / "x.pth")


def test_old_torchvision_names() -> None:
    model = random_model(settings_of(TORCHVISION))
    state = foreign_state(model, LIBRARIES["torchvision"])
    old = {}
    for name, tensor in state.items():
        name = name.replace("blocks.0.0.", "blocks.0.").replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        old[name.replace("mask_head.2.0.", "mask_head.mask_fcn3.")] = tensor
    assert old.keys() != state.keys()
    other = build(config_for(find_published(TORCHVISION), state))
    load_foreign(other, old, LIBRARIES["torchvision"], "old")
    same(model, other)


def test_a_strange_checkpoint_is_no_detector() -> None:
    with pytest.raises(UserError, match="not a detector of torchvision, detectron2, mmdet"):
        guess_library({"encoder.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("_BASE_: nowhere.yaml\n", "nowhere.yaml"),
        ("- a\n- b\n", "mapping"),
        ("MODEL: [", "not readable as YAML"),
        ("MODEL: !!python/object/apply:os.system ['true']\n", "not readable as YAML"),
        ("_BASE_: config.yaml\n", "circle"),
        ("_BASE_: Base-RCNN-FPN.yaml\nMODEL: {META_ARCHITECTURE: RetinaNet}\n", "RetinaNet"),
        ("_BASE_: Base-RCNN-FPN.yaml\nMODEL: {ROI_HEADS: {NAME: CascadeROIHeads}}\n", "CascadeROIHeads"),
        (
            "_BASE_: Base-RCNN-FPN.yaml\nMODEL: {BACKBONE: {NAME: build_mnv2_backbone}}\n",
            "build_mnv2_backbone",
        ),
    ],
)
def test_a_yaml_that_cannot_be_followed(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        detectron2.config_of(read_yaml(path))


def test_bases_beside_the_yaml_win(tmp_path: Path) -> None:
    (tmp_path / "Base-RCNN-FPN.yaml").write_text("MODEL: {ROI_HEADS: {NUM_CLASSES: 7}}\n")
    (tmp_path / "mine.yaml").write_text("_BASE_: Base-RCNN-FPN.yaml\n")
    assert read_yaml(tmp_path / "mine.yaml")["MODEL"]["ROI_HEADS"]["NUM_CLASSES"] == 7
    assert zoo_bases()["Base-RCNN-FPN.yaml"]["MODEL"]["ROI_HEADS"]["NAME"] == "StandardROIHeads"


def test_proposals_alone() -> None:
    """detectron2's rpn_R_50_FPN_1x: a network without a second stage finds boxes of one class."""
    config = settings_of("detectron2/COCO-Detection/rpn_R_50_FPN_1x")
    assert config.box_head is None and config.mask_head is None and config.test.detections == 2000
    model = random_model(config)
    other = build(config)
    load_foreign(other, foreign_state(model, LIBRARIES["detectron2"]), LIBRARIES["detectron2"], "rpn")
    same(model, other)
    small = ModelConfig.model_validate(
        {"classes": ["object"], "backbone": {"kind": "mobilenetv2"}, "box_head": None, "mask_head": None}
    )
    network = build(small).eval()
    load_trunk(network, "mobilenetv2-imagenet")
    with torch.no_grad():
        found = network.detect(torch.randint(0, 255, (1, 3, 64, 96)).byte(), torch.tensor([[64, 96]]))
    assert (
        found.valid.any() and (found.labels == 0).all() and ((found.scores >= 0) & (found.scores <= 1)).all()
    )
    assert (found.scores.diff(dim=1) <= 0).all()
    with pytest.raises(UserError, match="box_head=null"):
        build(small.model_copy(update={"classes": ["a", "b"]}))


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"box_head": {"class_agnostic": True}}, "bbox_pred.bias"),
        ({"mask_head": {"class_agnostic": True}}, "mask_fcn_logits.bias"),
        ({"rpn": {"channels": 128}}, "rpn.head"),
    ],
)
def test_what_torchvision_would_build_otherwise_is_not_written(
    changed: dict[str, Any], name: str, tmp_path: Path
) -> None:
    settings = {"classes": ["a", "b", "c"], "backbone": {"kind": "resnet50"}, **changed}
    model = build(ModelConfig.model_validate(settings))
    with pytest.raises(UserError, match=f"--to torchvision: its .*{name}.*; use `export`"):
        convert.export_file(model, "torchvision", tmp_path / "x.pth")
    assert not (tmp_path / "x.pth").exists()
