"""Residual quantization (RQ-VAE, arXiv 2203.01941): each depth quantizes what the depths before left over.

By default the table stays as it is during a forward and is updated once a step from every depth's own residual.
`official=True` reproduces the published DualToken quantizers instead; see `rq_official.py`.

Legend: B batch, N tokens, C code width, Q depth, K codebook size.
"""
from __future__ import annotations

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.errors import InputError
from dtbox.quantizers import rq_official
from dtbox.quantizers.base import Quantizer, check_sizes, in_backward, mean_square
from dtbox.quantizers.codebooks import Codebook, EMACodebook
from dtbox.registry import CODEBOOKS, ESTIMATORS, QUANTIZERS
from dtbox.structures import QuantizerOutput
from dtbox.values import Depth


@QUANTIZERS.register_module()
class RQ(Quantizer):
    """Residual quantizer (RQ-VAE, arXiv 2203.01941): each depth quantizes what the depths before left over.

    Args:
        size: codebook size K.
        dim: code width C.
        depth: codes per token Q.
        shared: one table for all depths, or one each.
        codebook: config of the table and how it learns; size and dim are filled in.
        estimator: config of the gradient estimator.
        official: update as the published code does (DualToken, arXiv 2503.14324), inside the forward.
        variant: with `official`, 'rq' (table rewritten after every depth) or 'rq_ema' (once a forward, from the final
            residuals).
    """
    example = dict(size=32, dim=4, depth=3)

    def __init__(self, size: int, dim: int, depth: Depth, shared: bool = True,
                 codebook: dict = dict(type='EMACodebook'), estimator: dict = dict(type='StraightThrough'),
                 official: bool = False, variant: str | None = None) -> None:
        super().__init__()
        check_sizes(depth=depth)
        if official and (variant not in rq_official.VARIANTS or not shared):
            raise InputError('`official=True` needs a shared codebook and `variant` one of '
                             f'{", ".join(rq_official.VARIANTS)}; got '
                             f'shared={shared}, variant={variant!r}.')
        if variant and not official:
            raise InputError(f'`variant={variant!r}` has a meaning with `official=True` only. Set that, or leave the '
                             'variant out.')
        self.codebooks = nn.ModuleList(CODEBOOKS.build(codebook, where='codebook', size=size, dim=dim, seed=d, delay=d)
                                       for d in range(1 if shared else depth))
        if any(book.cosine for book in self.codebooks):
            raise InputError('`cosine` compares directions, but a residual has a length that matters. Leave it off, or '
                             'take VQ.', 'codebook')
        if official and type(self.codebooks[0]) is not EMACodebook:
            raise InputError(f'`official=True` rewrites an EMACodebook; got {type(self.codebooks[0]).__name__}.',
                             'codebook')
        self.updates_in_forward = official
        self.estimator = ESTIMATORS.build(estimator, where='estimator')
        self.dim = dim
        self.depth = depth
        self.shared = shared
        self.variant = variant if official else None
        self.codebook_sizes = [size] * depth

    def book(self, depth: int) -> Codebook:
        """Return the codebook of a depth (0-based)."""
        return self.codebooks[0 if self.shared else depth]

    def forward(self, z: Tensor) -> QuantizerOutput:
        """z [B,N,C] -> QuantizerOutput with `commitment` = mean over depths of mean (z - sg(a_d))^2, a_d the partial
        sums; and the tables'."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            values = z.float()
            update = self.training and not in_backward()
            codes_q, partial_q, residual_q = self._walk(values.detach(), per_depth=update and self.variant == 'rq')
            if update and self.variant == 'rq_ema':
                rq_official.update_after_forward(self.book(0), residual_q[-1], codes_q)
            elif update and self.variant is None:
                self._collect(residual_q, codes_q)
            losses = dict(commitment=sum(mean_square(values - a) for a in partial_q) / self.depth,
                          **self._table_losses(values, codes_q))
            features = self.estimator(values, partial_q[-1])
        return QuantizerOutput(features.to(z.dtype), torch.stack(codes_q, -1), losses)

    def _table_losses(self, values: Tensor, codes_q: list[Tensor]) -> dict[str, Tensor]:
        """Terms that train the tables by gradient: the codebooks' own, averaged over the partial sums of the depths."""
        if not any(p.requires_grad for p in self.codebooks.parameters()):
            return {}
        total, terms = 0, {}
        for depth, codes in enumerate(codes_q):
            total = total + self.book(depth).lookup(codes)
            for name, value in self.book(depth).losses(values, total).items():
                terms[name] = terms.get(name, 0) + value / self.depth
        return terms

    @torch.no_grad()
    def _walk(self, z: Tensor, per_depth: bool = False) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Quantize depth by depth: lists over depth of codes [B,N], partial sums [B,N,C]; residuals, Q + 1 of them."""
        residual, total = z, torch.zeros_like(z)
        codes_q = []
        partial_q = []
        residual_q = [z]
        search = self.book(0).searcher()
        for depth in range(self.depth):
            book = self.book(depth)
            if depth and (per_depth or not self.shared):  # another table than that of the depth before
                search = book.searcher()
            codes = search(residual.flatten(0, 1)).view(residual.shape[:2])
            row = book.lookup(codes)
            if per_depth:
                rq_official.update_after_depth(book, residual, codes)
            residual, total = residual - row, total + row
            codes_q.append(codes)
            partial_q.append(total)
            residual_q.append(residual)
        return codes_q, partial_q, residual_q

    def _collect(self, residual_q: list[Tensor], codes_q: list[Tensor]) -> None:
        if self.shared:
            self.book(0).collect(torch.stack(residual_q[:-1]), torch.stack(codes_q))
        else:
            for depth in range(self.depth):
                self.book(depth).collect(residual_q[depth][None], codes_q[depth][None])

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,Q]."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            return torch.stack(self._walk(z.float())[0], -1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,Q] -> features [B,N,C], the sum of the rows."""
        self.check_codes(codes)
        total = self.book(0).lookup(codes[..., 0])
        for depth in range(1, self.depth):
            total = total + self.book(depth).lookup(codes[..., depth])
        return total

    def decode_depths(self, codes: Tensor) -> Tensor:
        """codes [B,N,Q] -> rows of each depth [B,N,Q,C], not summed."""
        self.check_codes(codes)
        return torch.stack([self.book(d).lookup(codes[..., d]) for d in range(self.depth)], -2)

    def init_weights(self) -> None:
        """See Quantizer."""
        for book in self.codebooks:
            book.init_weights()

    def commit(self) -> None:
        """Update the codebooks."""
        for book in self.codebooks:
            book.commit()

    def discard(self) -> None:
        """Forget what was collected."""
        for book in self.codebooks:
            book.discard()
