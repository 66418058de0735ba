"""A discriminator on the features of a frozen vision transformer (StyleGAN-T, arXiv 2301.09515, section 3.2; the
tokenizers of VAR, arXiv 2404.02905, and UniTok, arXiv 2502.20321).

Tokens of several layers, each plus the class token, go to a head each: a convolution over the sequence of tokens of
kernel 1, a residual one of kernel 9, and one to a logit for every token.

The trunk lies outside of parameters and state dict: its weights come from a file, are frozen and never saved.
Deviation: GroupNorm in the heads, as in UniTok; StyleGAN-T normalises over 8 images, VAR over the batch.

Legend: B batch, N tokens, D width of the trunk, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.parametrizations import spectral_norm

from dtbox.discriminators.base import check_images
from dtbox.errors import InputError
from dtbox.layers.timm_models import build_timm, fit_sizes, run_blocks
from dtbox.registry import DISCRIMINATORS
from dtbox.values import Count, Fraction, Positive
from dtbox.weights.state_dicts import load_into, load_state, select_prefix

GROUPS = 32
EPSILON = 1e-6
SLOPE = 0.2
RANDOM = 'random'
"""In the place of weights: a random trunk, the same for every run."""


class ResidualBranch(nn.Module):
    """(f(x) + x) / sqrt(2).

    Args:
        branch: f.
    """

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        """x [B,D,N] -> [B,D,N]."""
        return (self.branch(x) + x) / 2 ** 0.5


def make_head(width: int, kernel: int, spectral: bool) -> nn.Sequential:
    """Return the head of a layer: tokens [B,D,N] -> logits [B,1,N].

    Args:
        width: D, a multiple of 32.
        kernel: of the residual convolution, odd; tokens are taken as a circle.
        spectral: divide the weights of convolutions by their largest singular value.
    """
    def conv(outputs: int, size: int) -> nn.Module:
        layer = nn.Conv1d(width, outputs, size, padding=size // 2, padding_mode='circular')
        nn.init.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
        return spectral_norm(layer) if spectral else layer

    def block(size: int) -> nn.Module:
        return nn.Sequential(conv(width, size), nn.GroupNorm(GROUPS, width, eps=EPSILON), nn.LeakyReLU(SLOPE))
    return nn.Sequential(block(1), ResidualBranch(block(kernel)), conv(1, 1))


def build_frozen_trunk(name: str, image_size: int, weights: str, prefix: str, model_args: dict[str, Any]) -> nn.Module:
    """Return a frozen timm transformer in evaluation mode.

    Args:
        name, image_size, model_args: see `build_timm`.
        weights: as of `FeatureDiscriminator`.
        prefix: of the names in the file.
    """
    if weights == RANDOM:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            trunk = build_timm(name, image_size, model_args)
    else:
        trunk = build_timm(name, image_size, model_args)
        if not next(trunk.parameters()).is_meta:  # of which only sizes are wanted
            source = build_timm(name, image_size, model_args, pretrained=True).state_dict() if weights == 'timm' \
                else load_state(weights)
            load_into(trunk, fit_sizes(select_prefix(source, prefix), trunk), weights, ignore=('head', 'fc_norm'))
    return trunk.requires_grad_(False).eval()


@DISCRIMINATORS.register_module()
class FeatureDiscriminator(nn.Module):
    """Heads on layers of a frozen timm transformer: images to a logit for each token of each layer.

    Larger images are cropped to the trunk's size, at random, or resized to it by averages of areas; smaller ones are
    resized bicubically.

    Args:
        name: timm model name of the trunk.
        image_size: side in pixels that the trunk reads; a file's positions are resized for it.
        weights: path, or `dtbox://` name, of the trunk's weights in timm's names; 'timm' for timm's own, downloaded;
            'random' for a fixed random trunk, which is for tests.
        layers: which to read, 0 is the embedding with positions.
        prefix: take only the file's keys under this prefix.
        kernel: of the heads' residual convolution over tokens, odd.
        spectral: spectral normalisation (arXiv 1802.05957) of the heads' convolutions; one power iteration in each pass
            in which they learn.
        crop: probability that larger images are cropped, drawn for the batch.
        mean, std: of the images in [0, 1] that the trunk expects, for each colour; None takes timm's.
        model_args: further arguments of the timm model.
    """
    example = dict(name='vit_tiny_patch16_224', image_size=32, weights=RANDOM, layers=(0, 2),
                   model_args=dict(embed_dim=32, depth=2, num_heads=2))

    def __init__(self, name: str, image_size: Positive, weights: str, layers: Sequence[Count] = (0, 3, 6, 9, 12),
                 prefix: str = '', kernel: Positive = 9, spectral: bool = True, crop: Fraction = 0.5,
                 mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
                 model_args: dict[str, Any] | None = None) -> None:
        super().__init__()
        trunk = build_frozen_trunk(name, image_size, weights, prefix, dict(model_args or {}))
        self._trunk = (trunk,)
        depth = len(getattr(trunk, 'blocks', ()))
        if not depth or not layers or max(layers) > depth:
            raise InputError(f'`layers` is {list(layers)}; expected some of 0 to {depth}, the blocks of `{name}`.',
                             'layers')
        if trunk.embed_dim % GROUPS or kernel % 2 == 0:
            raise InputError(f'the trunk has the width {trunk.embed_dim} and `kernel` is {kernel}; expected a multiple '
                             f'of {GROUPS} and an odd kernel.')
        self.image_size, self.layers = image_size, tuple(layers)
        self.crop = crop
        shown = trunk.pretrained_cfg
        for key, given in (('mean', mean), ('std', std)):
            values = torch.tensor(given or shown[key], dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(key, values, persistent=False)
        self.heads = nn.ModuleList(make_head(trunk.embed_dim, kernel, spectral) for _ in self.layers)

    def _apply(self, fn: Any, recurse: bool = True) -> FeatureDiscriminator:
        """Move the trunk along."""
        self._trunk[0]._apply(fn)
        return super()._apply(fn, recurse)

    def fit(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1, 1] -> [B,3,S,S] as the trunk expects them, S its size; float32."""
        x, side = (images.float() / 2 + 0.5 - self.mean) / self.std, self.image_size
        height, width = x.shape[2:]
        if (height, width) == (side, side):
            return x
        if min(height, width) > side and float(torch.rand((), device='cpu')) < self.crop:
            top, left = (int(torch.randint(n - side + 1, (), device='cpu')) for n in (height, width))
            return x[:, :, top:top + side, left:left + side]
        if height > side:
            return F.interpolate(x, (side, side), mode='area')
        return F.interpolate(x, (side, side), mode='bicubic', align_corners=False)

    def features(self, images: Tensor) -> list[Tensor]:
        """images [B,3,H,W] in [-1, 1] -> tokens [B,D,N] of each layer, plus the class token where there is one."""
        trunk = self._trunk[0]
        found = {}
        for layer, x in enumerate(run_blocks(trunk, trunk.patch_embed(self.fit(images)))):
            if layer in self.layers:
                tokens = x[:, trunk.num_prefix_tokens:]
                found[layer] = (tokens + x[:, :1] if trunk.cls_token is not None else tokens).mT
            if layer == max(self.layers):
                break
        return [found[layer] for layer in self.layers]

    def forward(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1, 1] -> logits [B,layers * N], high for what looks real."""
        check_images(images)
        # power iterations belong to the passes of which the heads learn, not to that of the generator
        self.heads.train(self.training and any(p.requires_grad for p in self.heads.parameters()))
        return torch.cat([head(x).flatten(1) for head, x in zip(self.heads, self.features(images))], 1)
