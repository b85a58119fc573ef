"""The classes of the public data sets that published checkpoints were trained on, in their order, with their
own ids.
"""

from __future__ import annotations

COCO = (
    "person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign "
    "parking_meter bench "
    "bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase frisbee "
    "skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard tennis_racket bottle "
    "wine_glass cup fork "
    "knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair couch "
    "potted_plant bed "
    "dining_table toilet tv laptop mouse remote keyboard cell_phone microwave oven toaster sink refrigerator "
    "book clock vase scissors teddy_bear hair_drier toothbrush"
)
# ids of COCO's 91 planned categories that no image was labelled with
COCO_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
CITYSCAPES = "person rider car truck bus train motorcycle bicycle"
VOC = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
)


def coco_classes() -> tuple[list[str], list[int]]:
    """The 80 names, and their ids in COCO's files, 1 to 90 with gaps."""
    return _names(COCO), [i for i in range(1, 91) if i not in COCO_UNUSED]


def coco_classes_with_gaps() -> tuple[list[str], list[int]]:
    """The same with a class for each unused id, as torchvision has them: 90 names, ids 1 to 90."""
    names, ids = coco_classes()
    by_id = dict(zip(ids, names, strict=True))
    return [by_id.get(i, f"unused {i}") for i in range(1, 91)], list(range(1, 91))


def classes_of(data: str, count: int, people: bool = False) -> tuple[list[str], list[int]]:
    """Names and ids of `count` classes of the data set called `data`; numbered names where we do not know
    them.

    Args:
        people: the network finds the keypoints of people, so that a single class is theirs.
    """
    known = {
        "COCO": coco_classes(),
        "Cityscapes": (_names(CITYSCAPES), [24, 25, 26, 27, 28, 31, 32, 33]),
        "VOC": (_names(VOC), list(range(1, 21))),
    }
    names, ids = known.get(data, ([], []))
    if len(names) == count:
        return names, ids
    if data == "COCO" and count == 90:
        return coco_classes_with_gaps()
    if people and count == 1:
        return ["person"], [1]
    return [f"class {i}" for i in range(1, count + 1)], list(range(1, count + 1))


def _names(text: str) -> list[str]:
    return [name.replace("_", " ") for name in text.split()]
