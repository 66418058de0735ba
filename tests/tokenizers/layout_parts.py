"""Small parts whose tokens do not lie on one grid, as somebody outside dtbox would write them."""
import torch
import torch.nn as nn
import torch.nn.functional as F

from dtbox.decoders.base import Decoder
from dtbox.encoders.base import Encoder
from dtbox.errors import InputError
from dtbox.layout import Grid, Scales, Sequence, need_grid
from dtbox.quantizers.base import Quantizer
from dtbox.registry import DECODERS, ENCODERS, QUANTIZERS
from dtbox.structures import QuantizerOutput

PATCH = 4


class Patches(Encoder):
    """One linear layer on patches of 4 pixels, then `depth` linear layers."""

    def __init__(self, image_size, width=8, depth=2):
        super().__init__()
        self.image_size = (image_size, image_size)
        self.depth = depth
        self._width = width
        self.embedding = nn.Conv2d(3, width, PATCH, stride=PATCH)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def width(self, layer):
        return self._width

    def grid(self, layer):
        return self.image_size[0] // PATCH, self.image_size[1] // PATCH

    def embed(self, images):
        return self.embedding(images).flatten(2).transpose(1, 2)

    def step(self, tokens, layer):
        return self.blocks[layer - 1](tokens)


class Latents(Patches):
    """TiTok in small: after block 1, learned queries are all that is left of the patches."""

    def __init__(self, image_size, latents=5, **args):
        super().__init__(image_size, **args)
        self.queries = nn.Parameter(torch.randn(latents, self._width))

    def layout(self, layer):
        return super().layout(layer) if layer == 0 else Sequence(len(self.queries))

    def step(self, tokens, layer):
        if layer == 1:
            tokens = (self.queries @ tokens.transpose(1, 2)).softmax(-1) @ tokens
        return super().step(tokens, layer)


class Pyramid(Patches):
    """Tokens of several scales: after block 1, averages over areas of the patches follow each other, coarse to fine."""

    def __init__(self, image_size, scales=(1, 2, 4), **args):
        super().__init__(image_size, **args)
        self.scales = Scales(list(scales))

    def layout(self, layer):
        return super().layout(layer) if layer == 0 else self.scales

    def step(self, tokens, layer):
        if layer == 1:
            x = super().layout(0).unflatten(tokens)
            tokens = torch.cat([grid.flatten(F.adaptive_avg_pool2d(x, grid.map_shape)) for grid in self.scales.grids],
                               1)
        return super().step(tokens, layer)


class QueryDecoder(Decoder):
    """Every pixel has a learned query that attends to the tokens."""
    accepts = (Sequence,)

    def __init__(self, in_dim, layout, image_size):
        super().__init__(in_dim, layout, image_size)
        self.queries = nn.Parameter(torch.randn(self.image_size[0] * self.image_size[1], in_dim))
        self.out = nn.Linear(in_dim, 3)

    @property
    def last_layer(self):
        return self.out.weight

    def forward(self, features):
        pixels = (self.queries @ features.transpose(1, 2)).softmax(-1) @ features
        return Grid(*self.image_size).unflatten(self.out(pixels))


class SumDecoder(Decoder):
    """The maps of all scales, enlarged and added."""
    accepts = (Scales,)

    def __init__(self, in_dim, layout, image_size):
        super().__init__(in_dim, layout, image_size)
        self.out = nn.Conv2d(in_dim, 3, 1)

    @property
    def last_layer(self):
        return self.out.weight

    def forward(self, features):
        maps = [grid.unflatten(part) for grid, part in zip(self.layout.grids, self.layout.split(features))]
        return self.out(sum(F.interpolate(x, self.image_size) for x in maps))


class MultiScale(Quantizer):
    """VAR in small: each scale quantizes the signs of what the coarser ones have left; codes of 2 ** dim."""

    def __init__(self, dim, scales=(1, 2, 4)):
        super().__init__()
        self.dim = dim
        self.codebook_sizes = [2 ** dim]
        self.scales = Scales(list(scales))
        self.grid = None

    def set_layout(self, layout):
        self.grid = need_grid(layout, 'MultiScale')
        if self.scales.grids[-1] != self.grid:
            raise InputError(f'the last scale is a {self.scales.grids[-1]}, the features lie on a {self.grid}.',
                             'scales')
        return self.scales

    def forward(self, z):
        codes = self.encode(z)
        return QuantizerOutput(z + (self.decode(codes) - z).detach(), codes)

    def encode(self, z):
        rest, codes = self.grid.unflatten(z.detach()), []
        for i, grid in enumerate(self.scales.grids):
            bits = grid.flatten(F.adaptive_avg_pool2d(rest, grid.map_shape)) > 0
            codes.append((bits * 2 ** torch.arange(self.dim)).sum(-1, keepdim=True))
            rest = rest - self.enlarge(codes[-1], grid, i)
        return torch.cat(codes, 1)

    def decode(self, codes):
        self.check_codes(codes)
        parts = zip(self.scales.split(codes), self.scales.grids)
        return self.grid.flatten(sum(self.enlarge(part, grid, i) for i, (part, grid) in enumerate(parts)))

    def enlarge(self, codes, grid, scale):
        """Codes [B,n,1] of a scale -> map [B,C,h,w] of the grid, half as strong at each scale."""
        rows = ((codes >> torch.arange(self.dim)) & 1) * 2.0 - 1.0
        return F.interpolate(grid.unflatten(rows), self.grid.map_shape) * 0.5 ** (scale + 1)


PARTS = [(ENCODERS, Latents), (ENCODERS, Pyramid), (ENCODERS, Patches), (DECODERS, QueryDecoder),
         (DECODERS, SumDecoder),
         (QUANTIZERS, MultiScale)]
