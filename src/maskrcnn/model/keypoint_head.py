"""The keypoint head: each keypoint is a one-hot mask of S x S cells (He et al. 2017, section 5)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn.config.model import KeypointHeadConfig
from maskrcnn.model.layers import ConvNorm
from maskrcnn.ops import heatmaps


class KeypointHead(nn.Module):
    """3x3 convolutions, a deconvolution to twice the size and bilinear interpolation to four times it.

    Args:
        inputs: channels of the pooled features.
        keypoints: K.
    """

    def __init__(self, config: KeypointHeadConfig, inputs: int, keypoints: int) -> None:
        super().__init__()
        self.config = config
        self.convs = nn.ModuleList()
        for _ in range(config.convs):
            self.convs.append(ConvNorm(inputs, config.channels, 3, activation=nn.ReLU(inplace=True)))
            inputs = config.channels
        self.deconv = nn.ConvTranspose2d(inputs, keypoints, 4, stride=2, padding=1)
        nn.init.kaiming_normal_(self.deconv.weight, mode="fan_out", nonlinearity="relu")
        assert self.deconv.bias is not None
        nn.init.zeros_(self.deconv.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, K, 4s, 4s) of features (N, C, s, s)."""
        for conv in self.convs:
            features = conv(features)
        return F.interpolate(self.deconv(features), scale_factor=2.0, mode="bilinear", align_corners=False)

    def points(self, heat: Tensor, boxes: Tensor, sigmas: Tensor) -> Tensor:
        """Keypoints (N, K, 3), x, y, score, of heatmaps (N, K, S, S) over `boxes` (N, 4); `sigmas` (K,) are
        OKS's.
        """
        if self.config.decode == "oks":
            return heatmaps.decode_oks(heat, boxes, sigmas)
        return heatmaps.decode_subpixel(heat, boxes)
