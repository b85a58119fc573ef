"""How a convolution runs at test time on a CPU: its frozen norm folded in once, large 3x3 ones by Winograd's algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn.ops.matmul import eager_float32
from maskrcnn.ops.winograd import transform_weights, winograd_conv

if TYPE_CHECKING:
    from maskrcnn.model.layers import FrozenBatchNorm

LEAST_CHANNELS, LEAST_CELLS = 128, 4000  # below, the transforms cost more than they save (benchmarks/operators.py)


class TestTimeConv:
    """Runs one convolution; holds what its weights become, made at the first use and anew when they have changed.

    No module and no part of a state dict: a copy of a network begins without it.
    """

    __test__ = False  # not a test, whatever pytest thinks of the name

    def __init__(self) -> None:
        self._made_of: tuple[Any, ...] = ()
        self._weight: Tensor | None = None
        self._bias: Tensor | None = None
        self._winograd: Tensor | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> TestTimeConv:
        return TestTimeConv()

    def __reduce__(self) -> tuple[Any, ...]:
        return (TestTimeConv, ())

    @staticmethod
    def serves(x: Tensor) -> bool:
        """Whether this is test time on a CPU, run eagerly in float32."""
        return not torch.is_grad_enabled() and eager_float32(x)

    def __call__(self, x: Tensor, conv: nn.Conv2d, norm: FrozenBatchNorm | None = None) -> Tensor:
        """The convolution, and the norm where there is one, of x (B, C, H, W)."""
        self._update(conv, norm)
        assert self._weight is not None
        if _suits(conv, x):
            if self._winograd is None:
                self._winograd = transform_weights(self._weight)
            return winograd_conv(x, self._winograd, self._bias)
        return F.conv2d(x, self._weight, self._bias, conv.stride, conv.padding, conv.dilation, conv.groups)

    def _update(self, conv: nn.Conv2d, norm: FrozenBatchNorm | None) -> None:
        tensors = [conv.weight, conv.bias]
        if norm is not None:
            tensors += [norm.weight, norm.bias, norm.running_mean, norm.running_var]
        # in-place changes count a tensor's version up; tensors of inference mode have none
        made_of = tuple((id(t), t.data_ptr(), t._version) for t in tensors if t is not None and not t.is_inference())
        if (
            made_of == self._made_of
            and self._weight is not None
            and len(made_of) == sum(t is not None for t in tensors)
        ):
            return
        self._made_of, self._winograd = made_of, None
        self._weight, self._bias = conv.weight.detach(), conv.bias
        if norm is not None:
            scale, self._bias = norm.affine()
            self._weight = self._weight * scale[:, None, None, None]


def _suits(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether Winograd's algorithm applies to this convolution and is faster."""
    return (
        conv.kernel_size == (3, 3)
        and conv.stride == (1, 1)
        and conv.padding == (1, 1)
        and conv.dilation == (1, 1)
        and conv.groups == 1
        and min(conv.in_channels, conv.out_channels) >= LEAST_CHANNELS
        and x.shape[0] * x.shape[2] * x.shape[3] >= LEAST_CELLS
    )
