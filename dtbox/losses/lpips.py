"""LPIPS (arXiv 1801.03924): distance of deep features, weighted per channel as people judge.

The package `lpips` brings the input scaling, the taps and the linear weights (v0.1); the trunk's ImageNet weights come from a file,
because no internet is assumed. The network is frozen and lies outside of this module's parameters and state dict.

Deviation on purpose: where all channels of a position are zero, the package's gradient is NaN and ours is 0; values are equal.
"""
import os
import warnings

import torch

from dtbox.errors import InputError, closest, need_package
from dtbox.layers.weights import load_state
from dtbox.losses.base import Loss
from dtbox.losses.perceptual import unit
from dtbox.registry import LOSSES

URLS = dict(vgg='https://download.pytorch.org/models/vgg16-397923af.pth',
            alex='https://download.pytorch.org/models/alexnet-owt-7be5be79.pth',
            squeeze='https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth')
SMALLEST = dict(vgg=16, alex=31, squeeze=17)
"""Least image side in pixels that leaves a pixel to the deepest tap."""


def build_network(net, weights):
    """Build the frozen network.

    Args:
        net: `vgg`, `alex` or `squeeze`.
        weights: path of torchvision's weights of that trunk (its `features.*` are used).

    Returns:
        an `lpips.LPIPS` in evaluation mode, float32, without a random number in it.
    """
    package = need_package('lpips', 'lpips', 'LPIPSLoss')
    with warnings.catch_warnings(), torch.device('meta'):
        warnings.simplefilter('ignore')
        network = package.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    trunk = load_state(weights)
    linear = load_state(os.path.join(os.path.dirname(package.__file__), 'weights', 'v0.1', f'{net}.pth'))
    scaling = package.ScalingLayer().state_dict()
    own = network.state_dict()
    state = {key: _find(key, trunk, linear, scaling) for key in own}
    bad = [k for k, v in own.items() if state[k] is None or state[k].shape != v.shape]
    if bad:
        raise InputError(f'{weights} does not hold the torchvision weights of the `{net}` trunk: {len(bad)} tensors are missing '
                         f'or of another shape, such as {", ".join(bad[:3])}. Give the file that torchvision publishes ({URLS[net]}).')
    network.load_state_dict({k: v.float() for k, v in state.items()}, assign=True)
    return network.requires_grad_(False).eval()


def _find(key, trunk, linear, scaling):
    """Return the tensor that belongs to `key` of an lpips.LPIPS (net.slice1.0.weight, lins.0.model.1.weight, lin0..., ...), or None."""
    room, rest = key.split('.', 1)
    if room == 'net':
        return trunk.get('features.' + rest.split('.', 1)[1])
    if room == 'scaling_layer':
        return scaling[rest]
    return linear.get('lin' + rest if room == 'lins' else key)


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
        if net not in URLS:
            raise InputError(f'`net` is {net!r}.{closest(net, URLS)} Expected one of: {", ".join(URLS)}.')
        if not weights:
            raise InputError(f'LPIPSLoss needs `weights`: the path of torchvision\'s file {os.path.basename(URLS[net])}, or "download" '
                             'to fetch it once. On a machine without it, FeaturePerceptualLoss compares features of the frozen teacher '
                             'instead.')
        self.net = net
        self._network = (build_network(net, URLS[net] if weights == 'download' else str(weights)),)

    def _apply(self, fn, recurse=True):
        network = self._network[0]
        network.to(fn(torch.empty(0, device=network.scaling_layer.shift.device)).device)  # follows the device, stays in float32
        return super()._apply(fn, recurse)

    def terms(self, outputs, batch):
        """See Loss."""
        made, images = self.read_pair(outputs, *self.requires)
        if min(images.shape[2:]) < SMALLEST[self.net]:
            raise InputError(f'LPIPSLoss got images of {tuple(images.shape[2:])} pixels; `{self.net}` needs at least {SMALLEST[self.net]}.')
        network = self._network[0]
        with torch.no_grad():
            wanted = network.net(network.scaling_layer(images))
        got = network.net(network.scaling_layer(made))
        value = sum(lin.model[-1]((unit(a, 1) - unit(b, 1)).square()).mean() for lin, a, b in zip(network.lins, got, wanted))
        return {'lpips': value}
