"""The page's lines for Spark, as they stand: `pip install pyspark` and a Java for it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from photos import photos

from maskrcnn.scale.batch_predictor import BatchPredictor

pytest.importorskip("pyspark")
pytestmark = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
PAGE = Path(__file__).parents[2] / "docs/scale.md"


@pytest.mark.usefixtures("one_thread")
def test_spark_gives_the_rows_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    from pyspark.sql import SparkSession

    folder = photos(tmp_path / "photos", 5, broken=(3,))
    code = PAGE.read_text().split("In Spark")[1].split("```")[1].removeprefix("python\n")
    code = code.replace('"photos"', f'"{folder}"').replace("# spark.read", "rows = spark.read")
    spark = SparkSession.builder.master("local[2]").getOrCreate()
    try:
        given = {"spark": spark}
        exec(code, given)
        found = {Path(row.address).name: row.asDict() for row in given["rows"].collect()}  # type: ignore[attr-defined]
    finally:
        spark.stop()
    paths = sorted(folder.iterdir())
    ours = BatchPredictor("person-mobilenet").rows([{"address": str(path)} for path in paths])
    assert sorted(found) == [path.name for path in paths] and ours[3]["error"]
    for path, row in zip(paths, ours, strict=True):
        there = {name: value for name, value in found[path.name].items() if value is not None}
        assert there["sha256"] == row["sha256"] and there.get("error") == row.get("error")
        assert there.get("boxes") == row.get("boxes") and there.get("rle") == row.get("rle")
