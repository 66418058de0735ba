"""LPIPS (arXiv 1801.03924) as a loss: distance of deep features, weighted per channel as people judge (see
`dtbox.layers.lpips_network`).

The network is frozen and lies outside of this module's parameters and state dict.
"""
from __future__ import annotations

from torch import Tensor

from dtbox.errors import InputError
from dtbox.layers.lpips_network import SMALLEST, lpips, open_network
from dtbox.losses.base import NetworkLoss
from dtbox.registry import LOSSES
from dtbox.structures import Batch, TokenizerOutput


@LOSSES.register_module()
class LPIPSLoss(NetworkLoss):
    """LPIPS between reconstruction and input, both [B,3,H,W] in [-1, 1], mean over the batch (term `lpips`).

    Args:
        net: trunk: `vgg` (the paper's choice for training, and DualToken's), `alex` or `squeeze`.
        weights: path of torchvision's weights file of that trunk (.pth or .safetensors), or 'download' to let it be
            fetched once from pytorch.org. There is no default: a random network is never used in its place.
    """
    requires = ('reconstructions', 'images')
    names: tuple[str, ...] = ('lpips',)

    def __init__(self, net: str = 'vgg', weights: str | None = None):
        super().__init__(open_network(net, weights, type(self).__name__))
        self.net = net

    def terms(self, outputs: TokenizerOutput, batch: Batch) -> dict[str, Tensor]:
        """See Loss."""
        reconstructions, images = self.read_pair(outputs, *self.requires)
        if min(images.shape[2:]) < SMALLEST[self.net]:
            raise InputError(f'{type(self).__name__} got images of {tuple(images.shape[2:])} pixels; `{self.net}` '
                             f'needs at least {SMALLEST[self.net]}.')
        return {self.names[0]: self.compare(reconstructions, images)}

    def compare(self, reconstructions: Tensor, images: Tensor) -> Tensor:
        """Return the distance of images [B,3,H,W] in [-1, 1], a scalar."""
        return lpips(self.network, reconstructions, images).mean()
