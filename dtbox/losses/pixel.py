"""Pixel losses: mean over all elements of the difference between reconstruction and input, both in [-1, 1]."""
from __future__ import annotations

from torch import Tensor

from dtbox.losses.base import Loss
from dtbox.registry import LOSSES
from dtbox.structures import Batch, TokenizerOutput


@LOSSES.register_module()
class L1Loss(Loss):
    """Mean absolute difference (term `l1`)."""
    requires = ('reconstructions', 'images')
    names = ('l1',)

    def terms(self, outputs: TokenizerOutput, batch: Batch) -> dict[str, Tensor]:
        """See Loss."""
        reconstructions, images = self.read_pair(outputs, *self.requires)
        return {'l1': (reconstructions - images).abs().mean()}


@LOSSES.register_module()
class L2Loss(Loss):
    """Mean squared difference (term `l2`)."""
    requires = ('reconstructions', 'images')
    names = ('l2',)

    def terms(self, outputs: TokenizerOutput, batch: Batch) -> dict[str, Tensor]:
        """See Loss."""
        reconstructions, images = self.read_pair(outputs, *self.requires)
        return {'l2': (reconstructions - images).square().mean()}
