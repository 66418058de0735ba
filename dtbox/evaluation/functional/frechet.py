"""Frechet distance of two Gaussians, float64 and exact.

Dowson and Landau, "The Frechet distance between multivariate normal distributions", 1982; Heusel et al., 2017, use it
on Inception features (FID). Which features go in decides what the number means: on a teacher's features it is not an
FID.

Shapes: E feature width.
"""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dtbox.arguments import FLOATS, WHOLE, read_arguments, read_tensor
from dtbox.errors import InputError


def _read(value: Any) -> Tensor:
    return read_tensor(value, (*FLOATS, *WHOLE)).detach().cpu().double()


@read_arguments(mean1=_read, cov1=_read, mean2=_read, cov2=_read)
def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """Return |mean1 - mean2|^2 + tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2)).

    The trace of the root is the sum of the singular values of cov1^(1/2) cov2^(1/2): real for singular matrices too,
    which the Schur root of the (not symmetric) product is not.

    Args:
        mean1, mean2: [E].
        cov1, cov2: [E,E], symmetric, positive semi-definite.

    Returns:
        float, at least 0, in squared units of the features.

    Raises:
        InputError: when the shapes do not fit or a value is not finite.
    """
    width = mean1.numel()
    if mean1.shape != mean2.shape or mean1.ndim != 1 or not cov1.shape == cov2.shape == (width, width) or not width:
        raise InputError('expected means (mean1, mean2) [E] and covariances (cov1, cov2) [E, E] of one width, got '
                         f'{list(mean1.shape)}, {list(cov1.shape)}, {list(mean2.shape)} and {list(cov2.shape)}.')
    wrong = [name for name, v in dict(mean1=mean1, cov1=cov1, mean2=mean2, cov2=cov2).items()
             if not torch.isfinite(v).all()]
    if wrong:
        raise InputError('the features hold NaN or infinite values: they have no Frechet distance '
                         f'({", ".join(wrong)}).')
    root = torch.linalg.svdvals(_root(cov1) @ _root(cov2)).sum()
    distance = (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * root
    return max(0.0, distance.item())


def _root(cov: Tensor) -> Tensor:
    """Symmetric square root; eigenvalues that are round-off (the matrix is singular with few samples) are set to 0."""
    values, vectors = torch.linalg.eigh((cov + cov.T) / 2)
    floor = values[-1].clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
    values = torch.where(values > floor, values, torch.zeros_like(values))
    return (vectors * values.sqrt()) @ vectors.T
