"""Gradient estimators: how the gradient of a quantized feature reaches the feature it came from."""
from __future__ import annotations

import torch.nn.functional as F

from dtbox.registry import ESTIMATORS


@ESTIMATORS.register_module()
class StraightThrough:
    """Copy the gradient (Bengio et al., arXiv 1308.3432; VQ-VAE, arXiv 1711.00937): value q, dq/dz = identity."""

    def __call__(self, z, quantized):
        """z, quantized: tensors of one shape -> value of `quantized`, gradient to `z`."""
        return z + (quantized - z).detach() if z.requires_grad else quantized


@ESTIMATORS.register_module()
class RotationTrick:
    """Rotate and scale the gradient (arXiv 2410.06424, section 4.2): value q = (|q| / |z|) R z with R, |q| / |z| held
    constant.

    R is the rotation from the direction of z to that of q, as two reflections (equation 4): R = I - 2 r r^T + 2 q^
    z^^T, with r the direction of z^ + q^. The angle between gradient and q is the one that arrives between gradient and
    z.

    Args:
        eps: least length that a feature is divided by.
    """

    def __init__(self, eps: float = 1e-6):
        self.eps = eps

    def __call__(self, z, quantized):
        """z, quantized: [..., C] -> value of `quantized`, gradient to `z`."""
        quantized = quantized.detach()
        if not z.requires_grad:
            return quantized
        length = z.detach().norm(dim=-1, keepdim=True).clamp_min(self.eps)
        scale = quantized.norm(dim=-1, keepdim=True) / length
        z_hat, q_hat = z.detach() / length, F.normalize(quantized, dim=-1)
        r = F.normalize(z_hat + q_hat, dim=-1)
        rotated = z - 2 * (z * r).sum(-1, keepdim=True) * r + 2 * (z * z_hat).sum(-1, keepdim=True) * q_hat
        rotated = scale * rotated
        return rotated + (quantized - rotated).detach()
