"""timm's vision transformers by name: built without a classifier, and weights of other sizes fitted to them.

Encoders, decoders and discriminators take their trunks from here.

Legend: P prefix tokens (class, registers), N patch tokens, D width.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch.nn as nn
from torch import Tensor

from dtbox.errors import InputError, closest
from dtbox.layers.recompute import run
from dtbox.layers.sizes import read_pair
from dtbox.values import Depth, Positive, check_value
from dtbox.weights.hub import refuse_hub_name


def run_blocks(trunk: nn.Module, embedded: Tensor, recompute: bool = False) -> Iterator[Tensor]:
    """Yield the tokens [B,P+N,D] of a VisionTransformer or Eva with their positions, then those after each block.

    Args:
        trunk: the timm model; its final norm is left to the caller.
        embedded: what its patch embedding returns: [B,N,D], or [B,h,w,D] where it takes images of any size.
        recompute: drop activations of the blocks and compute them again in the backward pass.
    """
    x = trunk._pos_embed(embedded)
    x, rope = x if isinstance(x, tuple) else (x, None)
    yield (x := trunk.norm_pre(x))
    for i, block in enumerate(trunk.blocks):
        turn = rope[i] if rope is not None and getattr(trunk, 'rope_mixed', False) else rope
        yield (x := run(block if turn is None else partial(block, rope=turn), x, recompute))


def fit_sizes(state: Mapping[str, Tensor], trunk: nn.Module) -> dict[str, Tensor]:
    """Fit patch kernels and learned positions to the sizes of a timm transformer.

    Args:
        state: name -> tensor, in timm's names; positions of a square grid.
        trunk: timm VisionTransformer or Eva.

    Returns:
        the same, with `patch_embed.proj.weight` [D,3,P,P] and `pos_embed` [1,P+N,D] of the trunk's sizes; everything
        else unchanged.
    """
    from timm.layers import resample_abs_pos_embed, resample_patch_embed
    state, own = dict(state), trunk.state_dict()
    kernel, table = 'patch_embed.proj.weight', 'pos_embed'
    if kernel in state and kernel in own and state[kernel].ndim == 4:
        state[kernel] = resample_patch_embed(state[kernel], list(own[kernel].shape[-2:]))
    if table in state and table in own and state[table].shape[1] != own[table].shape[1]:
        prefix = 0 if trunk.no_embed_class else trunk.num_prefix_tokens
        state[table] = resample_abs_pos_embed(state[table], list(trunk.patch_embed.grid_size), num_prefix_tokens=prefix)
    return state


SIZES = dict(embed_dim=Positive, depth=Depth, num_heads=Positive)
"""Arguments of timm's transformers that a loop or an allocation would take at their word."""


def build_stem_config(sizes: Mapping[str, Any]) -> Any:
    """Return timm's config of ViTamin's convolutional stages of a dict `embed_dim`, `depths`, `stem_width`."""
    from timm.models.vitamin import VitCfg, VitConvCfg
    wrong = set(sizes) - {'embed_dim', 'depths', 'stem_width'}
    if wrong:
        raise InputError(f'`embed_cfg` has {", ".join(sorted(wrong))}; expected embed_dim, depths and stem_width.',
                         'model_args')
    return VitCfg(conv_cfg=VitConvCfg(norm_layer='layernorm2d', norm_eps=1e-6), head_type='1d', **sizes)


def set_norm_eps(model: nn.Module, eps: float) -> None:
    """Give every LayerNorm of a model this epsilon."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps


def build_timm(name: str, image_size: int | Sequence[int], model_args: dict[str, Any],
               pretrained: bool = False) -> nn.Module:
    """Build a timm model without classifier; `InputError` for an unknown name or sizes that do not fit."""
    import timm
    refuse_hub_name(name, 'timm')
    if not timm.is_model(name):
        raise InputError(f'timm does not have a model `{name}`.{closest(name, timm.list_models())} See '
                         'timm.list_models("vit_*").')
    size = read_pair(image_size, 'image_size')
    for key in SIZES.keys() & model_args.keys():
        check_value(model_args[key], SIZES[key], f'model_args.{key}')
    args = {'num_classes': 0, **model_args}
    if isinstance(args.get('embed_cfg'), Mapping):
        args['embed_cfg'] = build_stem_config(args['embed_cfg'])
    try:
        return timm.create_model(name, pretrained=pretrained, img_size=size, **args)
    except InputError:
        raise
    except (TypeError, AssertionError, ValueError) as e:
        raise InputError(f'timm cannot build `{name}` for images of {size[0]} x {size[1]} with {model_args}: '
                         f'{e}') from e
