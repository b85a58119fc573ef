"""The mask head: a small fully convolutional network on each RoI (He et al. 2017, section 3 and Figure 4).

It predicts K binary masks, one per class, and the class label picks one: masks and classes do not compete,
which the paper's Table 2b shows to matter.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn.config.model import MaskHeadConfig
from maskrcnn.model.layers import ConvNorm
from maskrcnn.model.losses import mask_loss, softmax_mask_loss
from maskrcnn.ops.roi_align import roi_align_bitmaps


class MaskHead(nn.Module):
    """Convolutions, a deconvolution to twice the size, and a 1x1 convolution to K masks.

    Args:
        inputs: channels of the pooled features, or of the shared fifth stage (C4).
        masks: K.
    """

    def __init__(self, config: MaskHeadConfig, inputs: int, masks: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        for _ in range(config.convs):
            conv = ConvNorm(inputs, config.channels, 3, norm=config.norm, activation=nn.ReLU(inplace=True))
            self.convs.append(conv)
            inputs = config.channels
        self.deconv = nn.ConvTranspose2d(inputs, config.channels, 2, stride=2)
        self.predict = nn.Conv2d(config.channels, masks, 1)
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
    # not a tensor of the two numbers, which a GPU would have to be sent
    cells = [torch.full_like(extent[:, 0], side) for side in (bitmaps.shape[2], bitmaps.shape[1])]
    scale = (torch.stack(cells, 1) / extent).repeat(1, 2)
    inside = (boxes - covers[:, :2].repeat(1, 2)) * scale
    found = roi_align_bitmaps(
        bitmaps.float(),
        inside,
        size=side,
        sampling_ratio=config.target_sampling,
        aligned=config.target_aligned,
    )
    return (found >= 0.5).float() if config.target_binary else found


def own_class(logits: Tensor, labels: Tensor, loss: str) -> Tensor:
    """The mask logits (N, m, m) of each RoI's own class, of logits (N, K, m, m) and labels (N,).

    Where classes compete for a pixel (`loss` "softmax"), that is how far its own is ahead of the best other,
    the background among them: above 0 exactly where its own is the likeliest.
    """
    if logits.shape[1] == 1:
        return logits[:, 0]
    index = labels.view(-1, 1, 1, 1).expand(-1, 1, logits.shape[2], logits.shape[3])
    own = torch.gather(logits, 1, index)[:, 0]
    if loss == "sigmoid":
        return own
    is_own = torch.arange(logits.shape[1], device=logits.device) == labels[:, None]
    return own - logits.masked_fill(is_own[:, :, None, None], -math.inf).amax(1)


def head_loss(
    logits: Tensor,
    targets: Tensor,
    labels: Tensor,
    weights: Tensor,
    image: Tensor,
    images: int,
    config: MaskHeadConfig,
) -> Tensor:
    """The loss of logits (N, K, m, m) for targets (N, m, m) of RoIs whose classes are `labels` (N,); the rest
    as in `mask_loss`.
    """
    if config.loss == "softmax":
        loss = softmax_mask_loss(logits, targets, labels, weights, image, images)
    else:
        loss = mask_loss(own_class(logits, labels, config.loss), targets, weights, image, images)
    return loss * config.loss_weight
