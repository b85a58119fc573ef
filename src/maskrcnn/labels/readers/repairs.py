"""What a reader repaired or refused: counted by kind, with the first records of each kind to look up."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from maskrcnn.errors import DataError

if TYPE_CHECKING:
    from maskrcnn.labels.file_dataset import FileDataset

# kind of repair: what a person can do about it
REMEDIES = {
    "annotation without an image dropped": "add the image to 'images' or delete the annotation",
    "annotation without a usable box dropped": "give it a bbox of four numbers",
    "zero-area box dropped": "give it a width and height above 0",
    "box outside the image dropped": "correct the bbox: x, y, width, height in pixels",
    "box that fits only with x and y swapped dropped": "write x before y, width before height",
    "non-finite coordinates dropped": "replace NaN, infinity or null by numbers",
    "reversed box swapped": "write x, y of the upper left corner and a positive width and height",
    "box clipped to the image": "correct the bbox: x, y, width, height in pixels",
    "missing box taken from the mask": "add the bbox",
    "polygon that is no ring of three points dropped": "write x1, y1, x2, y2, x3, y3, ... for each polygon",
    "polygon without its outer list accepted": "write the segmentation as a list of polygons",
    "mask without a pixel dropped": "label the mask again; the box is kept",
    "missing area computed": "add the area of the mask in pixels",
    "missing iscrowd taken as 0": "add iscrowd: 0 or 1",
    "missing or duplicate annotation id renumbered": "give every annotation a whole number of its own",
    "missing image size read from the image": "add width and height",
    "non-finite keypoint taken as unlabelled": "replace NaN, infinity or null by numbers, or set its visibility to 0",
    "keypoints of another class dropped": "keep one set of keypoint names in a file",
    "skeleton counted from 0 accepted": "count keypoints from 1 in the skeleton",
    "skeleton pair outside the keypoints dropped": "correct the skeleton",
    "sigmas of 0.05 assumed": "add 'sigmas', one tolerance for each keypoint, to the category",
    "keypoint without its mirror image left in place": "add 'flip_pairs', pairs of keypoint names, to the category",
    "image without labels left out": "add its label image, all 0 when nothing is in it",
    "object without a class dropped": "give every object a class",
    "image without an XML file left out": "label it, or write an XML file without objects when nothing is in it",
    "image without gtFine labels left out": "add its labels, or delete the image",
    "image without a mask image left out": "add its mask, all 0 when nothing is in it",
    "object without pixels in its mask image keeps its box": "draw its mask with the number of the object",
    "mask outside its box dropped": "number the masks in the order of the objects; the box is kept",
    "mask without an object in the XML dropped": "add the object to the XML",
    "filename in the XML that is not its image's passed over": "correct <filename>; images are found by the XML's name",
    "VOC box of a set that counts from 0": "nothing to do if its tool does, as CVAT; VOC itself counts pixels from 1",
    "rotated VOC box dropped": "label an upright <bndbox> or a mask",
    "difficult flag of VOC not kept": "difficult objects count as any other; delete those that should not",
    "truncated or occluded flag of VOC not kept": "nothing to do: these are trained on as any other",
    "pose, parts, actions or attributes of VOC not kept": "make what the model should tell apart a class",
    "polygon in the XML of VOC not kept": "export as COCO JSON to have masks; the box is kept",
    "caravan or trailer left out": "nothing to do: Cityscapes does not evaluate them",
    "instance of an unknown class dropped": "use the ids of Cityscapes: 24 person to 33 bicycle",
    "label that Cityscapes does not have taken as background": "use its labels, as person, car, bicycle or cargroup",
    "object hidden by later ones dropped": "order the objects from back to front",
    "unknown class of LVIS passed over": "add the class to 'categories' or delete its id from the image",
    "negative class that is in the image taken as there": "delete its id from neg_category_ids",
    "box in the text that is not its mask's passed over": "correct the text in Annotation; the mask is what counts",
    "mask that the text does not list kept": "delete the mask if it is no person, else nothing",
    "attribute left out": "nothing to do: they are not trained on; make what the model should tell apart a class",
    "occlusion flag left out": "nothing to do: these are trained on as any other",
    "z order left out": "cut hidden parts off the lower shapes if masks should not overlap",
    "turned box replaced by the box around it": "label the object with a polygon for a tight outline",
    "shape of an unread kind left out": "label objects with polygons, masks or boxes",
    "shape without a frame left out": "export anew",
    "track left out": "export as 'CVAT for images 1.1', which splits tracks into images",
    "group of several skeletons kept apart": "give each object a group of its own",
    "box taken from the keypoints": "group the skeleton with a box or polygon of the same label",
    "second keypoint of the same name left out": "delete one of them",
    "keypoint without an object left out": "make it a child of the object's box or polygon",
    "prediction left out": "accept it in the tool, so that it becomes an annotation",
    "annotation by another person left out": "nothing to do if the first one is right; else delete it in the tool",
    "task without an annotation left out": "submit it, empty when nothing is in the image",
    "second label of a shape left out": "give each shape one label",
    "shape without a label left out": "give it a label",
    "shape on a turned image left out": "turn the image back and label it again",
    "tag left out": "nothing to do: they are not trained on; make what the model should tell apart a class",
    "figure bound to others kept apart": "merge the figures of one object into one",
    "image without an annotation file left out": "label it, or export it with an empty list of objects",
    "mask clipped to the image": "draw the mask again",
    "outline too long to draw dropped": "correct its points: x and y in pixels",
    "folder without masks left out": "add a folder masks, empty when nothing is in the image",
    "image without an annotation left out": "add its label image and an entry in annotations",
    "stuff segment left out": "nothing to do: stuff has no instances; set isthing to 1 for what should be found",
    "segment without a pixel dropped": "paint it in the label image, or delete it",
    "segment that is not listed left out": "add it to segments_info with its category",
    "label file without an image left out": "restore its image or delete it",
    "keypoints without flip_idx left in place": "add flip_idx, the keypoint that each becomes in a mirror, to data.yaml",
    "JSON file that is not LabelMe's passed over": "nothing to do if it is another file; else save it again in LabelMe",
    "imagePath that is not there, image of the file's name taken": "correct imagePath, or nothing if it is the image",
    "shape that LabelMe ignores left out": "nothing to do; rename the label to learn it",
    "turned box read as a polygon": "nothing to do if the corners are the outline; else draw a polygon",
    "image without a list of regions taken as empty": "export it again, or nothing to do when nothing is in it",
    "image with another number of regions than its region_count": "export it again if lines were lost",
    "region of several classes left out": "tick one class for each region",
    "polyline closed to a polygon": "nothing to do if it goes round the object; else draw a polygon",
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


class Refused(DataError):
    """A record that cannot be used. `kind` is what it has in common with others like it, `record` what names it."""

    def __init__(self, kind: str, record: str, line: str) -> None:
        super().__init__(line)
        self.kind = kind
        self.record = record


class RefusedRecords(DataError):
    """Labels with records that cannot be used: one line about the first of them, for who wants to train.

    Attributes:
        refused: all of them, in the order in which they were met.
        labels: what the other records hold, for who wants to look; None where nothing is left.
    """

    def __init__(self, refused: list[Refused], labels: FileDataset | None) -> None:
        line = str(refused[0])
        if len({str(one) for one in refused}) > 1:  # not where the line itself counts them
            line += f" (the first of {len(refused)} records that cannot be used; maskrcnn check tells of all)"
        super().__init__(line)
        self.refused = refused
        self.labels = labels
