"""The mask head: a small fully convolutional network on each RoI (He et al. 2017, section 3 and Figure 4).

It predicts K binary masks, one per class, and the class label picks one: masks and classes do not compete,
which the paper's Table 2b shows to matter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn.config.model import MaskHeadConfig
from maskrcnn.model.layers import ConvNorm
from maskrcnn.ops.roi_align import roi_align_bitmaps


class MaskHead(nn.Module):
    """Convolutions, a deconvolution to twice the size, and a 1x1 convolution to K masks.

    Args:
        inputs: channels of the pooled features, or of the shared fifth stage (C4).
        classes: K.
    """

    def __init__(self, config: MaskHeadConfig, inputs: int, classes: int) -> None:
        super().__init__()
        self.config = config
        self.convs = nn.ModuleList()
        for _ in range(config.convs):
            conv = ConvNorm(inputs, config.channels, 3, norm=config.norm, activation=nn.ReLU(inplace=True))
            self.convs.append(conv)
            inputs = config.channels
        self.deconv = nn.ConvTranspose2d(inputs, config.channels, 2, stride=2)
        self.predict = nn.Conv2d(config.channels, 1 if config.class_agnostic else classes, 1)
        nn.init.kaiming_normal_(self.deconv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.predict.weight, std=0.001)
        for layer in (self.deconv, self.predict):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, K, 2s, 2s) of features (N, C, s, s)."""
        for conv in self.convs:
            features = conv(features)
        return self.predict(F.relu_(self.deconv(features)))


@torch.no_grad()
def mask_targets(boxes: Tensor, bitmaps: Tensor, covers: Tensor, side: int, config: MaskHeadConfig) -> Tensor:
    """Mask targets (N, side, side): the part of each object's bitmap under its RoI.

    Args:
        boxes: (N, 4) RoIs.
        bitmaps: (N, h, w) 0/1, each over its box in `covers` (N, 4).
    """
    extent = (covers[:, 2:] - covers[:, :2]).clamp(min=1e-6)
    cells = torch.tensor([bitmaps.shape[2], bitmaps.shape[1]], device=boxes.device)
    scale = (cells / extent).repeat(1, 2)
    inside = (boxes - covers[:, :2].repeat(1, 2)) * scale
    found = roi_align_bitmaps(
        bitmaps.float(),
        inside,
        size=side,
        sampling_ratio=config.target_sampling,
        aligned=config.target_aligned,
    )
    return (found >= 0.5).float() if config.target_binary else found


def own_class(logits: Tensor, labels: Tensor) -> Tensor:
    """The mask (N, m, m) of each RoI's own class, of logits (N, K, m, m) and labels (N,)."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    index = labels.view(-1, 1, 1, 1).expand(-1, 1, logits.shape[2], logits.shape[3])
    return torch.gather(logits, 1, index)[:, 0]
