"""The tables of the paper: two variants that are compared differ in one setting and nothing else."""

from __future__ import annotations

import pytest

from maskrcnn.config.section import dotted
from maskrcnn.errors import UserError
from maskrcnn.model.build import build
from maskrcnn.reproduce.table import Comparison, Table, names, read_table

PAIRS = [(name, comparison) for name in names() for comparison in read_table(name).comparisons]


def changed(table: Table, comparison: Comparison) -> set[str]:
    """The settings in which the two differ; of a section that only one of them has, its name."""
    flat = []
    for name in (comparison.of, comparison.to):
        flat.append(dotted(table.config(table.variant(name), 3).model_dump()))
    keys = {key for key in {*flat[0], *flat[1]} if flat[0].get(key, 0) != flat[1].get(key, 0)}
    missing = {key for key in keys if any(key in one and one[key] is None for one in flat)}
    return {next((m for m in missing if key.startswith(f"{m}.")), key) for key in keys}


@pytest.mark.parametrize(("name", "comparison"), PAIRS, ids=lambda value: str(getattr(value, "to", value)))
def test_variants_that_are_compared_differ_in_one_field(name: str, comparison: Comparison) -> None:
    table = read_table(name)
    difference = changed(table, comparison)
    if "model.neck.kind" in difference:  # anchors of the same sizes: on one map, or spread over the levels
        sizes = [
            table.config(table.variant(each), 0).model.rpn.sizes for each in (comparison.of, comparison.to)
        ]
        assert [sorted(sum(each, [])) for each in sizes] == [sorted(sum(sizes[0], []))] * 2
        difference -= {"model.rpn.sizes"}
    assert len(difference) == 1, difference
    assert table.variant(comparison.of).after == table.variant(comparison.to).after


@pytest.mark.parametrize("name", names())
def test_every_variant_is_a_network(name: str) -> None:
    table = read_table(name).with_overrides([])
    from maskrcnn.config.keypoints import coco_keypoints

    for variant in table.variants:
        model = table.config(variant, 0).model
        model.classes, model.keypoints = ["a", "b"], coco_keypoints()
        build(model)


def test_own_settings_reach_every_variant_and_none_that_the_table_settles() -> None:
    table = read_table("2d").with_overrides(["model.input.short_side=640", "model.input.long_side=700"])
    for variant in table.variants:
        model = table.config(variant, 0).model
        assert (model.input.short_side, model.input.long_side) == (640, 700)
        assert (model.roi.op == "pool") == (variant.name == "RoIPool")  # the table's own is as it was
    assert table.model_dump_json() != read_table("2d").model_dump_json()  # so that another plan is made
    for override in ("model.roi.op=warp", "model.roi={}", "train.seed=3", "train.epochs=1"):
        with pytest.raises(UserError, match=f"--set {override}: the table itself settles"):
            read_table("2d").with_overrides([override])
    with pytest.raises(UserError, match="input"):
        read_table("2d").with_overrides(["model.input.shortside=640"])


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(UserError, match="--table 4: there are 2a, 2b.* timing and all"):
        read_table("4")
