"""What an attacker would write, in every format: bombs, names and links that lead outside, headers that claim
gigabytes.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree

import pytest
from claims import one_line
from fuzz import bounded, check_data_set
from make_samples import SAMPLES
from PIL import Image
from samples_masks import save
from twelve import SIDE

from maskrcnn.errors import DataError, UserError
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.types import Dataset

NAMES = sorted(path.name for path in SAMPLES.iterdir())
FILES = {"lvis": "annotations/lvis_v1_train.json"}  # what a person names, where it is not the folder
FIRST = "000000000001.png"  # as most samples call the first image
# the label files of the first image where each image has its own
LABELS = {
    "cityscapes": ["gtFine/train/ulm/ulm_000001_000019_gtFine_instanceIds.png"],
    "coco-panoptic": ["annotations/panoptic_train2017/000000000001.png"],
    "instance-png": ["train/labels/000000000001.png"],
    "labelme": ["train/000000000001.json"],
    "mask-folders": ["000000000001/masks/*"],
    "penn-fudan": ["PedMasks/000000000001_mask.png", "Annotation/000000000001.txt"],
    "supervisely": ["ds0/ann/000000000001.png.json"],
    "voc": ["Annotations/000000000001.xml", "SegmentationObject/000000000001.png"],
    "yolo": ["labels/train/000000000001.txt"],
    "yolo-pose": ["labels/train/000000000001.txt"],
}
IMAGES = {
    "cityscapes": "leftImg8bit/train/ulm/ulm_000001_000019_leftImg8bit.png",
    "coco": f"train/{FIRST}",
    "coco-panoptic": f"train2017/{FIRST}",
    "cvat": f"images/{FIRST}",
    "instance-png": f"train/images/{FIRST}",
    "label-studio": f"images/*-{FIRST}",
    "labelme": f"train/{FIRST}",
    "lvis": f"train2017/{FIRST}",
    "mask-folders": f"000000000001/images/{FIRST}",
    "penn-fudan": f"PNGImages/{FIRST}",
    "supervisely": f"ds0/img/{FIRST}",
    "via-csv": FIRST,
    "via-export": FIRST,
    "via-project": FIRST,
    "voc": f"JPEGImages/{FIRST}",
    "yolo": f"images/train/{FIRST}",
    "yolo-pose": f"images/train/{FIRST}",
}


class Sample:
    """A copy of a sample, to be spoilt by a test; beside its folder lies a secret."""

    def __init__(self, name: str, folder: Path) -> None:
        self.root = folder / name
        copytree(SAMPLES / name, self.root)
        self.source = self.root / FILES.get(name, "")
        self.image = self.only(IMAGES[name])
        self.secret = folder / "secret.png"
        save(self.secret, Image.new("RGB", SIDE[::-1]))

    def only(self, pattern: str) -> Path:
        return sorted(self.root.glob(pattern))[0]

    def open(self) -> Dataset:
        with bounded(megabytes=150):
            return open_dataset(self.source, "train")

    def refused(self, *words: str, named: str | None = None) -> None:
        """One line that names a file of the sample, and `words`. `named`: as FORMAT:PATH."""
        with pytest.raises(UserError) as caught, bounded(megabytes=150):
            open_dataset(named or self.source, "train")
        line = one_line(caught.value)
        for word in (str(self.root), *words):
            assert word in line, line


@pytest.fixture(params=NAMES)
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> Sample:
    return Sample(request.param, tmp_path)


def by_suffix(suffix: str) -> list[tuple[str, str]]:
    """One file of that suffix from each sample that has some, the file that describes most of it."""
    found = []
    for name in NAMES:
        files = sorted((SAMPLES / name).rglob(f"*{suffix}"), key=lambda path: -path.stat().st_size)
        if files:
            found.append((name, files[0].relative_to(SAMPLES / name).as_posix()))
    return found


# ---- bombs

DEEP = [
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"images": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
]


@pytest.mark.parametrize(("name", "file"), by_suffix(".json"))
def test_json_nested_deep(name: str, file: str, tmp_path: Path) -> None:
    sample = Sample(name, tmp_path)
    if name == "cityscapes":  # whose polygons are not read where there are images of ids
        (sample.root / file.replace("polygons.json", "instanceIds.png")).unlink()
    for bomb in DEEP:
        (sample.root / file).write_bytes(bomb)
        sample.refused()


@pytest.mark.parametrize(("name", "file"), by_suffix(".json"))
def test_a_value_nested_as_deep_as_json_allows(name: str, file: str, tmp_path: Path) -> None:
    """What can be parsed can be printed in a message."""
    sample = Sample(name, tmp_path)
    path = sample.root / file
    good = path.read_text()
    for depth in (100, 470, 480, 490):
        for value in ('"000000000001.png"', '"person"', "72"):
            if value in good:
                path.write_text(good.replace(value, "[" * depth + "]" * depth))
                with suppress_user_error():
                    check_data_set(sample.open(), sample.root)


@contextmanager
def suppress_user_error() -> Iterator[None]:
    """Nothing, or one line."""
    try:
        yield
    except UserError as error:
        one_line(error)


LAUGHS = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))
# what is declared, and how it is used: a billion laughs, quadratic growth, a file, an address, a parameter
DOCTYPES = [
    (f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]>', "&l9;"),
    (f'<!DOCTYPE a [<!ENTITY q "{"x" * 100_000}">]>', "&q;" * 10_000),
    ('<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]>', "&f;"),
    ('<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">', ""),
    ('<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>', ""),
]


@pytest.mark.parametrize(("name", "file"), by_suffix(".xml"))
def test_xml_bombs(name: str, file: str, tmp_path: Path) -> None:
    sample = Sample(name, tmp_path)
    path = sample.root / file
    root = path.read_text()[path.read_text().index("<annotation") :]
    for declared, used in DOCTYPES:
        spoilt = root.replace("<name>", f"<name>{used}", 1)
        assert spoilt != root or not used
        path.write_text(f'<?xml version="1.0" encoding="utf-8"?>{declared}{spoilt}')
        sample.refused("DOCTYPE")
        # looking does not know it in this encoding; the person may say what it is
        path.write_bytes(f'<?xml version="1.0" encoding="utf-16"?>{declared}{spoilt}'.encode("utf-16"))
        sample.refused("DOCTYPE", named=f"{name}:{path if name == 'cvat' else sample.root}")


BOMBS = [
    "a: &a [x, x]\n"
    + "".join(f"{chr(98 + k)}: &{chr(98 + k)} [{f'*{chr(97 + k)}, ' * 9}]\n" for k in range(9)),
    "a: &a {b: *a}\n",
    "<<: &m {train: images/train}\nval: x\nx: *m\n",
    "names: " + "[" * 100_000,
    "names: " + "{a: " * 10_000,
    "- " * 50_000,
    "names: !!python/object/apply:os.system ['true']\n",
    "names: !!python/name:os.system\n",
    "names: [" + "x, " * 300_000 + "]\n",
    "nc: 1" + "0" * 5000 + "\n",
    "nc: 1_000_000_000\n",
    "nc: 190:20:30:40:50:60\n",
]


@pytest.mark.parametrize("name", ["yolo", "yolo-pose"])
def test_yaml_bombs(name: str, tmp_path: Path) -> None:
    sample = Sample(name, tmp_path)
    path = sample.root / "data.yaml"
    good = path.read_text()
    for bomb in BOMBS:
        kept = good[: good.index("names:")] if bomb.startswith("n") else good
        path.write_text(kept + bomb)
        sample.refused(str(path))


# ---- names and links that lead outside


OUTSIDE = [
    *("../secret.png", "../../secret.png", "../../../secret.png", "a/../../secret.png", "./../secret.png"),
    *(
        "..\\secret.png",
        "a\\..\\..\\secret.png",
        "C:\\secret.png",
        "\\\\host\\secret.png",
        "FOLDER/secret.png",
    ),
    *("file://FOLDER/secret.png", "..%2fsecret.png", "../secret.png\0.png", "/etc/passwd", "/dev/zero", "."),
]
# in the others a label file has its image's name
NAMING = [
    "coco",
    "coco-panoptic",
    "cvat",
    "label-studio",
    "labelme",
    "lvis",
    "via-csv",
    "via-export",
    "via-project",
]
NAMING += ["voc", "yolo", "yolo-pose"]


@pytest.mark.parametrize("name", NAMING)
def test_names_that_leave(name: str, tmp_path: Path) -> None:
    """Wherever the first image is named. What the reader does not refuse it must have found inside."""
    sample = Sample(name, tmp_path)
    good = {
        path: path.read_text()
        for path in sample.root.rglob("*")
        if path.suffix in (".json", ".xml", ".csv", ".yaml")
    }
    good = {path: text for path, text in good.items() if any(old in text for old in _named(text))}
    assert good
    for outside in OUTSIDE:
        for path, text in good.items():
            hostile = outside.replace("FOLDER", str(tmp_path))
            hostile = json.dumps(hostile)[1:-1] if path.suffix == ".json" else hostile.replace("\0", "")
            for old in _named(text):
                text = text.replace(old, hostile)
            path.write_text(text)
        try:
            dataset = sample.open()
        except UserError as error:
            assert str(sample.root) in one_line(error)
        else:
            check_data_set(dataset, sample.root)


def _named(text: str) -> list[str]:
    """How the first image, or the folder of all, may be named, the longest first."""
    return [
        f"http://images.cocodataset.org/train2017/{FIRST}",
        f"/data/upload/3/{_uploaded(text)}",
        FIRST,
        "images/train",
    ]


def _uploaded(text: str) -> str:
    """How Label Studio calls the first image."""
    end = text.find(f"-{FIRST}")
    return text[end - 8 : end] + f"-{FIRST}"


@pytest.mark.parametrize("name", ["coco", "cvat", "labelme", "lvis", "via-csv", "via-export", "via-project"])
def test_backslashes(name: str, tmp_path: Path) -> None:
    """A name that was written on Windows."""
    sample = Sample(name, tmp_path)
    read = len(sample.open())
    (sample.image.parent / "sub").mkdir()
    sample.image.rename(sample.image.parent / "sub" / FIRST)
    for path in sample.root.rglob("*"):
        if path.suffix in (".json", ".xml", ".csv") and FIRST in path.read_text():
            separator = "\\\\" if path.suffix == ".json" else "\\"
            path.write_text(path.read_text().replace(FIRST, f"sub{separator}{FIRST}"))
    dataset = sample.open()
    assert len(dataset) == read and dataset.pixels(0).shape == (*SIDE, 3)


def test_an_image_that_is_a_link(sample: Sample) -> None:
    """It may be in every format: people keep one copy of their images, and `maskrcnn split` makes links."""
    sample.image.unlink()
    sample.image.symlink_to(sample.secret)
    assert not sample.open().pixels(0).any()


def test_a_folder_of_images_that_is_a_link(sample: Sample, tmp_path: Path) -> None:
    folder, read = sample.image.parent, len(sample.open())
    if any(path.suffix not in (".png", ".jpg") for path in folder.iterdir()):
        pytest.skip("its labels lie beside its images")
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    dataset = sample.open()
    assert len(dataset) == read and dataset.pixels(0).shape == (*SIDE, 3)


@pytest.mark.parametrize(
    ("name", "pattern"), [(name, pattern) for name in LABELS for pattern in LABELS[name]]
)
def test_labels_that_are_a_link(name: str, pattern: str, tmp_path: Path) -> None:
    sample = Sample(name, tmp_path)
    path = sample.only(pattern)
    path.rename(tmp_path / path.name)
    path.symlink_to(tmp_path / path.name)
    sample.refused("symbolic link out of")


def test_links_in_a_circle(sample: Sample) -> None:
    sample.image.unlink()
    sample.image.symlink_to(sample.image.name)
    sample.refused()
    (sample.image.parent / "again").symlink_to(sample.root, target_is_directory=True)
    sample.refused()


# ---- headers that claim gigabytes

CLAIM = 40_000  # pixels a side: 4.8 GB of RGB


def png(side: int, colour: int = 2) -> bytes:
    """Only a header and the first bytes of nothing."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 100)),
        (b"IEND", b""),
    ]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def bmp(side: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def tiff(side: int) -> bytes:
    """Grey of 8 bits in one strip."""
    entries = [
        (256, 4, side),
        (257, 4, side),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
    ]
    entries += [(278, 4, side), (279, 4, side * side % 2**32)]
    ifd = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries
    )
    return b"II*\0" + struct.pack("<I", 8) + ifd + b"\0\0\0\0"


