"""Small probes on frozen features: what does a layer hold that a little training can read out?

Every layer gets a probe of its own, with the same start, the same batches and the same number of steps, and sees
features brought to mean 0 and deviation 1 in each channel, so that no layer is better off by the scale of its numbers.
The pixel probe is a small transformer decoder (ViT-VQGAN's, arXiv 2110.04627, with one block); the text probe an
attention pool (attentive probing, as in V-JEPA, arXiv 2404.08471) that learns to find the frozen text embedding of its
image among those of the batch (CLIP, arXiv 2103.00020, both directions).

Legend: B batch, N tokens, D width of the layer, E width of the text embeddings, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError
from dtbox.layout import Grid
from dtbox.registry import DECODERS

WIDTH = 128
HEADS = 4
REFINE = 4
"""Of the pixel probe: channels and attention heads of its block, channels a pixel behind it."""
POOL_WIDTH = 128
"""Channels of the text probe."""
RATE = 2e-3
DECAY = 0.01
WARMUP = 0.05
"""Learning rate and weight decay of AdamW; share of the steps in which the rate rises."""


class Standardise(nn.Module):
    """Channels to mean 0 and deviation 1, by fixed statistics: invertible, so that nothing is lost.

    Args:
        width: D.
    """

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer('mean', torch.zeros(width))
        self.register_buffer('scale', torch.ones(width))

    def fit(self, total: Tensor, squares: Tensor, count: int) -> None:
        """Take sum [D] and sum of squares [D] (float64) of `count` vectors."""
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        self.mean.copy_(mean)
        # a constant channel says nothing
        self.scale.copy_(torch.where(deviation > 1e-6 * mean.abs().clamp_min(1), 1 / deviation, 0))

    def forward(self, x: Tensor) -> Tensor:
        """x [B,N,D] -> [B,N,D]."""
        return (x.float() - self.mean) * self.scale


def choose_latent_size(grid: tuple[int, int], image_size: tuple[int, int]) -> tuple[int, int]:
    """Return the finest grid no finer than `grid` whose cells are a whole number of pixels of `image_size` (each (rows,
    columns))."""
    rows, columns = (max(n for n in range(1, cells + 1) if pixels % n == 0) for cells, pixels in zip(grid, image_size))
    return rows, columns


class Probes(nn.Module):
    """The probes of one layer.

    Args:
        width: D.
        grid: (rows, columns) of the layer's tokens.
        image_size: (H, W).
        text_width: E, or None for the pixel probe alone.
        seed: of the initial weights.
    """

    def __init__(self, width: int, grid: tuple[int, int], image_size: tuple[int, int], text_width: int | None = None,
                 seed: int = 0):
        super().__init__()
        self.standardise = Standardise(width)
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.decoder = DECODERS.build(dict(
                type='ViTDecoder', in_dim=width, layout=Grid(*grid), image_size=image_size, width=WIDTH, depth=1,
                heads=HEADS, mlp_ratio=2., refine_channels=REFINE, latent_size=choose_latent_size(grid, image_size)))
            self.pool = _Pool(width, text_width) if text_width else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """x [B,N,D] -> (reconstruction [B,3,H,W], not clamped; embedding [B,E] of length 1, or None)."""
        x = self.standardise(x)
        return self.decoder(x), None if self.pool is None else F.normalize(self.pool(x), dim=-1)

    def losses(self, x: Tensor, images: Tensor, texts: Tensor | None = None, pairs: Tensor | None = None) -> Tensor:
        """Return the scalar to minimise: the mean squared error in [-1, 1], and the contrastive term.

        Args:
            x: [B,N,D].
            images: [B,3,H,W].
            texts: embeddings [B,E] of length 1 of the images' texts, or None.
            pairs: [B,B] bool, where an image and a text belong together.
        """
        made, embedding = self(x)
        total = F.mse_loss(made, images)
        if embedding is not None and texts is not None:
            total = total + compute_contrastive_loss(embedding @ texts.T * self.pool.scale.exp().clamp(max=100), pairs)
        return total


class _Pool(nn.Module):
    """Linear map to a common width, attention pool with an MLP, linear map to E; and the scale of the logits."""

    def __init__(self, width: int, text_width: int):
        from timm.layers import AttentionPoolLatent
        super().__init__()
        self.fc_in = nn.Linear(width, POOL_WIDTH)
        self.attend = AttentionPoolLatent(POOL_WIDTH, num_heads=HEADS, mlp_ratio=2.)
        self.fc_out = nn.Linear(POOL_WIDTH, text_width)
        self.scale = nn.Parameter(torch.tensor(2.6593))  # ln(1 / 0.07), CLIP's

    def forward(self, x: Tensor) -> Tensor:
        return self.fc_out(self.attend(self.fc_in(x)))


def compute_contrastive_loss(logits: Tensor, pairs: Tensor) -> Tensor:
    """Cross entropy of the right answers, averaged over both directions (CLIP, figure 3); where several are right they
    share the target.

    Args:
        logits: [B,B], image against text.
        pairs: [B,B] bool; equal texts are right answers for each other's images.
    """
    target = pairs.float()
    ways = [-(t / t.sum(1, keepdim=True) * s.log_softmax(1)).sum(1).mean()
            for s, t in ((logits, target), (logits.T, target.T))]
    return sum(ways) / 2


def fit(probes: dict, batches: Iterator, features: Callable, iters: int,
        tick: Callable[[int], None] = lambda done: None) -> None:
    """Train the probes of all layers side by side, each on its own loss.

    Args:
        probes: dict layer -> Probes, on the device of the features.
        batches: iterator of what `features` takes; at least `iters`.
        features: function batch -> (dict layer -> [B,N,D] without gradient, images, texts or None, pairs or None).
        iters: optimizer steps.
        tick: called with the number of steps done.

    Raises:
        InputError: a probe has diverged.
    """
    parameters = [p for probe in probes.values() for p in probe.parameters()]
    optimizer = torch.optim.AdamW(parameters, RATE, betas=(0.9, 0.95), weight_decay=DECAY)
    warmup = max(1, round(WARMUP * iters))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / warmup)
                                                 * (1 - step / iters))
    for probe in probes.values():
        probe.train()
    for done in range(1, iters + 1):
        found, images, texts, pairs = features(next(batches))
        optimizer.zero_grad()
        for layer, probe in probes.items():  # one graph after the other: memory of a single probe
            value = probe.losses(found[layer], images, texts, pairs)
            if not bool(value.isfinite()):
                raise InputError(f'the probe of layer {layer} has diverged in step {done}; its features may hold huge '
                                 'values. Leave the layer out.')
            value.backward()
            torch.nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        tick(done)
    for probe in probes.values():
        probe.eval()


def standardise(probes: dict, batches: Iterator, features: Callable, count: int) -> None:
    """Fit the statistics of every layer's features on `count` batches; arguments as in `fit`."""
    sums = {layer: [0, 0, 0] for layer in probes}
    for _ in range(count):
        found = features(next(batches))[0]
        for layer, total in sums.items():
            x = found[layer].flatten(0, 1).double()
            total[0] = total[0] + x.sum(0)
            total[1] = total[1] + x.square().sum(0)
            total[2] = total[2] + len(x)
    for layer, probe in probes.items():
        probe.standardise.fit(*sums[layer])
