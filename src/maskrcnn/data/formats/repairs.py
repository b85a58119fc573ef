"""What a reader repaired: counted by kind, with the first record of each kind to look up."""

from __future__ import annotations

from collections import Counter

# kind of repair: what a person can do about it
REMEDIES = {
    "annotation without a picture dropped": "add the picture to 'images' or delete the annotation",
    "annotation without a usable box dropped": "give it a bbox of four numbers",
    "zero-area box dropped": "give it a width and height above 0",
    "box outside the picture dropped": "correct the bbox: x, y, width, height in pixels",
    "non-finite coordinates dropped": "replace NaN, infinity or null by numbers",
    "reversed box swapped": "write x, y of the upper left corner and a positive width and height",
    "box clipped to the picture": "correct the bbox: x, y, width, height in pixels",
    "missing box taken from the mask": "add the bbox",
    "polygon that is no ring of three points dropped": "write x1, y1, x2, y2, x3, y3, ... for each polygon",
    "polygon without its outer list accepted": "write the segmentation as a list of polygons",
    "mask without a pixel dropped": "label the mask again; the box is kept",
    "missing area computed": "add the area of the mask in pixels",
    "missing iscrowd taken as 0": "add iscrowd: 0 or 1",
    "missing or duplicate annotation id renumbered": "give every annotation a whole number of its own",
    "missing picture size read from the picture": "add width and height",
    "non-finite keypoint taken as unlabelled": "replace NaN, infinity or null by numbers, or set its visibility to 0",
    "keypoints of another class dropped": "keep one set of keypoint names in a file",
    "skeleton counted from 0 accepted": "count keypoints from 1 in the skeleton",
    "skeleton pair outside the keypoints dropped": "correct the skeleton",
    "sigmas of 0.05 assumed": "add 'sigmas', one tolerance for each keypoint, to the category",
    "keypoint without its mirror image left in place": "add 'flip_pairs', pairs of keypoint names, to the category",
    "picture without labels left out": "add its label picture, all 0 when nothing is in it",
}


class Repairs:
    """A tally that becomes a data set's `repairs` and `warnings`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def note(self, kind: str, record: str) -> None:
        """One more repair of a `kind` that REMEDIES knows, on `record`."""
        self.counts[kind] += 1
        self._first.setdefault(kind, record)

    def lines(self, name: str) -> list[str]:
        """One line for each kind: how often, the first record, the remedy."""
        return [
            f"{name}: {kind}: {count}, first {self._first[kind]}; {REMEDIES[kind]}"
            for kind, count in self.counts.items()
        ]
