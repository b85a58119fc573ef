"""The kinds of problems that labels have, each with what a person can do about it (`ProblemKind`)."""

from __future__ import annotations

from enum import Enum


class ProblemKind(Enum):
    """What a problem has in common with others like it, and what a person can do about it."""

    # repaired or left out, and counted
    ANNOTATION_WITHOUT_IMAGE = (
        "annotation without an image dropped",
        "add the image to 'images' or delete the annotation",
    )
    NO_BOX = "annotation without a usable box dropped", "give it a bbox of four numbers"
    ZERO_AREA_BOX = "zero-area box dropped", "give it a width and height above 0"
    BOX_OUTSIDE = "box outside the image dropped", "correct the bbox: x, y, width, height in pixels"
    SWAPPED_BOX = "box that fits only with x and y swapped dropped", "write x before y, width before height"
    NON_FINITE = "non-finite coordinates dropped", "replace NaN, infinity or null by numbers"
    REVERSED_BOX = (
        "reversed box swapped",
        "write x, y of the upper left corner and a positive width and height",
    )
    CLIPPED_BOX = "box clipped to the image", "correct the bbox: x, y, width, height in pixels"
    OUTLINE_OUTSIDE = (
        "outline without a pixel in the image dropped",
        "correct its points: x and y in pixels of this image",
    )
    CLIPPED_OUTLINE = "outline cut at the edge of the image", "correct its points: x and y in pixels"
    BOX_FROM_MASK = "missing box taken from the mask", "add the bbox"
    NEW_BOX_FROM_MASK = (
        "box without an area, or not of four finite numbers, taken from the mask",
        "correct the bbox: x, y, width, height in pixels",
    )
    SHORT_POLYGON = (
        "polygon that is no ring of three points dropped",
        "write x1, y1, x2, y2, x3, y3, ... for each polygon",
    )
    FLAT_POLYGON = "polygon without its outer list accepted", "write the segmentation as a list of polygons"
    EMPTY_MASK = "mask without a pixel dropped", "label the mask again; the box is kept"
    AREA_COMPUTED = "missing area computed", "add the area of the mask in pixels"
    ISCROWD_ASSUMED = "missing iscrowd taken as 0", "add iscrowd: 0 or 1"
    ID_RENUMBERED = (
        "missing or duplicate annotation id renumbered",
        "give every annotation a whole number of its own",
    )
    IMAGE_SIZE_READ = "missing image size read from the image", "add width and height"
    BACKSLASHES = "backslash in file_name read as a slash", "write / between folders"
    NEAR_NAME = (
        "image file of that name in other letters, or with another suffix, taken",
        "write file_name as the file is called",
    )
    LEADING_FOLDERS = (
        "leading folders of file_name left off",
        "write file_name relative to the folder of the images",
    )
    IMAGE_BY_PATH = (
        "image found by its path instead of its file_name",
        "write file_name relative to the folder of the images",
    )
    ISCROWD_TEXT = "iscrowd written as text read as a number", "write iscrowd: 0 or 1"
    ONLY_CROWDS = (
        "iscrowd 1 of every object: regions to ignore, and nothing to find",
        "set iscrowd to 0, as tools that draw with a brush write 1; or read them as objects: "
        "--set data.crowds=objects",
    )
    CROWD_AS_OBJECT = "crowd region read as an object", "nothing to do: data.crowds=objects says so"
    OTHER_CLASS_BACKGROUND = (
        "object of a class that data.classes leaves out taken for background",
        "nothing to do, or --set data.other_classes=ignore: neither object nor background",
    )
    OTHER_CLASS_IGNORED = (
        "object of a class that data.classes leaves out ignored",
        "nothing to do, or --set data.other_classes=background",
    )
    ID_OF_ANOTHER_KIND = (
        "id that is text in one place and a number in another matched",
        "write image_id and category_id as the id that they mean",
    )
    CATEGORY_ID_NO_NUMBER = (
        "category id that is no whole number taken as one",
        "give every category a whole number; what is written here has one",
    )
    CATEGORY_REPEATED = "category repeated with its id and name passed over", "delete the repetition"
    ROOT_CATEGORY = (
        "root category without an object left out",
        "nothing to do: Roboflow writes one above the classes",
    )
    PAIRS = "polygon of x, y pairs accepted", "write x1, y1, x2, y2, x3, y3, ... for each polygon"
    SEGMENTATION_TEXT = "segmentation in quotes read", "write the list or the object itself"
    NESTED_POLYGON = (
        "polygon inside a second list accepted",
        "write the segmentation as a list of polygons, each a list of numbers",
    )
    RLE_IN_LIST = "RLE inside a list accepted", "write the RLE itself as the segmentation"
    OTHER_COLUMN = (
        "column of the table passed over",
        "call the one with the classes 'class'; outlines are read from COCO JSON, masks from run lengths",
    )
    KEYPOINTS_UNNAMED = (
        "object whose category does not name its keypoints: they are called k1, k2, ...",
        "add 'keypoints', their names, to the category, and 'flip_pairs' if left and right are among them",
    )
    FILE_TWICE = (
        "image file under a second id",
        "join the annotations under one id; split keeps both in one part",
    )
    NON_FINITE_KEYPOINT = (
        "non-finite keypoint taken as unlabelled",
        "replace NaN, infinity or null by numbers, or set its visibility to 0",
    )
    ODD_VISIBILITY = (
        "keypoint whose visibility is not 0, 1 or 2: above 0 it is taken as labelled",
        "write x, y and the visibility: 0 not labelled, 1 hidden, 2 visible",
    )
    KEYPOINT_OUTSIDE = "keypoint outside the image", "correct it, or set its visibility to 0"
    FOREIGN_KEYPOINTS = "keypoints of another class dropped", "keep one set of keypoint names in a file"
    SKELETON_FROM_0 = "skeleton counted from 0 accepted", "count keypoints from 1 in the skeleton"
    SKELETON_PAIR = "skeleton pair outside the keypoints dropped", "correct the skeleton"
    SIGMAS_ASSUMED = (
        "sigmas of 0.05 assumed",
        "add 'sigmas', one tolerance for each keypoint, to the category",
    )
    KEYPOINT_WITHOUT_MIRROR = (
        "keypoint without its mirror image left in place",
        "add 'flip_pairs', pairs of keypoint names, to the category",
    )
    SEPARATE_PARTS = (
        "separate parts that share a number",
        "a mask of the foreground? Give each object its own number, or take each part for one: --split-parts",
    )
    NO_BACKGROUND = (
        "label image without a pixel of background",
        "nothing to do if objects cover all of it; else save the background, as ilastik's 1, as 0",
    )
    VOID_COLOUR = (
        "region of VOC's void colour 224,224,192 left out",
        "nothing to do: it is no object; paint one that is in another colour",
    )
    IMAGE_WITHOUT_LABELS = (
        "image without labels left out",
        "add its label image, all 0 when nothing is in it",
    )
    OTHER_LABEL_IMAGES = (
        "second folder of label images left out",
        "nothing to do if the first is meant; else move it out of there",
    )
    CLASS_SPACES = "spaces around the name of a class left out", "nothing to do, or correct the name"
    CLASSES_ALIKE = (
        "classes whose names differ only in case, spaces or dashes",
        "nothing to do if they are two; else give them one name in the labels",
    )
    NO_CLASS = "object without a class dropped", "give every object a class"
    IMAGE_WITHOUT_XML = (
        "image without an XML file left out",
        "label it, or write an XML file without objects when nothing is in it",
    )
    XML_IN_NO_LIST = (
        "XML file that no list of ImageSets names left out",
        "add its name to train.txt or val.txt, or nothing to do if it is not wanted",
    )
    IMAGE_WITHOUT_GTFINE = "image without gtFine labels left out", "add its labels, or delete the image"
    IMAGE_WITHOUT_MASK_IMAGE = (
        "image without a mask image left out",
        "add its mask, all 0 when nothing is in it",
    )
    OBJECT_WITHOUT_PIXELS = (
        "object without pixels in its mask image keeps its box",
        "draw its mask with the number of the object",
    )
    MASK_WITHOUT_ROW = (
        "mask without its box or its file left out",
        "download the boxes and masks of the same split",
    )
    MASK_OUTSIDE_BOX = (
        "mask outside its box dropped",
        "number the masks in the order of the objects; the box is kept",
    )
    MASK_WITHOUT_OBJECT = "mask without an object in the XML dropped", "add the object to the XML"
    VOC_NAMES = (
        "no list of classes: colours have the names of Pascal VOC",
        "nothing to do if they are VOC's; else write labelmap.txt or class_names.txt, as labelme2voc does",
    )
    VOC_FILENAME = (
        "filename in the XML that is not its image's passed over",
        "correct <filename>; images are found by the XML's name",
    )
    VOC_FROM_0 = (
        "VOC box of a set that counts from 0",
        "nothing to do if its tool does, as CVAT; VOC itself counts pixels from 1",
    )
    VOC_ROTATED_BOX = "rotated VOC box dropped", "label an upright <bndbox> or a mask"
    VOC_DIFFICULT = (
        "difficult flag of VOC not kept",
        "difficult objects count as any other; delete those that should not",
    )
    VOC_TRUNCATED = (
        "truncated or occluded flag of VOC not kept",
        "nothing to do: these are trained on as any other",
    )
    VOC_POSE = (
        "pose, parts, actions or attributes of VOC not kept",
        "make what the model should tell apart a class",
    )
    VOC_POLYGON = "polygon in the XML of VOC not kept", "export as COCO JSON to have masks; the box is kept"
    CITYSCAPES_UNEVALUATED = (
        "caravan or trailer left out",
        "nothing to do: Cityscapes does not evaluate them",
    )
    CITYSCAPES_UNKNOWN_CLASS = (
        "instance of an unknown class dropped",
        "use the ids of Cityscapes: 24 person to 33 bicycle",
    )
    CITYSCAPES_UNKNOWN_LABEL = (
        "label that Cityscapes does not have taken as background",
        "use its labels, as person, car, bicycle or cargroup",
    )
    HIDDEN_OBJECT = "object hidden by later ones dropped", "order the objects from back to front"
    LVIS_UNKNOWN_CLASS = (
        "unknown class of LVIS passed over",
        "add the class to 'categories' or delete its id from the image",
    )
    LVIS_NEGATIVE_PRESENT = (
        "negative class that is in the image taken as there",
        "delete its id from neg_category_ids",
    )
    PENN_FUDAN_BOX = (
        "box in the text that is not its mask's passed over",
        "correct the text in Annotation; the mask is what counts",
    )
    PENN_FUDAN_UNLISTED = (
        "mask that the text does not list kept",
        "delete the mask if it is no person, else nothing",
    )
    ATTRIBUTE = (
        "attribute left out",
        "nothing to do: they are not trained on; make what the model should tell apart a class",
    )
    OCCLUSION = "occlusion flag left out", "nothing to do: these are trained on as any other"
    Z_ORDER = "z order left out", "cut hidden parts off the lower shapes if masks should not overlap"
    TURNED_BOX = (
        "turned box replaced by the box around it",
        "label the object with a polygon for a tight outline",
    )
    UNREAD_SHAPE = "shape of an unread kind left out", "label objects with polygons, masks or boxes"
    SHAPE_WITHOUT_FRAME = "shape without a frame left out", "export anew"
    OTHER_PLANE = "shape on another page of a stack left out", "save each page as an image of its own"
    TEXT_PROPERTY = "property that may be the class left out", "take it for the class: --class-attribute NAME"
    QUPATH_IGNORED = (
        "object of a class that QuPath ignores left out",
        "nothing to do; take the * from the class's name to learn it",
    )
    TRACK = "track left out", "export as 'CVAT for images 1.1', which splits tracks into images"
    SEVERAL_SKELETONS = "group of several skeletons kept apart", "give each object a group of its own"
    BOX_FROM_KEYPOINTS = (
        "box taken from the keypoints",
        "group the skeleton with a box or polygon of the same label",
    )
    SECOND_KEYPOINT = "second keypoint of the same name left out", "delete one of them"
    LONE_KEYPOINT = "keypoint without an object left out", "make it a child of the object's box or polygon"
    PREDICTION = "prediction left out", "accept it in the tool, so that it becomes an annotation"
    OTHER_ANNOTATOR = (
        "annotation by another person left out",
        "nothing to do if the first one is right; else delete it in the tool",
    )
    TASK_WITHOUT_ANNOTATION = (
        "task without an annotation left out",
        "submit it, empty when nothing is in the image",
    )
    SECOND_LABEL = "second label of a shape left out", "give each shape one label"
    NO_LABEL = "shape without a label left out", "give it a label"
    TURNED_IMAGE = "shape on a turned image left out", "turn the image back and label it again"
    TAG = (
        "tag left out",
        "nothing to do: they are not trained on; make what the model should tell apart a class",
    )
    BOUND_FIGURE = "figure bound to others kept apart", "merge the figures of one object into one"
    IMAGE_WITHOUT_FILE = (
        "image without an annotation file left out",
        "label it, or export it with an empty list of objects",
    )
    CLIPPED_MASK = "mask clipped to the image", "draw the mask again"
    OVERLONG_OUTLINE = "outline too long to draw dropped", "correct its points: x and y in pixels"
    FOLDER_WITHOUT_MASKS = (
        "folder without masks left out",
        "add a folder masks, empty when nothing is in the image",
    )
    IMAGE_WITHOUT_ANNOTATION = (
        "image without an annotation left out",
        "add its label image and an entry in annotations",
    )
    IMAGE_WITHOUT_ROW = (
        "image without a row in the table left out",
        "add a row of its name alone where nothing is in it",
    )
    RUNS_ALONG_ROWS = (
        "run lengths read along the rows",
        "nothing to do: the runs show it; Kaggle's usually go down the columns",
    )
    STUFF = (
        "stuff segment left out",
        "nothing to do: stuff has no instances; set isthing to 1 for what should be found",
    )
    EMPTY_SEGMENT = "segment without a pixel dropped", "paint it in the label image, or delete it"
    MOTS_UNKNOWN_CLASS = (
        "object of an unknown class left out",
        "use 1000 times the class: 1 car, 2 pedestrian, 10 neither",
    )
    UNLISTED_SEGMENT = "segment that is not listed left out", "add it to segments_info with its category"
    LABELS_WITHOUT_IMAGE = "label file without an image left out", "restore its image or delete it"
    OBJECT_OF_SEVERAL_CLASSES = (
        "object of several classes takes that of most of its pixels",
        "paint the object in one class's colour",
    )
    OTHER_SUBSET = ("subset that is no split left out", "name it train, val or test, or read it by itself")
    BESIDE_SPLITS = (
        "labels beside the splits left out",
        "nothing to do if the splits have the same; else put them into a train, val or test split",
    )
    KEYPOINTS_WITHOUT_FLIP = (
        "keypoints without flip_idx left in place",
        "add flip_idx, the keypoint that each becomes in a mirror, to data.yaml",
    )
    FOREIGN_JSON = (
        "JSON file that is not LabelMe's passed over",
        "nothing to do if it is another file; else save it again in LabelMe",
    )
    IMAGE_PATH = (
        "imagePath that is not there, image of the file's name taken",
        "correct imagePath, or nothing if it is the image",
    )
    IGNORED_SHAPE = "shape that LabelMe ignores left out", "nothing to do; rename the label to learn it"
    TURNED_BOX_AS_POLYGON = (
        "turned box read as a polygon",
        "nothing to do if the corners are the outline; else draw a polygon",
    )
    BOX_WITH_OUTLINE = (
        "outline of a box drawn as a box (isbbox) left out",
        "nothing to do where boxes are enough; else outline the object",
    )
    NO_REGIONS = (
        "image without a list of regions taken as empty",
        "export it again, or nothing to do when nothing is in it",
    )
    REGION_COUNT = (
        "image with another number of regions than its region_count",
        "export it again if lines were lost",
    )
    SEVERAL_CLASSES = "region of several classes left out", "tick one class for each region"
    POLYLINE = (
        "polyline closed to a polygon",
        "nothing to do if it goes round the object; else draw a polygon",
    )
    # left out on the way to the network, and counted
    IMAGE_WITHOUT_OBJECT = (
        "image without an object left out",
        "data.empty=keep would learn from them as negatives",
    )
    REMNANT = (
        "remnant of an object at a tile's border ignored",
        "nothing to do: another tile shows more of it",
    )
    # refused: a training would not start
    ANNOTATION_NO_OBJECT = "annotation that is no object", "delete it"
    UNKNOWN_CLASS = "annotation of an unknown class", "add the category or correct the id"
    UNCLEAR_ISCROWD = "iscrowd that is neither 0 nor 1", "write 0 for an object, 1 for a crowd region"
    UNUSABLE_RLE = "RLE that cannot be used", "encode the mask again"
    SEGMENTATION_NO_MASK = "segmentation that is no mask", "correct it"
    KEYPOINT_COUNT = "keypoints of another number than their names", "correct them"
    IMAGE_MISSING = (
        "image file that is missing",
        "restore them or delete their entries; where they lie elsewhere, say so: --images FOLDER",
    )
    IMAGE_WITHOUT_ID = "image without an id", "give it a whole number"
    IMAGE_ID_TWICE = "image with the id of another", "give each its own, or delete one"
    IMAGE_WITHOUT_NAME = "image without a file_name", "add it"
    IMAGE_OUTSIDE_FOLDER = (
        "file_name that leaves the folder of the images",
        "write it relative to that folder, without '..'",
    )
    IMAGE_UNREADABLE = "image that cannot be opened", "replace it, or delete its entry from the labels"
    IMAGE_NO_SIZE = "image whose height or width is no size", "write its real size in pixels"

    def __init__(self, text: str, remedy: str) -> None:
        self.text = text
        self.remedy = remedy
