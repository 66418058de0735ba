"""The decoder contract: features of tokens to images.

Legend: B batch, N tokens in row-major order, D feature width, h and w token or latent rows and columns, H and W pixels.
"""
import torch.nn as nn
import torch.nn.functional as F

from dtbox.errors import InputError
from dtbox.layers.recompute import run  # noqa: F401  what decoders run their blocks with


def pair(value, name):
    """Return an int, or a sequence of two, as (rows, columns); `InputError` unless both are whole and positive."""
    both = (value, value) if isinstance(value, int) else value
    if not isinstance(both, (tuple, list)) or len(both) != 2 or not all(type(v) is int and v > 0 for v in both):
        raise InputError(f'`{name}` is {value!r}; expected a positive whole number or two of them, (rows, columns).')
    return tuple(both)


class Decoder(nn.Module):
    """Base class of decoders.

    A subclass implements `forward` and `last_layer`. `in_dim`, `grid` and `image_size` are filled in by the tokenizer where the config
    leaves them out, so a constructor keeps these names.

    Args:
        in_dim: feature width D.
        grid: token grid (h, w).
        image_size: (H, W) in pixels, or one number for both.
        latent_size: (h, w), or one number, that features are resized to (bilinear, align_corners False, no antialias) before they are
            decoded; None decodes on the token grid.

    Attributes:
        latent: rows and columns after the resize.
        example: constructor arguments of a small instance, for the contract suite; None where there is none.
    """
    example = None

    def __init__(self, in_dim, grid, image_size, latent_size=None):
        super().__init__()
        if type(in_dim) is not int or in_dim < 1:
            raise InputError(f'`in_dim` is {in_dim!r}; expected the width of the features, a positive whole number.')
        self.in_dim = in_dim
        self.grid = pair(grid, 'grid')
        self.image_size = pair(image_size, 'image_size')
        self.latent = self.grid if latent_size is None else pair(latent_size, 'latent_size')

    @property
    def last_layer(self):
        """Weight of the final layer, the parameter at which the adaptive GAN weight compares gradients."""
        raise NotImplementedError

    def forward(self, features):
        """features [B,N,D] -> images [B,3,H,W], nominally in [-1, 1], not clamped."""
        raise NotImplementedError

    def to_map(self, features):
        """Lay tokens out on the latent grid.

        Args:
            features: [B,N,D], N = rows * columns of the token grid.

        Returns:
            [B,D,h,w] on the latent grid; resized only where it differs from the token grid.
        """
        rows, columns = self.grid
        if features.ndim != 3 or features.shape[1] != rows * columns or features.shape[2] != self.in_dim:
            raise InputError(f'features have the shape {list(features.shape)}; this decoder expects [B, {rows * columns}, {self.in_dim}] '
                             f'({rows} x {columns} tokens). Give it features of the tokenizer that it was built for.')
        x = features.transpose(1, 2).reshape(features.shape[0], self.in_dim, rows, columns)
        return x if self.latent == self.grid else F.interpolate(x, self.latent, mode='bilinear', align_corners=False)

    def check_scale(self, levels, what):
        """Raise `InputError` unless `latent * 2^levels == image_size`.

        Args:
            levels: how many times this decoder doubles its size.
            what: what sets `levels`, for the message.
        """
        made = tuple(v * 2 ** levels for v in self.latent)
        if made == self.image_size:
            return
        fit = [v / 2 ** levels for v in self.image_size]
        latent = f', or `latent_size` {tuple(int(v) for v in fit)}' if all(v >= 1 and v % 1 == 0 for v in fit) else ''
        raise InputError(f'a latent grid of {self.latent} doubled {levels} times ({what}) makes images of {made}, but `image_size` is '
                         f'{self.image_size}. What fits: `image_size` {made}{latent}, or another number of doublings.')
