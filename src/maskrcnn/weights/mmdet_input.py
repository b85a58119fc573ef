"""What mmdetection does with a test image before its network sees it, as settings of ours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maskrcnn.errors import UserError
from maskrcnn.weights.mmdet_text import at, expressions, is_number

Step = Mapping[str, Any]
COARSEST_STRIDE = 32  # of the levels that are added up, pixels
# those that change nothing, or what is read below
KNOWN = {
    *("LoadImageFromFile", "LoadImageFromNDArray", "InferencerLoader", "LoadAnnotations", "LoadProposals"),
    *("MultiScaleFlipAug", "Resize", "RandomFlip", "Normalize", "Pad"),
    *("DefaultFormatBundle", "ImageToTensor", "ToTensor", "Collect", "PackDetInputs"),
}


def input_of(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Order, normalisation, padding and sides of a test image.

    Raises:
        UserError: it goes through what this package has not.
    """
    pipeline = _test_pipeline(settings, where)
    for place, value in expressions(pipeline, "pipeline"):
        raise _refused(where, f"go through {place}={value:.60}, which is no plain value")
    if not isinstance(pipeline, list | None):
        raise _refused(where, f"go through {pipeline!r:.60}, where a list of steps is expected")
    steps = list(_steps(pipeline))
    whole = at(settings, "model.data_preprocessor") or at(settings, "data_preprocessor")
    third = isinstance(whole, Mapping)  # version 3; version 2 has steps of its own for the same
    if not steps and not third:
        return {}
    for step in steps:
        if step["type"] not in KNOWN:
            raise _refused(where, f"go through {step['type']:.60}, which this package has not")
    load, normalise, pad = (_one(steps, name, where) for name in ("LoadImageFromFile", "Normalize", "Pad"))
    if load.get("color_type", "color") != "color":
        raise _refused(where, f"are read as {load['color_type']!r:.60}, and here in colour")
    if pad.get("size") is not None or pad.get("pad_to_square"):
        raise _refused(where, "are padded to one size, and here to a multiple of a number")
    filled = pad.get("pad_val", 0)
    filled = filled.get("img", 0) if isinstance(filled, Mapping) else filled
    if filled not in (0, [0, 0, 0]) or (third and whole.get("pad_value", 0) != 0):
        raise _refused(where, "are padded with another value than 0")
    if _one(steps, "RandomFlip", where).get("prob") not in (None, 0):
        raise _refused(where, "are flipped at random")
    if third and normalise:
        raise _refused(where, "go through Normalize and a data_preprocessor, and here through one of them")
    norm = whole if third else normalise
    if third:
        turned = [norm.get("bgr_to_rgb", False), norm.get("rgb_to_bgr", False)]
    else:
        turned = [norm.get("to_rgb", True)] if norm else []
    if not all(isinstance(each, bool) for each in turned):
        raise _refused(where, f"are turned to RGB or not by {turned!r:.60}, where True or False is expected")
    ours: dict[str, Any] = {
        "input.order": "rgb" if any(turned) != (load.get("channel_order") == "rgb") else "bgr",
        "input.divisor": _divisor(where, norm.get("pad_size_divisor"), pad.get("size_divisor")),
    }
    for name, default in (("mean", 0.0), ("std", 1.0)):
        said = norm.get(name)
        ours[f"input.{name}"] = [default] * 3 if said is None else said
        if not isinstance(ours[f"input.{name}"], list) or not all(map(is_number, ours[f"input.{name}"])):
            raise _refused(where, f"are normalised by a {name} of {said!r:.60}, where numbers are expected")
    return ours | (_sides(steps, where, third) if steps else {})


def _sides(steps: Sequence[Step], where: str, third: bool) -> dict[str, Any]:
    """The two sides that a test image is resized to."""
    resize, several = (_one(steps, name, where) for name in ("Resize", "MultiScaleFlipAug"))
    if several.get("flip"):
        raise _refused(where, "are flipped as well, which --tta is for: say flip=False")
    scale = several.get("img_scale") or resize.get("scale") or resize.get("img_scale")
    if isinstance(scale, list) and len(scale) == 1:
        scale = scale[0]
    if not resize:
        raise _refused(where, "are not resized, and here they are: say to which scale with a Resize")
    if resize.get("keep_ratio", not third) is not True:
        raise _refused(
            where,
            f"are resized to {scale!r:.60} with keep_ratio=False, and here they keep their ratio: where all "
            "have that of the scale, say keep_ratio=True",
        )
    if not isinstance(scale, list) or [type(side) for side in scale] != [int, int]:
        raise _refused(where, f"are resized to {scale!r:.60}, where two numbers are expected")
    return {"input.short_side": min(scale), "input.long_side": max(scale)}


def _divisor(where: str, *given: Any) -> int:
    """What both sides are padded to a multiple of."""
    said = [value for value in given if value is not None]
    if not all(type(value) is int and value > 0 for value in said):
        raise _refused(where, f"are padded to multiples of {said!r:.60}, where one number is expected")
    if math.lcm(*said) % COARSEST_STRIDE:
        raise _refused(where, f"are padded to a multiple of {math.lcm(*said)}, and here of {COARSEST_STRIDE}")
    return math.lcm(*said)


def _one(steps: Sequence[Step], name: str, where: str) -> Step:
    """The step of that name; an empty one where there is none."""
    found = [step for step in steps if step["type"] == name]
    if len(found) > 1:
        raise _refused(where, f"go through {name} {len(found)} times, and here once")
    return found[0] if found else {}


def _refused(where: str, what: str) -> UserError:
    return UserError(
        f"{where}: its test images {what}; change that in the .py that mmdetection wrote into work_dir, and "
        "give it with --config"
    )


def _test_pipeline(settings: Mapping[str, Any], where: str) -> Any:
    """Of the test split, else of val."""
    for name in ("test_dataloader.dataset", "data.test", "val_dataloader.dataset", "data.val"):
        found = list(_pipelines(at(settings, name)))
        if any(one != found[0] for one in found):
            raise _refused(where, f"go through several pipelines ({name}), and here through one")
        if found:
            return found[0]
    return settings.get("test_pipeline")


def _pipelines(data: Any) -> Iterator[Any]:
    """Of a data set, of one around another, or of several."""
    if isinstance(data, list):
        for each in data:
            yield from _pipelines(each)
    elif isinstance(data, Mapping) and "pipeline" in data:
        yield data["pipeline"]
    elif isinstance(data, Mapping):
        yield from _pipelines(data.get("dataset") or data.get("datasets"))


def _steps(pipeline: Any) -> Iterator[Step]:
    for step in pipeline if isinstance(pipeline, list) else ():
        if isinstance(step, list):  # of which one is chosen
            yield from _steps(step)
        elif isinstance(step, dict) and isinstance(step.get("type"), str):
            yield step
            yield from _steps(step.get("transforms"))
