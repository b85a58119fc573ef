"""The mask head as fully connected layers, to compare with the fully convolutional one (He et al. 2017,
Table 2e): a mask is a vector, and where each of its pixels lies has to be learned.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 1024  # of both hidden layers, as in the paper


class MLPMaskHead(nn.Module):
    """Two fully connected layers and a third to K masks of twice the pooled size.

    Args:
        inputs: channels of the pooled features.
        side: of the pooled features.
        masks: K.
    """

    def __init__(self, inputs: int, side: int, masks: int) -> None:
        super().__init__()
        self.shape = (masks, 2 * side, 2 * side)
        hidden = [nn.Linear(inputs * side * side, WIDTH), nn.Linear(WIDTH, WIDTH)]
        for layer in hidden:
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)
        self.fcs = nn.ModuleList(hidden)
        self.predict = nn.Linear(WIDTH, masks * 4 * side * side)
        nn.init.normal_(self.predict.weight, std=0.001)
        nn.init.zeros_(self.predict.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, K, 2s, 2s) of features (N, C, s, s)."""
        x = features.flatten(1)
        for layer in self.fcs:
            x = F.relu(layer(x))
        return self.predict(x).unflatten(1, self.shape)
