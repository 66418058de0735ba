"""The quantizer under test, its data, and one way to train it.

Legend: B batch, N tokens, C code width, Q codes per token.
"""
from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor

from dtbox.quantizers.base import Quantizer
from dtbox.registry import QUANTIZERS
from dtbox.structures import QuantizerOutput
from dtbox.testing.rank_group import Ranks
from dtbox.testing.subject import DoesNotApply, Subject, make_generator


class QuantizerSubject(Subject):
    """A quantizer under test.

    Attributes:
        dim: code width C.
        input_dim: width of the features that come in.
        sizes: sizes of the Q codebooks; none of a continuous quantizer.
        depth: Q.
        layout: of the features, where the quantizer codes the tokens of an image together and needs it; else None.
        updates_in_forward: see `Quantizer`.
    """
    registry, base = QUANTIZERS, Quantizer

    def __init__(self, cfg: dict, plugins: str | Sequence[str] = (), ranks: Ranks | None = None):
        super().__init__(cfg, plugins, ranks)
        example = self.build()
        self.dim, self.sizes = example.dim, example.codebook_sizes
        self.input_dim = getattr(example, 'input_dim', example.dim)
        self.depth = len(example.codebook_sizes)
        self.layout = example.needs_layout
        self.code_layout = example.set_layout(self.layout) if self.layout else None
        self.updates_in_forward = example.updates_in_forward

    def trained(self, steps: int = 3) -> Quantizer:
        """Return an instance that has trained for a few steps."""
        quantizer = self.build()
        for seed in range(steps):
            train_step(quantizer, self.z(seed=seed), seed)
        return quantizer

    def z(self, b: int = 4, n: int = 9, seed: int = 0, scale: float = 1.0) -> Tensor:
        """Return features [B,N,input_dim]; N is that of the layout where the quantizer needs one."""
        n = self.layout.tokens if self.layout else n
        return torch.randn(b, n, self.input_dim, generator=make_generator(seed)) * scale

    @property
    def continuous(self) -> bool:
        """Whether the quantizer has no codes; its `encode` gives latents [B,N,C]."""
        return not self.sizes

    def has_codes(self, why: str) -> None:
        """Leave the check where the quantizer has no codes."""
        if self.continuous:
            raise DoesNotApply(f'the quantizer is continuous: {why}.')

    def count_codes(self, n: int) -> int:
        """Return how many tokens have codes where n have features."""
        return self.code_layout.tokens if self.code_layout else n

    def shapes(self, *shapes: tuple[int, int]) -> list[tuple[int, int]]:
        """Return those (B, N) that the quantizer takes: all, or with the N of its layout, each once."""
        return list(dict.fromkeys((b, self.layout.tokens) for b, _ in shapes)) if self.layout else list(shapes)

    def collects_only(self) -> None:
        """Leave the check where the quantizer is the named exception that rewrites its state inside a training forward.
        """
        if self.updates_in_forward:
            raise DoesNotApply('the quantizer updates its state inside the forward (`updates_in_forward`).')


def compute_objective(out: QuantizerOutput, z: Tensor) -> Tensor:
    """Return the scalar that the checks train with: the quantizer's own terms and the reconstruction of its input."""
    return (out.features - z[..., :out.features.shape[-1]]).pow(2).mean() + sum(out.losses.values())


def train_step(quantizer: Quantizer, z: Tensor, seed: int, lr: float = 0.05) -> QuantizerOutput:
    """Make one training step, commit included; returns the QuantizerOutput."""
    torch.manual_seed(seed)
    quantizer.zero_grad(set_to_none=True)
    out = quantizer(z)
    loss = compute_objective(out, z)
    if loss.requires_grad:
        loss.backward()
        with torch.no_grad():
            for p in quantizer.parameters():
                if p.grad is not None:
                    p.sub_(p.grad, alpha=lr)
    quantizer.commit()
    return out