def webp(side: int) -> bytes:
    size = (min(side, 16_384) - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size * 2
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


HEADERS = [png, bmp, tiff, webp]


def test_a_image_that_claims_gigabytes(sample: Sample) -> None:
    for header in HEADERS:
        sample.image.write_bytes(header(CLAIM))
        sample.refused(sample.image.name)


@pytest.mark.parametrize(
    "name", [name for name in LABELS if any(p.endswith((".png", "*")) for p in LABELS[name])]
)
def test_a_label_image_that_claims_gigabytes(name: str, tmp_path: Path) -> None:
    sample = Sample(name, tmp_path)
    path = sample.only(next(p for p in LABELS[name] if p.endswith((".png", "*"))))
    for claim in (png(CLAIM, colour=0), png(CLAIM), tiff(CLAIM)):
        path.write_bytes(claim)
        sample.refused(path.name)


@pytest.mark.parametrize("name", ["coco", "cvat", "labelme", "lvis", "supervisely", "voc"])
def test_labels_that_claim_gigabytes(name: str, tmp_path: Path) -> None:
    """A size in the labels that no image of ours has."""
    sample = Sample(name, tmp_path)
    for path in [path for path in sample.root.rglob("*") if path.suffix in (".json", ".xml")]:
        text = path.read_text()
        for old in ('"height": 72', '"imageHeight": 72', 'height="72"', "<height>72<"):
            text = text.replace(old, old.replace("72", "40000"))
        for old in ('"width": 96', '"imageWidth": 96', 'width="96"', "<width>96<"):
            text = text.replace(old, old.replace("96", "40000"))
        path.write_text(text)
    sample.refused("40000")


def test_a_file_of_zeros(sample: Sample) -> None:
    """As a bad disk leaves them: every label file of the size that it had."""
    for path in sample.root.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".xml", ".txt", ".csv", ".yaml"):
            path.write_bytes(b"\0" * path.stat().st_size)
    try:
        dataset = sample.open()
    except UserError as error:
        one_line(error)
    else:
        # label images alone are a data set; Penn-Fudan's texts only comment on them
        assert (
            sample.root.name in ("cityscapes", "instance-png", "mask-folders", "penn-fudan")
            and len(dataset) == 12
        )


def test_an_error_is_a_data_error(tmp_path: Path) -> None:
    """Exit code 3: the labels are at fault, not what was typed."""
    sample = Sample("coco", tmp_path)
    sample.image.write_bytes(png(CLAIM))
    with pytest.raises(DataError):
        sample.open()
