"""Cross entropy with smoothed labels, and its derivative with respect to the logits."""

from __future__ import annotations

import torch


def cross_entropy_with_slope(
    logits: torch.Tensor, labels: torch.Tensor, *, smoothing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean over a batch, and its slope written out, which is shorter than torch's own.

    Args:
        logits: Shape ``(batch, classes)``.
        labels: Class numbers, int64, shape ``(batch,)``.
        smoothing: Share ``s`` of the target spread over all classes: the target is
            ``(1 - s) onehot + s / classes`` (Szegedy et al., CVPR 2016, section 7).

    Returns:
        ``-sum(target log_softmax) / batch``, shape ``()``, and ``(softmax - target) / batch``,
        shape ``(batch, classes)``.
    """
    batch, classes = logits.shape
    hit = labels.unsqueeze(1) == torch.arange(classes)
    target = hit.to(logits.dtype) * (1.0 - smoothing) + smoothing / classes
    log_share = torch.log_softmax(logits, dim=1)
    loss = (target * log_share).sum() * (-1.0 / batch)
    return loss, (log_share.exp() - target) * (1.0 / batch)
