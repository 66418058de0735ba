"""Losses on Gram matrices: which channels of deep features are active together, wherever in the image they are.

Textures agree where Gram matrices do (Gatys et al., arXiv 1508.06576). AToken (arXiv 2509.14476) trains with such a
term instead of a discriminator.

Legend: B batch, C channels, P positions, N tokens, D channels of a token.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dtbox.errors import InputError
from dtbox.losses.lpips import LPIPSLoss
from dtbox.losses.perceptual import FeaturePerceptualLoss
from dtbox.registry import LOSSES
from dtbox.values import Positive


def gram(features: Tensor) -> Tensor:
    """features [B,C,P] -> Gram matrices [B,C,C] over C P, as in arXiv 1603.08155, section 3.2."""
    return features @ features.mT / (features.shape[1] * features.shape[2])


def gram_distance(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Mean over the batch of the squared Frobenius distance of the Gram matrices of features [B,C,P], a scalar."""
    return (gram(reconstruction) - gram(image)).square().sum((1, 2)).mean()


@LOSSES.register_module()
class GramLoss(LPIPSLoss):
    """Sum over layers of a frozen network of the squared Frobenius distance of Gram matrices over C P (arXiv
    1603.08155, section 3.2), mean over the batch (term `gram`).

    Images are scaled as for LPIPS; the layers are those that LPIPS compares.

    Args:
        net: trunk: `vgg`, `alex` or `squeeze`.
        weights: see `LPIPSLoss`.
        layers: which of the trunk's layers count, from 1; `vgg` has 5, of which arXiv 1603.08155 takes the first 4.
    """
    names = ('gram',)

    def __init__(self, net: str = 'vgg', weights: str | None = None, layers: Sequence[Positive] = (1, 2, 3, 4)) -> None:
        super().__init__(net, weights)
        most = len(self.network.lins)
        if not layers or max(layers) > most:
            raise InputError(f'`layers` is {list(layers)}; expected some of 1 to {most}, the layers of `{net}`.',
                             'layers')
        self.layers = tuple(layers)

    def compare(self, reconstructions: Tensor, images: Tensor) -> Tensor:
        """See LPIPSLoss."""
        network = self.network
        with torch.no_grad():
            wanted = list(network.net(network.scaling_layer(images)))
        got = list(network.net(network.scaling_layer(reconstructions)))
        return sum(gram_distance(got[k - 1].flatten(2), wanted[k - 1].flatten(2)) for k in self.layers)


@LOSSES.register_module()
class FeatureGramLoss(FeaturePerceptualLoss):
    """The same on token features of the frozen teacher, for machines without VGG weights: the weighted mean over its
    layers of the squared Frobenius distance of Gram matrices over D N (term `feature_gram`).

    Args:
        layers: layers of the teacher to compare, as of `FeaturePerceptualLoss`.
    """
    names = ('feature_gram',)

    def compare(self, reconstruction: Tensor, image: Tensor) -> Tensor:
        """See FeaturePerceptualLoss."""
        return gram_distance(reconstruction.mT, image.mT)
