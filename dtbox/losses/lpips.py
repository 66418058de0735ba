"""LPIPS (arXiv 1801.03924) as a loss: distance of deep features, weighted per channel as people judge (see `dtbox.layers.lpips_network`).

The network is frozen and lies outside of this module's parameters and state dict.
"""
import torch

from dtbox.errors import InputError
from dtbox.layers.lpips_network import SMALLEST, lpips, open_network
from dtbox.losses.base import Loss
from dtbox.registry import LOSSES


@LOSSES.register_module()
class LPIPSLoss(Loss):
    """LPIPS between reconstruction and input, both [B,3,H,W] in [-1, 1], mean over the batch (term `lpips`).

    Args:
        net: trunk: `vgg` (the paper's choice for training, and DualToken's), `alex` or `squeeze`.
        weights: path of torchvision's weights file of that trunk (.pth or .safetensors), or 'download' to let it be fetched once from
            pytorch.org. There is no default: a random network is never used in its place.
    """
    requires = ('reconstructions', 'images')
    names = ('lpips',)

    def __init__(self, net='vgg', weights=None):
        super().__init__()
        self.net = net
        self._network = (open_network(net, weights, 'LPIPSLoss'),)

    def _apply(self, fn, recurse=True):
        network = self._network[0]
        network.to(fn(torch.empty(0, device=network.scaling_layer.shift.device)).device)  # follows the device, stays in float32
        return super()._apply(fn, recurse)

    def terms(self, outputs, batch):
        """See Loss."""
        made, images = self.read_pair(outputs, *self.requires)
        if min(images.shape[2:]) < SMALLEST[self.net]:
            raise InputError(f'LPIPSLoss got images of {tuple(images.shape[2:])} pixels; `{self.net}` needs at least {SMALLEST[self.net]}.')
        return {'lpips': lpips(self._network[0], made, images).mean()}
