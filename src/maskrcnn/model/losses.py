"""The losses, each a pure function: L = Lcls + Lbox + Lmask of the second stage (He et al. 2017, section 3),
the RPN's two (Ren et al. 2015, equation 1) and the keypoints' (section 5).

Each is a mean over images of a sum over that image's samples, divided by that image's own count. A loss of a
batch is then the mean over any equal split of it, so several processes, or several accumulated steps, follow
the gradient of one. With one image a step this is exactly what the peers compute.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def per_image_mean(values: Tensor, weights: Tensor, count: Tensor | float) -> Tensor:
    """Mean over B of the weighted sum of `values` (B, S) divided by `count` (B,) or a number; counts below 1
    are 1.
    """
    total = (values * weights).sum(1)
    if isinstance(count, Tensor):
        count = count.clamp(min=1)
    return (total / count).mean()


def smooth_l1(difference: Tensor, beta: float) -> Tensor:
    """Smooth L1 (Fast R-CNN, equation 3) with its corner at `beta`; L1 at 0."""
    size = difference.abs()
    if beta == 0:
        return size
    return torch.where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta)


def objectness_loss(logits: Tensor, positive: Tensor, valid: Tensor, count: Tensor | float) -> Tensor:
    """RPN: binary cross-entropy of sampled anchors; all (B, S)."""
    loss = F.binary_cross_entropy_with_logits(logits.float(), positive.float(), reduction="none")
    return per_image_mean(loss, valid.float(), count)


def box_loss(deltas: Tensor, targets: Tensor, positive: Tensor, count: Tensor | float, beta: float) -> Tensor:
    """RPN and box head: smooth L1 of the deltas (B, S, 4) of positive samples (B, S)."""
    # targets of negatives may be anything, infinite included, so they are zeroed rather than weighted
    difference = torch.where(positive.unsqueeze(-1), deltas.float() - targets, torch.zeros_like(targets))
    return per_image_mean(smooth_l1(difference, beta).sum(-1), positive.float(), count)


def class_loss(logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """Box head: softmax cross-entropy (B, S, K + 1) over classes and background, mean over an image's
    RoIs.
    """
    loss = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="none").view(
        labels.shape
    )
    return per_image_mean(loss, valid.float(), valid.sum(1))


def mask_loss(logits: Tensor, targets: Tensor, weights: Tensor, image: Tensor, images: int) -> Tensor:
    """Mask head: per-pixel binary cross-entropy of the RoI's own class only, so that classes do not compete.

    Args:
        logits, targets: (N, m, m), of the RoIs' own classes.
        weights: (N,) 1 for a positive RoI with a mask, else 0.
        image: (N,) the image of each RoI, of `images`.
    """
    loss = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none").mean((1, 2))
    return _rows_mean(loss, weights, image, images)


def softmax_mask_loss(
    logits: Tensor, targets: Tensor, labels: Tensor, weights: Tensor, image: Tensor, images: int
) -> Tensor:
    """Mask head where classes compete: cross-entropy of the softmax over K classes and the background, which
    is last, for each pixel (Long et al. 2015; the paper's Table 2b).

    Args:
        logits: (N, K + 1, m, m).
        targets: (N, m, m), the object's from 0.5.
        labels: (N,) the RoIs' classes. The rest as in `mask_loss`.
    """
    background = logits.shape[1] - 1
    wanted = torch.where(targets >= 0.5, labels[:, None, None], background)
    loss = F.cross_entropy(logits.float(), wanted, reduction="none").mean((1, 2))
    return _rows_mean(loss, weights, image, images)


def keypoint_loss(logits: Tensor, cells: Tensor, weights: Tensor, image: Tensor, images: int) -> Tensor:
    """Keypoint head: cross-entropy of the softmax over the cells of each heatmap, mean over an image's
    keypoints.

    Args:
        logits: (N, K, S, S).
        cells: (N, K) int64: the one hot cell.
        weights: (N, K) 1 for a labelled keypoint inside its RoI, else 0.
    """
    flat = logits.float().flatten(2)
    # not F.cross_entropy nor F.log_softmax, of which PyTorch 2.13's inductor makes a gradient of 0 here
    loss = (flat.logsumexp(2) - flat.gather(2, cells.unsqueeze(2)).squeeze(2)).flatten()
    return _rows_mean(loss, weights.flatten(), image.repeat_interleave(cells.shape[1]), images)


def _rows_mean(loss: Tensor, weights: Tensor, image: Tensor, images: int) -> Tensor:
    """Mean over images of the weighted mean over each image's rows; images without rows count as 0."""
    total = loss.new_zeros(images).index_add(0, image, loss * weights)
    count = loss.new_zeros(images).index_add(0, image, weights)
    return (total / count.clamp(min=1)).mean()
