"""Any timm vision transformer as a staged encoder.

`VisionTransformer` models are ViT, DeiT, SigLIP, CLIP, DINOv2, MAE; `Eva` models EVA-02, DINOv3, Perception Encoder.

Legend: B batch, P prefix tokens, N patch tokens, D width.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dtbox.encoders.base import Encoder, check_grid
from dtbox.errors import InputError, closest
from dtbox.layers.sizes import read_pair
from dtbox.registry import ENCODERS
from dtbox.values import Depth, Positive, check_value
from dtbox.weights.state_dicts import load_into, load_state, select_prefix

HALF = (0.5, 0.5, 0.5)
"""Mean and deviation per channel of images in [0, 1] that make them images in [-1, 1]."""


class StagedTimm(Encoder):
    """The stages of a timm transformer that is already built; the base of every encoder with a timm trunk.

    Args:
        trunk: a timm VisionTransformer or Eva.
        recompute: drop the activations of blocks and compute them again in the backward pass.
    """

    def __init__(self, trunk: nn.Module, recompute: bool = False) -> None:
        super().__init__()
        from timm.models.eva import Eva
        from timm.models.vision_transformer import VisionTransformer
        if not isinstance(trunk, (VisionTransformer, Eva)):
            raise InputError(f'{type(trunk).__name__} is not a plain vision transformer; expected a timm '
                             'VisionTransformer or Eva (names that begin with vit_, deit, eva). Choose another model '
                             'name.')
        self.trunk, self.recompute = trunk, recompute
        self.rotary = isinstance(trunk, Eva)
        self.depth, self.num_prefix_tokens = len(trunk.blocks), trunk.num_prefix_tokens
        self.image_size = read_pair(trunk.patch_embed.img_size, 'image_size')
        self._grid = tuple(trunk.patch_embed.grid_size)
        check_grid(self.image_size, self._grid)
        self.pooled_dim = trunk.num_features if trunk.num_classes == 0 else trunk.num_classes
        if trunk.global_pool == '':  # timm's word for no pool
            self.pooled_dim = None
        self.has_norm = not isinstance(trunk.norm, nn.Identity)  # timm's `fc_norm` norms what is pooled instead

    def width(self, layer: int) -> int:
        """Return the channels D, the same at every layer."""
        return self.trunk.embed_dim

    def grid(self, layer: int) -> tuple[int, int]:
        """Return the token grid (rows, columns), the same at every layer."""
        return self._grid

    def embed(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1,1] -> tokens [B,P+N,D]; pixels beyond the last whole patch are not seen."""
        tokens = self.trunk._pos_embed(self.trunk.patch_embed(images))
        return self.trunk.norm_pre(tokens[0] if self.rotary else tokens)

    def step(self, tokens: Tensor, layer: int) -> Tensor:
        """Run block `layer` (1-based)."""
        block = self.trunk.blocks[layer - 1]
        call = block
        if self.rotary:
            rope = self._rope(layer)
            def call(x: Tensor) -> Tensor: return block(x, rope=rope)
        if self.recompute and torch.is_grad_enabled() and self.training:
            return checkpoint(call, tokens, use_reentrant=False)
        return call(tokens)

    def _rope(self, layer: int) -> Any:
        module = self.trunk.rope
        if module is None:
            return None
        cached = getattr(module, 'feat_shape', None) is not None
        rope = module.get_embed() if cached else module.get_embed(shape=self._grid)
        return rope[layer - 1] if getattr(self.trunk, 'rope_mixed', False) else rope

    def normalize(self, tokens: Tensor) -> Tensor:
        """Apply timm's `norm`: tokens [B,P+N,D] -> what its `forward_features` returns."""
        return self.trunk.norm(tokens)

    def pool(self, tokens: Tensor) -> Tensor:
        """Final norm and the trunk's own pool (class token, average or attention pool): -> [B, pooled_dim]."""
        return self.trunk.forward_head(self.normalize(tokens))


