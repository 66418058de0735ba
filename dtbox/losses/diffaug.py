"""DiffAug (arXiv 2006.10738): what a discriminator sees is augmented, images and reconstructions alike, and gradients
pass the augmentation.

Values are those of StyleGAN-T (arXiv 2301.09515) and of the tokenizers of VAR and UniTok: translation by up to an
eighth of a side, brightness, saturation and contrast, a square cut out; a blur that fades while the discriminator
warms up.

Legend: B images, H and W pixels.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.registry import AUGMENTATIONS
from dtbox.values import Count, Fraction, check_values


@AUGMENTATIONS.register_module()
@dataclass(frozen=True)
class DiffAug:
    """Differentiable augmentation. Each of the three kinds is drawn once a batch, its amounts for each image.

    Attributes:
        probability: of each kind.
        translation: most that an image is shifted, over its side; zeros come in.
        colour: whether brightness (+- 0.5), saturation (times 0 to 2) and contrast (times 0.5 to 1.5) change.
        cutout: side of the zeroed rectangle over that of the image; 0 cuts nothing.
        blur: iterations of the discriminator in which a Gaussian blur fades: its width begins at sqrt(H / 2) pixels and
            falls to 0 in equal steps; 0 blurs nothing.
    """
    probability: Fraction = 1.0
    translation: Fraction = 0.125
    colour: bool = True
    cutout: Fraction = 0.2
    blur: Count = 0

    def __post_init__(self) -> None:
        check_values(DiffAug, vars(self))

    def __call__(self, images: Tensor, age: int = 0) -> Tensor:
        """Augment images.

        Args:
            images: [B,3,H,W].
            age: iterations since the discriminator began.

        Returns:
            [B,3,H,W], float32 at least.
        """
        x = images if images.dtype == torch.float64 else images.float()
        if age < self.blur:
            x = blur(x, (x.shape[-2] / 2) ** 0.5 * (1 - age / self.blur))
        chosen = (torch.rand(3, device='cpu') < self.probability).tolist()
        draws = torch.rand(7, len(x), device=x.device)
        if chosen[0] and self.translation:
            most = [round(side * self.translation) for side in x.shape[-2:]]
            x = translate(x, *((u * (2 * m + 1)).floor().long() - m for u, m in zip(draws[:2], most)))
        if chosen[1] and self.colour:
            x = change_colour(x, draws[2] - 0.5, 2 * draws[3], draws[4] + 0.5)
        if chosen[2] and self.cutout:
            size = [round(side * self.cutout) for side in x.shape[-2:]]
            centres = ((u * (side + 1 - s % 2)).floor().long() for u, side, s in zip(draws[5:], x.shape[-2:], size))
            x = cut_out(x, *centres, *size)
        return x


def blur(images: Tensor, width: float) -> Tensor:
    """Convolve images [B,C,H,W] with 2^-(d / width)^2 along both axes, d up to 3 widths; edges are mirrored."""
    radius = math.floor(3 * width)
    if radius < 1:
        return images
    distance = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device) / width
    kernel = torch.exp2(-distance.square())
    kernel, channels = kernel / kernel.sum(), images.shape[1]
    x = F.pad(images, [radius] * 4, mode='reflect')
    x = F.conv2d(x, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(x, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def translate(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Return pixels (i + down, j + right) of images [B,C,H,W] at (i, j), zeros outside; both [B] int64."""
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device) + down[:, None]
    columns = torch.arange(width, device=images.device) + right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    index = torch.arange(len(images), device=images.device)[:, None, None]
    moved_bhwc = images[index, :, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]]
    return (moved_bhwc * inside[..., None]).permute(0, 3, 1, 2)


def change_colour(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Add `brightness`, then scale distances from the grey of a pixel, then from the mean of the image; each [B]."""
    x = images + brightness.view(-1, 1, 1, 1)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * saturation.view(-1, 1, 1, 1) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * contrast.view(-1, 1, 1, 1) + mean


def cut_out(images: Tensor, row: Tensor, column: Tensor, height: int, width: int) -> Tensor:
    """Zero a rectangle of `height` x `width` pixels around (row, column), each [B] int64, as far as it lies inside."""
    def covers(side: int, centre: Tensor, size: int) -> Tensor:
        first = (centre - size // 2)[:, None]
        place = torch.arange(side, device=images.device)
        return (place >= first) & (place < first + size)
    inside = covers(images.shape[-2], row, height)[:, :, None] & covers(images.shape[-1], column, width)[:, None]
    return images * ~inside[:, None]
