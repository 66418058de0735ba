"""The image tower of any open_clip model by name, staged. Towers on a timm trunk (SigLIP, ...) use the timm stages."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dtbox.encoders.base import Encoder, check_grid
from dtbox.encoders.timm_vit import StagedTimm
from dtbox.errors import InputError, closest
from dtbox.layers.sizes import read_pair
from dtbox.registry import ENCODERS
from dtbox.weights.hub import refuse_hub_name
from dtbox.weights.model_folders import load_open_clip_state
from dtbox.weights.state_dicts import load_into, select_prefix


class StagedCLIP(Encoder):
    """The stages of open_clip's own VisionTransformer.

    Args:
        visual: open_clip.transformer.VisionTransformer.
        recompute: drop the activations of blocks and compute them again in the backward pass.
    """

    def __init__(self, visual: nn.Module, recompute: bool = False) -> None:
        super().__init__()
        self.visual, self.recompute = visual, recompute
        self.depth, self.num_prefix_tokens = len(visual.transformer.resblocks), 1
        self.image_size, self._grid = read_pair(visual.image_size, 'image_size'), tuple(visual.grid_size)
        check_grid(self.image_size, self._grid)
        self.pooled_dim = visual.output_dim
        # an attention pool, or `final_ln_after_pool`, norms what is pooled instead
        self.has_norm = visual.attn_pool is None and not visual.final_ln_after_pool

    def width(self, layer: int) -> int:
        """Return the channels D, the same at every layer."""
        return self.visual.transformer.width

    def grid(self, layer: int) -> tuple[int, int]:
        """Return the token grid (rows, columns), the same at every layer."""
        return self._grid

    def embed(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1,1] -> tokens [B,1+N,D] (class token first)."""
        return self.visual._embeds(images)

    def step(self, tokens: Tensor, layer: int) -> Tensor:
        """Run block `layer` (1-based)."""
        block, first = self.visual.transformer.resblocks[layer - 1], self.visual.transformer.batch_first
        def call(x: Tensor) -> Tensor: return block(x) if first else block(x.transpose(0, 1)).transpose(0, 1)
        if self.recompute and torch.is_grad_enabled() and self.training:
            return checkpoint(call, tokens, use_reentrant=False)
        return call(tokens)

    def normalize(self, tokens: Tensor) -> Tensor:
        """Apply `ln_post`: tokens [B,1+N,D] -> the same shape."""
        return self.visual.ln_post(tokens)

    def pool(self, tokens: Tensor) -> Tensor:
        """Final norm, pool and projection of the tower: -> [B, pooled_dim]."""
        pooled, _ = self.visual._pool(tokens)
        return pooled if self.visual.proj is None else pooled @ self.visual.proj


def get_model_config(name: str) -> dict[str, Any]:
    """Return open_clip's config dict of `name`; `InputError` with the closest names when there is none."""
    import open_clip
    refuse_hub_name(name, 'open_clip')
    config = open_clip.get_model_config(name)
    if config is None:
        raise InputError(f'open_clip does not have a model `{name}`.{closest(name, open_clip.list_models())} See '
                         'open_clip.list_models().')
    return config


def resize(trunk: nn.Module, size: tuple[int, int]) -> None:
    """Set a timm trunk, which open_clip leaves at the size of its name, to images of `size` (height, width)."""
    if hasattr(trunk, 'set_input_size') and size != tuple(trunk.patch_embed.img_size):
        check_grid(size, [pixels // patch for pixels, patch in zip(size, trunk.patch_embed.patch_size)])
        trunk.set_input_size(img_size=size)


def get_statistics(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (mean, std) per channel that open_clip normalises a model's images by."""
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    return ((0.5,) * 3, (0.5,) * 3) if 'siglip' in name.lower() else (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)


@ENCODERS.register_module()
class OpenCLIPTower(Encoder):
    """The image tower of an open_clip model.

    CLIP models were trained on images normalised by their own mean and deviation; images here are in [-1, 1], so the
    tower renormalises them where the model's statistics differ from 0.5 / 0.5.

    Args:
        name: open_clip model name ('ViT-B-16', 'ViT-B-16-SigLIP', ...).
        image_size: pixels; None takes the model's own.
        weights: None; a local checkpoint (.safetensors, .pt) of the whole model or of the tower; a `dtbox://` name; a
            folder on the hub (`hf://OWNER/NAME[@REVISION]`); or 'hub:TAG', open_clip's pretrained tag (downloaded).
        mean, std: the statistics its weights expect, per channel, for images in [0, 1]; None takes 0.5 for SigLIP
            models and CLIP's own for all others, open_clip's rule.
        recompute: drop the activations of blocks and compute them again in the backward pass.
    """

    def __init__(self, name: str, image_size: int | Sequence[int] | None = None, weights: str | None = None,
                 mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
                 recompute: bool = False) -> None:
        super().__init__()
        from open_clip.model import _build_vision_tower
        config = get_model_config(name)
        vision = dict(config['vision_cfg'])
        vision['timm_model_pretrained'] = False
        if image_size is not None:
            vision['image_size'] = read_pair(image_size, 'image_size')
        visual = _build_vision_tower(config['embed_dim'], vision, config.get('quick_gelu', False))
        self.name = name
        self.weights = weights
        self.recompute = recompute
        self.visual = visual
        if hasattr(visual, 'trunk'):
            resize(visual.trunk, read_pair(vision['image_size'], 'image_size'))
            stages = StagedTimm(visual.trunk, recompute)
        elif hasattr(visual, 'transformer'):
            stages = StagedCLIP(visual, recompute)
        else:
            raise InputError(f'the image tower of `{name}` is a {type(visual).__name__}, not a transformer; choose a '
                             'ViT model.')
        object.__setattr__(self, 'stages', stages)  # has the modules of `visual`, which are registered already
        self.depth, self.num_prefix_tokens = stages.depth, stages.num_prefix_tokens
        self.image_size, self.pooled_dim = stages.image_size, config['embed_dim']
        self.has_norm = stages.has_norm
        mean, std = (mean or get_statistics(name)[0]), (std or get_statistics(name)[1])
        self.rescale = tuple(mean) != (0.5,) * 3 or tuple(std) != (0.5,) * 3
        self.register_buffer('mean', torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> OpenCLIPTower:
        """Switch the tower and its stages."""
        super().train(mode)
        self.stages.training = mode
        return self

    def width(self, layer: int) -> int:
        """Return the channels D."""
        return self.stages.width(layer)

    def grid(self, layer: int) -> tuple[int, int]:
        """Return the token grid (rows, columns)."""
        return self.stages.grid(layer)

    def embed(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1,1] -> tokens [B,P+N,D]."""
        if self.rescale:
            images = (images * 0.5 + 0.5 - self.mean) / self.std
        return self.stages.embed(images)

    def step(self, tokens: Tensor, layer: int) -> Tensor:
        """Run block `layer` (1-based)."""
        return self.stages.step(tokens, layer)

    def normalize(self, tokens: Tensor) -> Tensor:
        """Apply the tower's final norm: tokens [B,P+N,D] -> the same shape."""
        return self.stages.normalize(tokens)

    def pool(self, tokens: Tensor) -> Tensor:
        """Pool and project as the whole model does: -> [B, embed_dim]."""
        pooled = self.stages.pool(tokens)
        return self.visual.head(pooled) if hasattr(self.visual, 'trunk') else pooled

    def init_weights(self) -> None:
        """Load `weights` into the tower."""
        if self.weights is None:
            return
        state = load_open_clip_state(self.name, self.weights)
        load_into(self.visual, select_prefix(state, 'visual.') or state, self.weights)
