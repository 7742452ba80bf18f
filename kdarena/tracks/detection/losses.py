"""The losses of FCOS (Tian et al. 2019, arXiv 1904.01355, equation 2; 2006.09214): focal loss of the classes, GIoU loss of the boxes, and centre-ness.

L = 1/N_pos Σ L_cls(p, c*) + 1/Σ w Σ_{c* ≥ 0} w · L_reg(t, t*) + 1/N_pos Σ_{c* ≥ 0} L_ctr, with the weights w = centre-ness*.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kdarena.tracks.detection.targets import LEFT_OUT, Assigned, centre_ness

ALPHA, GAMMA = 0.25, 2.0
"""Of focal loss (Lin et al. 2017, arXiv 1708.02002)."""


def focal_loss(logits: Tensor, labels: Tensor, alpha: float = ALPHA, gamma: float = GAMMA) -> Tensor:
    """FL(p_t) = −α_t (1 − p_t)^γ ln p_t of each logit, where p_t is the probability of what is right and α_t is α for 1 and 1 − α for 0.

    Args:
        logits: of any shape.
        labels: 1 or 0 of the same shape, in floating point.
    """
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    # −ln p_t is the cross-entropy
    weight = (1 - alpha) + (2 * alpha - 1) * labels
    return weight * (-torch.expm1(-cross_entropy)).pow(gamma) * cross_entropy


def giou_of_distances(distances: Tensor, wanted: Tensor) -> Tensor:
    """GIoU [B, P] of two boxes around each place, by their distances [B, 4, P] to it, which are not negative: they have the place in common.

    |C ∖ (A ∪ B)| / |C| is 1 − |A ∪ B| / |C|.

    Args:
        distances: l, t, r, b.
        wanted: l*, t*, r*, b*, whose box has an area.
    """
    common, around, own = _areas(torch.stack([torch.minimum(distances, wanted), torch.maximum(distances, wanted), distances])).unbind(0)
    union = own + _areas(wanted) - common
    return common / union + union / around - 1


def _areas(distances: Tensor) -> Tensor:
    """(l + r) · (t + b) of distances [..., 4, P]."""
    width, height = (distances[..., :2, :] + distances[..., 2:, :]).unbind(-2)
    return width * height


def detection_loss(scores: Tensor, boxes: Tensor, assigned: Assigned) -> Tensor:
    """The sum of the three losses, a scalar in fp32; where no place belongs to a box the classes' loss alone counts.

    Args:
        scores: logits of the classes [B, C, P].
        boxes: distances in strides and the logit of the centre-ness [B, 5, P].
        assigned: what belongs to each place.
    """
    classes = torch.arange(scores.shape[1], device=scores.device).unsqueeze(1)
    labels = (assigned.classes.unsqueeze(1) == classes).to(scores.dtype)
    counted = (assigned.classes != LEFT_OUT).unsqueeze(1)
    positive = assigned.positive.to(scores.dtype)
    count = positive.sum().clamp(min=1)
    of_classes = (focal_loss(scores, labels) * counted).sum() / count
    # of a place without a box, distances of 1 in the place of any that are: its loss is finite and has no weight
    wanted = torch.where(assigned.positive.unsqueeze(1), assigned.distances, 1.0)
    centred = centre_ness(wanted) * positive
    of_boxes = ((1 - giou_of_distances(boxes[:, :4], wanted)) * centred).sum() / centred.sum().clamp(min=1e-6)
    of_centres = functional.binary_cross_entropy_with_logits(boxes[:, 4], centred, positive, reduction="sum") / count
    return of_classes + of_boxes + of_centres
