"""Any timm vision transformer as a staged encoder.

`VisionTransformer` models are ViT, DeiT, SigLIP, CLIP, DINOv2, MAE; `Eva` models EVA-02, DINOv3, Perception Encoder.

Legend: B batch, P prefix tokens, N patch tokens, D width.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dtbox.encoders.base import Encoder, check_grid
from dtbox.errors import InputError
from dtbox.layers.sizes import read_pair
from dtbox.layers.timm_models import build_timm, fit_sizes, set_norm_eps
from dtbox.registry import ENCODERS
from dtbox.values import PositiveNumber
from dtbox.weights.model_folders import load_published
from dtbox.weights.state_dicts import load_into, select_prefix

HALF = (0.5, 0.5, 0.5)
"""Mean and deviation per channel of images in [0, 1] that make them images in [-1, 1]."""


class StagedTimm(Encoder):
    """The stages of a timm transformer that is already built; the base of every encoder with a timm trunk.

    Args:
        trunk: a timm VisionTransformer or Eva.
        recompute: drop the activations of blocks and compute them again in the backward pass.
        image_size: (height, width) of the images that come in, which are resized to those of the trunk (bicubic, no
            antialias); None: those of the trunk.
    """

    def __init__(self, trunk: nn.Module, recompute: bool = False, image_size: tuple[int, int] | None = None) -> None:
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
        self.input_size = read_pair(trunk.patch_embed.img_size, 'image_size')
        self.image_size = image_size or self.input_size
        self._grid = tuple(trunk.patch_embed.grid_size)
        check_grid(self.input_size, self._grid)
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
        if self.input_size != self.image_size:
            images = F.interpolate(images, self.input_size, mode='bicubic', align_corners=False)
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
        name: timm model name; no name on the hub (`hf-hub:`), which can be `weights`.
        image_size: pixels, an int or (height, width).
        weights: None; a local .safetensors / .pt file, `dtbox://` name, or folder on the hub
            (`hf://OWNER/NAME[@REVISION]`), in timm's key names; or 'timm', timm's own pretrained weights for that name
            (downloaded, cached by timm's hub client).
        prefix: take only the file's keys under this prefix.
        resample: take `weights` of another patch or image size too: the kernels of the patches by the pseudo-inverse of
            their resizing (FlexiViT, arXiv 2212.08013, section 3.4), learned positions bicubically, both by timm.
            Without it they are an error.
        recompute: drop the activations of blocks and compute them again in the backward pass.
        input_size: pixels that images are resized to before they are cut into patches (RAE's DINOv2 reads images of 256
            pixels at 224); None cuts them as they are.
        norm_eps: epsilon of every norm; None takes that of timm's model.
        model_args: further arguments of the timm model (embed_dim, depth, num_heads, patch_size, act_layer, ...);
            `embed_cfg` of a ViTamin as a dict of embed_dim, depths and stem_width.
        mean, std: statistics that its weights expect, per channel, for images in [0, 1]; None is 0.5, the images as
            they come.
    """
    example = dict(name='vit_base_patch16_siglip_224', image_size=32,
                   model_args=dict(embed_dim=32, depth=3, num_heads=2, patch_size=8))

    def __init__(self, name: str, image_size: int | Sequence[int], weights: str | None = None, prefix: str = '',
                 resample: bool = False, recompute: bool = False, input_size: int | Sequence[int] | None = None,
                 norm_eps: PositiveNumber | None = None, model_args: dict[str, Any] | None = None,
                 mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> None:
        size = read_pair(image_size, 'image_size')
        trunk = build_timm(name, size if input_size is None else input_size, model_args or {})
        if norm_eps is not None:
            set_norm_eps(trunk, norm_eps)
        super().__init__(trunk, recompute, size)
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
        if self.rescale:  # a model without buffers that files do not hold is built around the tensors of a file
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
            state = build_timm(self.name, self.input_size, self.model_args, pretrained=True).state_dict()
        else:
            state = load_published(self.weights)[0]
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
