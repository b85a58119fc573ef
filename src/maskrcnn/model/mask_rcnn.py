"""Mask R-CNN (He et al. 2017): read this file first, it is the paper's Figure 1.

    images -> backbone -> neck -> RPN -> proposals -> RoIAlign -> class and box        -> detections
                                                              \\-> mask, keypoints (of the detections)

Shapes are fixed and every list of boxes carries a `valid` mask (docs/architecture.md, "Fixed shapes and
validity masks"): B images, P proposals, R sampled RoIs, D detections, K classes. The network never resizes,
never pastes and never loops over images.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from maskrcnn.config.model import ModelConfig
from maskrcnn.images.batch import Targets
from maskrcnn.model.backbone.backbone import Backbone
from maskrcnn.model.box_head import BoxHead, detect
from maskrcnn.model.keypoint_head import KeypointHead
from maskrcnn.model.losses import keypoint_loss
from maskrcnn.model.mask_head import MaskHead, head_loss, mask_targets, own_class
from maskrcnn.model.mlp_mask_head import MLPMaskHead
from maskrcnn.model.roi_features import RoiFeatures
from maskrcnn.model.roi_sampling import SampledRois, sample_rois
from maskrcnn.model.rpn import RPN, Proposals
from maskrcnn.model.valid_rows import kept_rows, scatter_rows
from maskrcnn.ops import heatmaps


class RawDetections(NamedTuple):
    """What the network found, in the pixels of the padded images, best first."""

    boxes: Tensor  # (B, D, 4) xyxy
    scores: Tensor  # (B, D); NaN throughout an image whose numbers overflowed
    labels: Tensor  # (B, D) int64
    valid: Tensor  # (B, D) bool; the rest of a row is meaningless where false
    masks: Tensor | None = None  # (B, D, m, m) probabilities over the box
    keypoints: Tensor | None = None  # (B, D, K, 3) x, y, score; where `decode` is "oks" or "subpixel"
    keypoint_logits: Tensor | None = None  # (B, D, K, S, S), where `decode` is "resize"


class MaskRCNN(nn.Module):
    """The network. Built by `maskrcnn.model.build.build`, which shows how the parts fit; any head may be
    None: without masks and keypoints this is Faster R-CNN, without a box head the proposals are the
    detections."""

    mean: Tensor
    std: Tensor
    sigmas: Tensor

    def __init__(
        self,
        *,
        config: ModelConfig,
        backbone: Backbone,
        neck: nn.Module | None,
        rpn: RPN,
        roi_features: RoiFeatures,
        box_head: BoxHead | None,
        mask_head: MaskHead | MLPMaskHead | None,
        keypoint_head: KeypointHead | None,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone, self.neck, self.rpn, self.roi_features = backbone, neck, rpn, roi_features
        self.box_head, self.mask_head, self.keypoint_head = box_head, mask_head, keypoint_head
        self.register_buffer("mean", _channels(config.input.mean), persistent=False)
        self.register_buffer("std", _channels(config.input.std), persistent=False)
        sigmas = config.keypoints.sigmas if config.keypoints else []
        self.register_buffer("sigmas", torch.tensor(sigmas, dtype=torch.float32), persistent=False)

    def forward(
        self, images: Tensor, sizes: Tensor, targets: Targets | None = None
    ) -> RawDetections | dict[str, Tensor]:
        """Detections or, where `targets` are given, losses.

        Args:
            images: (B, C, H, W) RGB, 0 to 255, uint8 or float, padded right and below; H and W multiples of
                `config.input.divisor`.
            sizes: (B, 2) height and width of each image inside its padding.
        """
        return self.detect(images, sizes) if targets is None else self.losses(images, sizes, targets)

    def detect(self, images: Tensor, sizes: Tensor, score: Tensor | float | None = None) -> RawDetections:
        """The test-time network; `score` in place of `test.score`, which an exported graph takes as an
        input.
        """
        features = self.features(images, sizes)
        rpn, output = self.config.rpn, self.rpn(features)
        proposals = self.rpn.propose(output, sizes, before=rpn.pre_nms_test, after=rpn.post_nms_test)
        seen = [*output.objectness, *output.deltas]
        if self.box_head is None:
            return _nan_where_overflowed(self._proposals_alone(proposals), seen)
        rows, shape = kept_rows(proposals.valid), proposals.valid.shape
        boxes, image = proposals.boxes.flatten(0, 1)[rows], rows // shape[1]
        logits, deltas = self.box_head(self.roi_features.for_box(features, boxes, image))
        logits, deltas = scatter_rows(logits, rows, shape), scatter_rows(deltas, rows, shape)
        boxes, scores, labels, valid = detect(
            logits,
            deltas,
            proposals.boxes,
            proposals.valid,
            sizes,
            self.box_head.config,
            self.config.test,
            score,
        )
        found = self._masks_and_keypoints(features, RawDetections(boxes, scores, labels, valid))
        return _nan_where_overflowed(found, [*seen, logits, deltas])

    def losses(self, images: Tensor, sizes: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The losses, unweighted sum of which is trained: `rpn_objectness`, `rpn_box`, `class`, `box`, and
        `mask` and `keypoint` where there are such heads. Each is a mean over images."""
        features = self.features(images, sizes)
        output = self.rpn(features)
        losses = self.rpn.losses(output, targets)
        if self.box_head is None:
            return losses
        rpn = self.config.rpn
        proposals = self.rpn.propose(output, sizes, before=rpn.pre_nms_train, after=rpn.post_nms_train)
        rois = sample_rois(proposals.boxes, proposals.valid, targets, self.config.roi)
        return losses | self.roi_losses(features, rois, targets)

    def features(self, images: Tensor, sizes: Tensor) -> list[Tensor]:
        """Feature levels (B, C, H_l, W_l) of images: normalised, with zeros in the padding, channels-last."""
        height, width = images.shape[-2:]
        rows = torch.arange(height, device=images.device) < sizes[:, :1]
        columns = torch.arange(width, device=images.device) < sizes[:, 1:]
        inside = (rows[:, None, :, None] & columns[:, None, None, :]).to(self.mean.dtype)
        if self.config.input.order == "bgr":
            images = images.flip(1)
        x = (images.to(self.mean.dtype) - self.mean) / self.std * inside
        levels = self.backbone(x.contiguous(memory_format=torch.channels_last))
        return self.neck(levels) if self.neck is not None else levels[-1:]

    def roi_losses(self, features: list[Tensor], rois: SampledRois, targets: Targets) -> dict[str, Tensor]:
        """Class, box, mask and keypoint losses of sampled RoIs."""
        assert self.box_head is not None
        images, count = shape = rois.valid.shape
        rows = kept_rows(rois.valid)
        boxes, image = rois.boxes.flatten(0, 1)[rows], rows // count
        box_features = self.roi_features.for_box(features, boxes, image)
        logits, deltas = self.box_head(box_features)
        logits, deltas = scatter_rows(logits, rows, shape), scatter_rows(deltas, rows, shape)
        losses = self.box_head.losses(logits, deltas, rois, targets)
        if self.mask_head is None and self.keypoint_head is None:
            return losses

        # from here on the columns that can hold positives only, N rows of the flattened (B, prefix)
        prefix = rois.prefix
        positive_rows = kept_rows(rois.positive[:, :prefix])
        image = positive_rows // prefix if prefix else positive_rows
        columns = positive_rows - image * prefix
        positive, boxes, slot = (x[image, columns] for x in (rois.positive, rois.boxes, rois.object_index))
        settings = self.config.mask_head
        if self.mask_head is not None and settings is not None:
            place = torch.searchsorted(rows, image * count + columns)
            x = self.roi_features.for_mask_of_some(features, boxes, image, box_features, place)
            logits, labels = self.mask_head(x), targets.labels[image, slot]
            bitmaps, covers = targets.masks[image, slot], targets.mask_boxes[image, slot]
            wanted = mask_targets(boxes, bitmaps, covers, logits.shape[-1], settings)
            weights = (positive & targets.has_mask[image, slot]).float()
            losses["mask"] = head_loss(logits, wanted, labels, weights, image, images, settings)
        if self.keypoint_head is not None:
            heat = self.keypoint_head(self.roi_features.for_keypoints(features, boxes, image))
            cells, inside = heatmaps.encode(targets.keypoints[image, slot], boxes, heat.shape[-1])
            weights = (inside & positive.unsqueeze(-1)).float()
            loss = keypoint_loss(heat, cells, weights, image, images)
            losses["keypoint"] = loss * self.keypoint_head.config.loss_weight
        return losses

    def _masks_and_keypoints(self, features: list[Tensor], found: RawDetections) -> RawDetections:
        """Adds the masks and keypoints of detections: run on the final boxes only, as in the paper."""
        shape = found.valid.shape
        rows = kept_rows(found.valid)
        boxes, image = found.boxes.flatten(0, 1)[rows], rows // shape[1]
        settings = self.config.mask_head
        if self.mask_head is not None and settings is not None:
            logits = self.mask_head(self.roi_features.for_mask(features, boxes, image))
            own = own_class(logits, found.labels.flatten()[rows], settings.loss)
            found = found._replace(masks=scatter_rows(own.float().sigmoid(), rows, shape))
        if self.keypoint_head is not None:
            heat = self.keypoint_head(self.roi_features.for_keypoints(features, boxes, image))
            if self.keypoint_head.config.decode == "resize":
                return found._replace(keypoint_logits=scatter_rows(heat, rows, shape))
            points = self.keypoint_head.points(heat, boxes, self.sigmas)
            found = found._replace(keypoints=scatter_rows(points, rows, shape))
        return found

    def _proposals_alone(self, proposals: Proposals) -> RawDetections:
        """Proposals as detections of the only class there is, where there is no second stage."""
        count = min(self.config.test.detections, proposals.scores.shape[1])
        boxes, scores, valid = (part[:, :count] for part in proposals)
        return RawDetections(boxes, scores.sigmoid(), torch.zeros_like(valid, dtype=torch.int64), valid)


def _nan_where_overflowed(found: RawDetections, seen: list[Tensor]) -> RawDetections:
    """Scores are NaN throughout an image of which a number the network computed, in `seen` (each (B, ...)) or
    `found`, is NaN or infinite: no threshold takes such a number, so that nothing would be found.
    """
    seen = seen + [x for x in (found.masks, found.keypoints, found.keypoint_logits) if x is not None]
    total = torch.stack([x.flatten(1).sum(1, dtype=torch.float32) for x in seen]).sum(0)
    scores = torch.where((total.abs() < math.inf)[:, None], found.scores, math.nan)
    return found._replace(scores=scores)


def _channels(values: list[float]) -> Tensor:
    """(C, 1, 1) of one value a channel."""
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