@ENCODERS.register_module()
class TimmViT(StagedTimm):
    """A timm vision transformer by name.

    Args:
        name: timm model name.
        image_size: pixels, an int or (height, width).
        weights: None; a local .safetensors / .pt file or `dtbox://` name in timm's key names; or 'timm', timm's own
            pretrained weights for that name (downloaded, cached by timm's hub client).
        prefix: take only the file's keys under this prefix.
        resample: take `weights` of another patch or image size too: the kernels of the patches by the pseudo-inverse of
            their resizing (FlexiViT, arXiv 2212.08013, section 3.4), learned positions bicubically, both by timm.
            Without it they are an error.
        recompute: drop the activations of blocks and compute them again in the backward pass.
        model_args: further arguments of the timm model (embed_dim, depth, num_heads, patch_size, act_layer, ...);
            `embed_cfg` of a ViTamin as a dict of embed_dim, depths and stem_width.
        mean, std: statistics that its weights expect, per channel, for images in [0, 1]; None is 0.5, the images as
            they come.
    """
    example = dict(name='vit_base_patch16_siglip_224', image_size=32,
                   model_args=dict(embed_dim=32, depth=3, num_heads=2, patch_size=8))

    def __init__(self, name: str, image_size: int | Sequence[int], weights: str | None = None, prefix: str = '',
                 resample: bool = False, recompute: bool = False, model_args: dict[str, Any] | None = None,
                 mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> None:
        super().__init__(build_timm(name, image_size, model_args or {}), recompute)
        self.name = name
        self.weights = weights
        self.prefix = prefix
        self.resample = resample
        self.model_args = dict(model_args or {})
        mean, std = tuple(mean or HALF), tuple(std or HALF)
        if len(mean) != 3 or len(std) != 3 or not min(std) > 0:
            raise InputError(f'`mean` is {mean} and `std` {std}; expected three numbers each, those of `std` positive.',
                             'mean')
        self.rescale = (mean, std) != (HALF, HALF)
        self.register_buffer('mean', torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(3, 1, 1), persistent=False)

    def embed(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1,1] -> tokens [B,P+N,D], of the images with the statistics that were asked for."""
        return super().embed((images * 0.5 + 0.5 - self.mean) / self.std if self.rescale else images)

    def init_weights(self) -> None:
        """Load `weights` into the trunk; `InputError` lists every key that does not match."""
        if self.weights is None:
            return
        if self.weights == 'timm':
            state = build_timm(self.name, self.image_size, self.model_args, pretrained=True).state_dict()
        else:
            state = load_state(self.weights)
        state = select_prefix(state, self.prefix)
        if self.resample:
            state = fit_sizes(state, self.trunk)
        try:
            load_into(self.trunk, state, self.weights)
        except InputError as e:
            if 'wrong shape: pos_embed' in e.message or 'patch_embed.proj.weight: ' in e.message:
                raise InputError(f'{e.message} Weights of another patch or image size can be fitted: resample=True.',
                                 e.where) from e
            raise


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


def build_timm(name: str, image_size: int | Sequence[int], model_args: dict[str, Any],
               pretrained: bool = False) -> nn.Module:
    """Build a timm model without classifier; `InputError` for an unknown name or sizes that do not fit."""
    import timm
    if not timm.is_model(name):
        raise InputError(f'timm does not have a model `{name}`.{closest(name, timm.list_models())} See '
                         'timm.list_models("vit_*").')
    size = read_pair(image_size, 'image_size')
    for key in SIZES.keys() & model_args.keys():
        check_value(model_args[key], SIZES[key], f'model_args.{key}')
    args = dict(num_classes=0, **model_args)
    if isinstance(args.get('embed_cfg'), Mapping):
        args['embed_cfg'] = build_stem_config(args['embed_cfg'])
    try:
        return timm.create_model(name, pretrained=pretrained, img_size=size, **args)
    except InputError:
        raise
    except (TypeError, AssertionError, ValueError) as e:
        raise InputError(f'timm cannot build `{name}` for images of {size[0]} x {size[1]} with {model_args}: '
                         f'{e}') from e
