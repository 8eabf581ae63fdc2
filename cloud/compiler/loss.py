"""Losses, and their slopes with respect to the outputs, written out: shorter than torch's own."""

from __future__ import annotations

from typing import assert_never

import torch

from fedtier.artefact.loss import Loss

LossAndSlope = tuple[torch.Tensor, torch.Tensor]


def loss_with_slope(loss: Loss, outputs: torch.Tensor, targets: torch.Tensor) -> LossAndSlope:
    """The mean loss of a batch and its slope.

    Args:
        loss: Which.
        outputs: Shape ``(batch, ...)``; of classes ``(batch, classes)``.
        targets: Class numbers, int64, shape ``(batch,)``; else float32 of the outputs' shape.

    Returns:
        The loss, shape ``()``, and its slope, of the outputs' shape.
    """
    match loss.kind:
        case "cross_entropy":
            return _cross_entropy(outputs, targets, smoothing=loss.smoothing)
        case "mse":
            return _squares(outputs, targets)
        case "bce":
            return _binary_cross_entropy(outputs, targets)
        case _:
            assert_never(loss.kind)


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor, *, smoothing: float) -> LossAndSlope:
    """``-sum(target log_softmax) / batch`` and ``(softmax - target) / batch``.

    With smoothing ``s`` the target is ``(1 - s) onehot + s / classes`` (Szegedy et al., CVPR 2016,
    section 7).
    """
    batch, classes = logits.shape
    hit = labels.unsqueeze(1) == torch.arange(classes)
    target = hit.to(logits.dtype) * (1.0 - smoothing) + smoothing / classes
    log_share = torch.log_softmax(logits, dim=1)
    loss = (target * log_share).sum() * (-1.0 / batch)
    return loss, (log_share.exp() - target) * (1.0 / batch)


def _squares(outputs: torch.Tensor, targets: torch.Tensor) -> LossAndSlope:
    """``sum((output - target)^2) / n`` and ``2 (output - target) / n``."""
    difference = outputs - targets
    loss = (difference * difference).sum() * (1.0 / outputs.numel())
    return loss, difference * (2.0 / outputs.numel())


def _binary_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> LossAndSlope:
    """``sum(max(z, 0) - z t - log sigmoid |z|) / n`` and ``(sigmoid z - t) / n``.

    So written, no logit is too large for it: the sigmoid of a magnitude is at least a half.
    """
    above = torch.relu(logits)
    magnitude = above + torch.relu(-logits)
    each = above - logits * targets - torch.sigmoid(magnitude).log()
    loss = each.sum() * (1.0 / logits.numel())
    return loss, (torch.sigmoid(logits) - targets) * (1.0 / logits.numel())
