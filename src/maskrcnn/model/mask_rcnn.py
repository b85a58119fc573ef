"""Mask R-CNN (He et al. 2017): read this file first, it is the paper's Figure 1.

    images -> backbone -> neck -> RPN -> proposals -> RoIAlign -> class and box        -> detections
                                                              \\-> mask, keypoints (of the detections)

Shapes are fixed and every list of boxes carries a `valid` mask (design, section 3): B images, P proposals, R sampled
RoIs, D detections, K classes. The network never resizes, never pastes and never loops over images.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from maskrcnn.config.model import ModelConfig
from maskrcnn.images.batch import Targets
from maskrcnn.model.backbone.backbone import Backbone
from maskrcnn.model.box_head import BoxHead, detect
from maskrcnn.model.keypoint_head import KeypointHead
from maskrcnn.model.losses import box_loss, class_loss, keypoint_loss, mask_loss
from maskrcnn.model.mask_head import MaskHead, own_class
from maskrcnn.model.matching import match
from maskrcnn.model.roi_pooler import RoiPooler
from maskrcnn.model.rpn import RPN, Proposals
from maskrcnn.model.sampling import random_keys, sample
from maskrcnn.ops import boxes as box_ops
from maskrcnn.ops import heatmaps
from maskrcnn.ops.roi_align import roi_align_bitmaps
from maskrcnn.ops.tracing import exporting


class RawDetections(NamedTuple):
    """What the network found, in the pixels of the padded images, best first."""

    boxes: Tensor  # (B, D, 4) xyxy
    scores: Tensor  # (B, D)
    labels: Tensor  # (B, D) int64
    valid: Tensor  # (B, D) bool; the rest of a row is meaningless where false
    masks: Tensor | None = None  # (B, D, m, m) probabilities over the box
    keypoints: Tensor | None = None  # (B, D, K, 3) x, y, score; where `decode` is "oks" or "subpixel"
    keypoint_logits: Tensor | None = None  # (B, D, K, S, S), where `decode` is "resize"


class SampledRois(NamedTuple):
    """RoIs that the second stage is trained on; positives come first, within the first `prefix` columns."""

    boxes: Tensor  # (B, R, 4)
    positive: Tensor  # (B, R)
    valid: Tensor  # (B, R)
    object_index: Tensor  # (B, R) slot of the matched object
    prefix: int


class MaskRCNN(nn.Module):
    """The network. Built by `maskrcnn.model.build.build`, which shows how the parts fit; any head may be
    None: without masks and keypoints this is Faster R-CNN, without a box head the proposals are the detections."""

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
        pooler: RoiPooler,
        box_head: BoxHead | None,
        mask_head: MaskHead | None,
        keypoint_head: KeypointHead | None,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone, self.neck, self.rpn, self.pooler = backbone, neck, rpn, pooler
        self.box_head, self.mask_head, self.keypoint_head = box_head, mask_head, keypoint_head
        statistics = (config.input.mean, config.input.std)
        self.register_buffer("mean", torch.tensor(statistics[0]).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(statistics[1]).view(-1, 1, 1), persistent=False)
        sigmas = config.keypoints.sigmas if config.keypoints else []
        self.register_buffer("sigmas", torch.tensor(sigmas), persistent=False)

    @property
    def second_stage(self) -> BoxHead:
        """The box head of a network that has one."""
        assert self.box_head is not None
        return self.box_head

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
        """The test-time network; `score` in place of `test.score`, which an exported graph takes as an input."""
        features = self.features(images, sizes)
        rpn = self.config.rpn
        proposals = self.rpn.propose(self.rpn(features), sizes, before=rpn.pre_nms_test, after=rpn.post_nms_test)
        if self.box_head is None:
            return self._proposals_alone(proposals)
        rows = kept_rows(proposals.valid)
        pooled = self.pool(features, proposals.boxes, rows, self.second_stage.config.size)
        logits, deltas = self.second_stage(self.second_stage.shared(pooled))
        boxes, scores, labels, valid = detect(
            scatter_rows(logits, rows, proposals.valid.shape),
            scatter_rows(deltas, rows, proposals.valid.shape),
            proposals.boxes,
            proposals.valid,
            sizes,
            self.second_stage.config,
            self.config.test,
            score,
        )
        found = RawDetections(boxes, scores, labels, valid)
        return self._masks_and_keypoints(features, found)

    def losses(self, images: Tensor, sizes: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The losses, unweighted sum of which is trained: `rpn_objectness`, `rpn_box`, `class`, `box`, and `mask` and
        `keypoint` where there are such heads. Each is a mean over images."""
        features = self.features(images, sizes)
        output = self.rpn(features)
        losses = self.rpn.losses(output, targets)
        if self.box_head is None:
            return losses
        rpn = self.config.rpn
        proposals = self.rpn.propose(output, sizes, before=rpn.pre_nms_train, after=rpn.post_nms_train)
        rois = self.sample_rois(proposals, targets)
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

    def pool(self, features: list[Tensor], boxes: Tensor, rows: Tensor, size: int) -> Tensor:
        """RoI features (N, C, size, size) of the `rows` (N,) of flattened `boxes` (B, R, 4)."""
        return self.pooler(features, boxes.flatten(0, 1)[rows], rows // boxes.shape[1], size)

    @torch.no_grad()
    def sample_rois(self, proposals: Proposals, targets: Targets) -> SampledRois:
        """Proposals and, as in Fast R-CNN, the objects themselves, matched and sampled."""
        config = self.config.roi
        boxes, valid = proposals.boxes, proposals.valid
        if config.add_ground_truth:
            boxes, valid = torch.cat([boxes, targets.boxes], 1), torch.cat([valid, targets.valid], 1)
        matched = match(boxes, targets.boxes, targets.valid, targets.ignore, config.ignore_iou)
        positive = (matched.iou >= config.positive_iou) & valid
        negative = (matched.iou < config.positive_iou) & valid & ~matched.ignored
        keys = random_keys(targets.seeds, boxes.shape[1], stream=1)
        chosen = sample(positive, negative, keys, samples=config.samples, positive_fraction=config.positive_fraction)
        picked = boxes.gather(1, chosen.index.unsqueeze(-1).expand(-1, -1, 4))
        object_index = matched.index.gather(1, chosen.index)
        return SampledRois(picked, chosen.positive, chosen.valid, object_index, chosen.prefix)

    def roi_losses(self, features: list[Tensor], rois: SampledRois, targets: Targets) -> dict[str, Tensor]:
        """Class, box, mask and keypoint losses of sampled RoIs."""
        images, count = rois.valid.shape
        rows = kept_rows(rois.valid)
        pooled = self.pool(features, rois.boxes, rows, self.second_stage.config.size)
        shared = self.second_stage.shared(pooled)
        logits, deltas = self.second_stage(shared)
        logits = scatter_rows(logits, rows, rois.valid.shape)
        deltas = scatter_rows(deltas, rows, rois.valid.shape)

        labels = targets.labels.gather(1, rois.object_index)
        with_background = torch.where(rois.positive, labels, self.second_stage.classes)
        objects = targets.boxes.gather(1, rois.object_index.unsqueeze(-1).expand(-1, -1, 4))
        wanted = box_ops.encode(objects, rois.boxes, self.second_stage.config.box_weights)
        if self.second_stage.config.class_agnostic:
            own_deltas = deltas[:, :, 0]
        else:
            own_deltas = deltas.gather(2, labels[:, :, None, None].expand(-1, -1, 1, 4))[:, :, 0]
        losses = {
            "class": class_loss(logits, with_background, rois.valid),
            "box": box_loss(
                own_deltas, wanted, rois.positive, rois.valid.sum(1), self.second_stage.config.smooth_l1_beta
            ),
        }
        if self.mask_head is None and self.keypoint_head is None:
            return losses

        # the prefix that can hold positives, as rows of the flattened (B, R)
        prefix = rois.prefix
        rows_of_prefix = kept_rows(rois.positive[:, :prefix])
        image = rows_of_prefix // prefix if prefix else rows_of_prefix
        columns = rows_of_prefix - image * prefix
        positive = rois.positive[image, columns]
        boxes, slot = rois.boxes[image, columns], rois.object_index[image, columns]
        if self.mask_head is not None:
            if self.second_stage.stage is not None:
                x = shared[self._place(rows, image * count + columns, images * count)]
            else:
                x = self.pooler(features, boxes, image, config_size(self.mask_head))
            mask_logits = own_class(self.mask_head(x), targets.labels[image, slot])
            weights = (positive & targets.has_mask[image, slot]).float()
            cut = self.mask_targets(boxes, targets.masks[image, slot], targets.mask_boxes[image, slot])
            loss = mask_loss(mask_logits, cut, weights, image, images)
            losses["mask"] = loss * self.mask_head.config.loss_weight
        if self.keypoint_head is not None:
            x = self.pooler(features, boxes, image, config_size(self.keypoint_head))
            heat = self.keypoint_head(x)
            cells, inside = heatmaps.encode(targets.keypoints[image, slot], boxes, heat.shape[-1])
            weights = (inside & positive.unsqueeze(-1)).float()
            loss = keypoint_loss(heat, cells, weights, image, images)
            losses["keypoint"] = loss * self.keypoint_head.config.loss_weight
        return losses

    @torch.no_grad()
    def mask_targets(self, boxes: Tensor, bitmaps: Tensor, covers: Tensor) -> Tensor:
        """Mask targets (N, m, m): the part of each object's bitmap under its RoI.

        Args:
            boxes: (N, 4) RoIs.
            bitmaps: (N, h, w) 0/1, each over its box in `covers` (N, 4).
        """
        assert self.mask_head is not None
        config = self.mask_head.config
        side = 2 * config.size if self.second_stage.stage is None else 2 * self._stage_size()
        extent = (covers[:, 2:] - covers[:, :2]).clamp(min=1e-6)
        cells = torch.tensor([bitmaps.shape[2], bitmaps.shape[1]], device=boxes.device)
        scale = (cells / extent).repeat(1, 2)
        inside = (boxes - covers[:, :2].repeat(1, 2)) * scale
        cut = roi_align_bitmaps(
            bitmaps.float(), inside, size=side, sampling_ratio=config.target_sampling, aligned=config.target_aligned
        )
        return (cut >= 0.5).float() if config.target_binary else cut

    def _masks_and_keypoints(self, features: list[Tensor], found: RawDetections) -> RawDetections:
        """Adds the masks and keypoints of detections: run on the final boxes only, as in the paper."""
        shape = found.valid.shape
        rows = kept_rows(found.valid)
        masks = keypoints = keypoint_logits = None
        if self.mask_head is not None:
            size = self.second_stage.config.size if self.second_stage.stage is not None else config_size(self.mask_head)
            x = self.pool(features, found.boxes, rows, size)
            if self.second_stage.stage is not None:
                x = self.second_stage.shared(x)
            chosen = own_class(self.mask_head(x), found.labels.flatten()[rows])
            masks = scatter_rows(chosen.float().sigmoid(), rows, shape)
        if self.keypoint_head is not None:
            heat = self.keypoint_head(self.pool(features, found.boxes, rows, config_size(self.keypoint_head)))
            if self.keypoint_head.config.decode == "resize":
                keypoint_logits = scatter_rows(heat, rows, shape)
            else:
                keypoints = scatter_rows(self._points(heat, found.boxes.flatten(0, 1)[rows]), rows, shape)
        return found._replace(masks=masks, keypoints=keypoints, keypoint_logits=keypoint_logits)

    def _points(self, heat: Tensor, boxes: Tensor) -> Tensor:
        """Keypoints (N, K, 3), x, y, score, of heatmaps (N, K, S, S) over `boxes` (N, 4)."""
        assert self.keypoint_head is not None
        if self.keypoint_head.config.decode == "oks":
            return heatmaps.decode_oks(heat, boxes, self.sigmas)
        return heatmaps.decode_subpixel(heat, boxes)

    def _proposals_alone(self, proposals: Proposals) -> RawDetections:
        """Proposals as detections of the only class there is, where there is no second stage."""
        count = min(self.config.test.detections, proposals.scores.shape[1])
        boxes, scores, valid = (part[:, :count] for part in proposals)
        return RawDetections(boxes, scores.sigmoid(), torch.zeros_like(valid, dtype=torch.int64), valid)

    def _place(self, rows: Tensor, wanted: Tensor, total: int) -> Tensor:
        """Where each of the `wanted` rows of a flattened (B, R) stands among the kept `rows`."""
        place = torch.zeros(total, dtype=torch.int64, device=rows.device)
        place[rows] = torch.arange(rows.shape[0], device=rows.device)
        return place[wanted]

    def _stage_size(self) -> int:
        """Cells per side that leave the fifth stage, which halves the pooled size."""
        return self.second_stage.config.size // 2


def config_size(head: MaskHead | KeypointHead) -> int:
    """Bins per side that a head's features are pooled to."""
    return head.config.size


def kept_rows(valid: Tensor) -> Tensor:
    """Rows of the flattened `valid` (B, R) that the heads compute.

    All of them in a compiled graph or on an accelerator, where asking how many are valid would cost a synchronisation
    and change shapes. On a CPU, run eagerly or exported to an engine, only the valid ones: padding is pure waste there.
    Everything after this works on rows and their weights, so this line is the only difference.
    """
    if _keeps_all(valid):
        return torch.arange(valid.numel(), device=valid.device)
    kept = valid.flatten()
    if exporting():
        # one row at least, valid or not: some engines' operators refuse to run on none
        kept = kept | (torch.arange(kept.shape[0], device=kept.device) == 0)
    return kept.nonzero()[:, 0]


def scatter_rows(values: Tensor, rows: Tensor, shape: torch.Size) -> Tensor:
    """(B, R, ...) with `values` (N, ...) at the flattened `rows` (N,) and zeros elsewhere."""
    if _keeps_all(values):
        return values.view(*shape, *values.shape[1:])
    full = values.new_zeros(shape[0] * shape[1], *values.shape[1:])
    return full.index_copy(0, rows, values).view(*shape, *values.shape[1:])


def _keeps_all(tensor: Tensor) -> bool:
    compiling = torch.compiler.is_compiling() and not exporting()
    return compiling or tensor.device.type != "cpu"
