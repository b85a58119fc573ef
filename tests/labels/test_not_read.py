"""Labels of kinds that are not read: one line that says what they are and what to give."""

from __future__ import annotations

from pathlib import Path

import claims
import pytest
from PIL import Image

from maskrcnn.cli.main import main
from maskrcnn.errors import UserError
from maskrcnn.labels.open import open_dataset

FILES = [
    ("train/_annotations.csv", "", "Roboflow"),
    ("train/_annotations.txt", "", "Keras"),
    ("valid/_classes.csv", "", "Roboflow"),
    ("train/annotations.jsonl", '{"prefix": "<OD>"}', "language model"),
    ("polygons.jsonl", '{"annotations": [{"coordinates": []}]}', "HuBMAP"),
    ("train/cells.tfrecord", "", "TFRecord"),
    ("train-00000-of-00001.parquet", "", "Parquet"),
    ("a.csv", "index,shape-type,vertex-index\n", "napari"),
    ("labels.csv", "filename,width,height,class,xmin\n", "a table"),
    ("training/label_2/0.txt", "", "KITTI"),
    ("labels/0.txt", "Car 0.00 0 -1.5 1 2 3 4 1 1 1 1 1 1 1\n", "KITTI"),
    ("MOT17-02/gt/gt.txt", "", "MOTChallenge"),
    ("default/instances/labels.txt", "", "MOTS"),
    ("01_GT/SEG/man_seg000.tif", "", "Cell Tracking Challenge"),
    ("annotations/training/a.png", "", "ADE20K"),
    ("class_dict.csv", "", "CamVid"),
    ("Annotations/480p/bear/0.png", "", "DAVIS"),
    ("Annotations/a.xml", "<?xml version='1.0'?><Annotations>", "MoNuSeg"),
    ("Fold 1/images/fold1/images.npy", "", "PanNuke"),
    ("mpii_human_pose_v1_u12_1.mat", "", "MATLAB"),
    ("a_Objects.h5", "", "ilastik"),
    ("x.csv", "filename,class,x_center,y_center,width,height\na.jpg,cat,9,9,4,4\n", "a table of images"),
    ("project-1.csv", "annotation_id,annotator,id,image,label\n1,1,1,a.jpg,[]\n", "Label Studio"),
    ("train/metadata.jsonl", '{"file_name": "a.jpg"}', "lines of JSON"),
    ("project.vott", "{}", "VoTT"),
    ("labels.json.gz", "", "an archive"),
    ("export.ZIP", "", "no labels found in it (1 .zip"),
    ("export.zip", "", "an archive"),
]


@pytest.mark.parametrize(("name", "text", "word"), FILES)
def test_it_is_called_by_its_name(name: str, text: str, word: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    claims.refused(lambda: open_dataset(tmp_path), tmp_path, word, error=UserError)
    assert main(["check", str(tmp_path)]) == 2


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("filename,width,height,class,xmin\n")
    claims.refused(lambda: open_dataset(path), path, "a table", "COCO JSON", error=UserError)


def test_what_is_there(tmp_path: Path) -> None:
    """No labels: the line says what is there, and what was looked for."""
    claims.refused(lambda: open_dataset(tmp_path), "nothing", error=UserError)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "notes.docx").write_text("")
    (tmp_path / "raw").mkdir()
    words = ("1 .png", "1 .docx", "raw/", "images/ beside masks/")
    claims.refused(lambda: open_dataset(tmp_path), *words, error=UserError)


def test_labelme_of_cvat_is_told(tmp_path: Path) -> None:
    (tmp_path / "default").mkdir()
    head = "<annotation><filename>a.jpg</filename><source><sourceAnnotation/></source></annotation>"
    (tmp_path / "default" / "a.xml").write_text(head)
    with pytest.raises(UserError, match="LabelMe's XML.*CVAT for images 1.1"):
        open_dataset(tmp_path)
