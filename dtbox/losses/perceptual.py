"""A perceptual loss on a frozen encoder's own features, for machines without VGG weights. It is not LPIPS and never
called so.

Like LPIPS (arXiv 1801.03924, equation 1) with all channel weights 1: token features of the tapped layers are scaled to
unit length along the channels, and their squared differences compared. Here on a transformer's raw layer outputs, as in
feature-level losses on a frozen ViT.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dtbox.errors import InputError
from dtbox.layers.lpips_network import scale_to_unit
from dtbox.losses.base import Loss, widen
from dtbox.registry import LOSSES
from dtbox.structures import Batch, TokenizerOutput
from dtbox.values import Count, Factor


@LOSSES.register_module()
class FeaturePerceptualLoss(Loss):
    """Mean over layers, images and tokens of |unit(f(reconstruction)) - unit(f(image))|^2 (term `feature_perceptual`),
    in [0, 4].

    `bind` hands it the frozen teacher: an object with `taps(images, layers) -> dict layer -> [B,N,D]`, parameters
    frozen, whose gradients reach the images. For the input images it is asked under `no_grad` and given
    `outputs.images` itself, so that it may answer from what it has computed of them already.

    Args:
        layers: layers of the teacher to compare (1-based; shallow ones keep colour and edges): one, a list, or a dict
            layer -> weight.
    """
    example = dict(layers=[1, 2])
    requires = ('reconstructions', 'images')
    names: tuple[str, ...] = ('feature_perceptual',)

    def __init__(self, layers: Count | Sequence[Count] | dict[Count, Factor]):
        super().__init__()
        layers = (layers,) if isinstance(layers, int) else layers
        weights = dict(layers) if isinstance(layers, dict) else {layer: 1. for layer in layers}
        if not weights or min(weights.values()) < 0 or not sum(weights.values()):
            raise InputError(f'`layers` is {layers!r}; expected at least one layer of the teacher, with weights of 0 '
                             'or more.')
        self.weights = {layer: w / sum(weights.values()) for layer, w in weights.items()}
        self._teacher: tuple[Any] | None = None

    def bind(self, teacher: Any) -> None:
        """Hand over the teacher; it stays outside of this module's parameters and state."""
        if not callable(getattr(teacher, 'taps', None)):
            raise InputError(f'{type(self).__name__} needs a teacher with `taps(images, layers)`; got '
                             f'{type(teacher).__name__}. Set a teacher in the config, or take the term out.')
        self._teacher = (teacher,)

    def terms(self, outputs: TokenizerOutput, batch: Batch) -> dict[str, Tensor]:
        """See Loss."""
        if self._teacher is None:
            raise InputError(f'{type(self).__name__} has no teacher to compare with. Set a teacher in the config, or '
                             'take the term out.')
        reconstructions, images = self.read_pair(outputs, *self.requires)
        teacher, layers = self._teacher[0], tuple(self.weights)
        with torch.no_grad():
            wanted = teacher.taps(images, layers)
        got = teacher.taps(reconstructions, layers)
        value = sum(w * self.compare(widen(got[k]), widen(wanted[k])) for k, w in self.weights.items())
        return {self.names[0]: value}

    def compare(self, reconstruction: Tensor, image: Tensor) -> Tensor:
        """Return the distance of tokens [B,N,D] of one layer, a scalar."""
        return (scale_to_unit(reconstruction, -1) - scale_to_unit(image, -1)).square().sum(-1).mean()
