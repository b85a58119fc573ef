"""What the heads see of each RoI. Two ways: every head pools its own, or class, box and mask share C4's fifth
stage.
"""

from __future__ import annotations

from torch import Tensor, nn

from maskrcnn.config.model import ModelConfig
from maskrcnn.model.roi_pooler import RoiPooler


class RoiFeatures:
    """Every head pools its own features (Lin et al. 2017, section 4.2). In all methods:

    Args:
        levels: (B, C, H, W) each.
        boxes: (N, 4) xyxy, pixels of the padded images.
        image: (N,) which of the B images each box lies in.
    """

    def __init__(self, pooler: RoiPooler, config: ModelConfig) -> None:
        self.pooler, self.config = pooler, config

    def for_box(self, levels: list[Tensor], boxes: Tensor, image: Tensor) -> Tensor:
        """What the box head takes: (N, C, s, s)."""
        assert self.config.box_head is not None
        return self.pooler(levels, boxes, image, self.config.box_head.size)

    def for_mask(self, levels: list[Tensor], boxes: Tensor, image: Tensor) -> Tensor:
        """What the mask head takes: (N, C, s, s)."""
        assert self.config.mask_head is not None
        return self.pooler(levels, boxes, image, self.config.mask_head.size)

    def for_mask_of_some(
        self, levels: list[Tensor], boxes: Tensor, image: Tensor, box_features: Tensor, place: Tensor
    ) -> Tensor:
        """The same for boxes that stand at `place` (N,) among those that `box_features` (M, C, s, s) are
        of.
        """
        return self.for_mask(levels, boxes, image)

    def for_keypoints(self, levels: list[Tensor], boxes: Tensor, image: Tensor) -> Tensor:
        """What the keypoint head takes: (N, C, s, s)."""
        assert self.config.keypoint_head is not None
        return self.pooler(levels, boxes, image, self.config.keypoint_head.size)


class SharedStageFeatures(RoiFeatures):
    """RoIs go through the backbone's fifth stage, which box and mask head share (He et al. 2017, Figure 4
    left).

    Args:
        stage: the fifth stage; its weights are the box head's.
    """

    def __init__(self, pooler: RoiPooler, config: ModelConfig, stage: nn.Module) -> None:
        super().__init__(pooler, config)
        self.stage = stage

    def for_box(self, levels: list[Tensor], boxes: Tensor, image: Tensor) -> Tensor:
        shared: Tensor = self.stage(super().for_box(levels, boxes, image))
        return shared

    def for_mask(self, levels: list[Tensor], boxes: Tensor, image: Tensor) -> Tensor:
        return self.for_box(levels, boxes, image)

    def for_mask_of_some(
        self, levels: list[Tensor], boxes: Tensor, image: Tensor, box_features: Tensor, place: Tensor
    ) -> Tensor:
        return box_features[place]
