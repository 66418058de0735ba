"""LPIPS (arXiv 1801.03924): distance of deep features, weighted per channel as people judge.

The package `lpips` brings the input scaling, the taps and the linear weights (v0.1); the trunk's ImageNet weights come
from a file, because no internet is assumed.

Deviation on purpose: where all channels of a position are zero, the package's gradient is NaN and ours is 0; values are
equal.
"""
from __future__ import annotations

import os
import warnings

import torch
from torch import Tensor, nn

from dtbox.counts import format_count
from dtbox.errors import InputError, closest, need_package
from dtbox.layers.feature_distance import unit_distance
from dtbox.weights.state_dicts import align_tensor, check_finite, load_state

URLS = dict(vgg='https://download.pytorch.org/models/vgg16-397923af.pth',
            alex='https://download.pytorch.org/models/alexnet-owt-7be5be79.pth',
            squeeze='https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth')
SMALLEST = dict(vgg=16, alex=31, squeeze=17)
"""Least image side in pixels that leaves a pixel to the deepest tap."""


def scale_to_unit(features: Tensor, dim: int) -> Tensor:
    """Scale to length 1 along `dim`; an all-zero vector stays zero, with a zero gradient rather than NaN."""
    return features / (torch.linalg.vector_norm(features, dim=dim, keepdim=True) + 1e-10)


def open_network(net: str, weights: str | None, who: str) -> nn.Module:
    """Build the frozen network from a file or a download.

    Args:
        net: `vgg`, `alex` or `squeeze`.
        weights: path of torchvision's weights file, or 'download' to let it be fetched once.
        who: what needs it, for messages.

    Raises:
        InputError: another network, no weights, or a file of something else.
    """
    if net not in URLS:
        raise InputError(f'`net` is {net!r}.{closest(net, URLS)} Expected one of: {", ".join(URLS)}.', 'net')
    if not weights:
        raise InputError(f'{who} needs `weights`: the path of torchvision\'s file {os.path.basename(URLS[net])} '
                         f'({URLS[net]}), or "download" to fetch it once; a random network is never used in its '
                         'place.', 'weights')
    return build_network(net, URLS[net] if weights == 'download' else str(weights), who)


def lpips(network: nn.Module, reconstructions: Tensor, images: Tensor) -> Tensor:
    """LPIPS of each image.

    Args:
        network: as `open_network` returns it.
        reconstructions, images: [B,3,H,W] in [-1, 1]; gradients reach `reconstructions` only.

    Returns:
        [B].
    """
    with torch.no_grad():
        wanted = list(network.net(network.scaling_layer(images)))
    got = network.net(network.scaling_layer(reconstructions))
    # one by one, so that each tap of the images is freed once it has been compared
    return sum(unit_distance(a, wanted.pop(0), lin.model[-1].weight.flatten()) for lin, a in zip(network.lins, got))


def build_network(net: str, weights: str, who: str = 'LPIPS') -> nn.Module:
    """Build the frozen network.

    Args:
        net: `vgg`, `alex` or `squeeze`.
        weights: path of torchvision's weights of that trunk (its `features.*` are used).
        who: what needs it, for messages.

    Returns:
        an `lpips.LPIPS` in evaluation mode, float32, without a random number in it.
    """
    package = need_package('lpips', 'lpips', who)
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
        raise InputError(f'{weights} does not hold the torchvision weights of the `{net}` trunk: '
                         f'{format_count(len(bad), "tensor", "is")} missing or of another shape, such as '
                         f'{", ".join(bad[:3])}. Give the file that torchvision publishes ({URLS[net]}).')
    check_finite(state, weights, state)
    network.load_state_dict({k: align_tensor(v.float()) for k, v in state.items()}, assign=True)
    return network.requires_grad_(False).eval()


def _find(key, trunk, linear, scaling):
    """Return the tensor that belongs to `key` of an lpips.LPIPS (net.slice1.0.weight, lins.0.model.1.weight, lin0...,
    ...), or None."""
    room, rest = key.split('.', 1)
    if room == 'net':
        return trunk.get('features.' + rest.split('.', 1)[1])
    if room == 'scaling_layer':
        return scaling[rest]
    return linear.get('lin' + rest if room == 'lins' else key)
