"""What multi-scale residual quantizers share (VAR, arXiv 2404.02905, algorithms 1 and 2): scale by scale, coarse to
fine, what is left of a map is averaged over areas, quantized, enlarged and subtracted.

Features lie on a grid, codes on `Scales`: [B,N,C] in, codes [B,L,Q] with the L places of all scales. The quantizer of a
scale is a slot: VQ, DirectionVQ (VAR's znorm), BSQ, JointVQ, ... `multi_scale.py` and `scale_wise.py` say what trains.

Legend: B batch, N tokens of the grid, L places of all scales, C code width, Q codes per place, S scales, h and w rows
and columns of the grid.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dtbox.errors import InputError, at
from dtbox.layers.map_resizing import area_matrix, bicubic_matrix, resize_map
from dtbox.layout import Grid, Scales, TokenLayout, need_grid
from dtbox.quantizers.base import Quantizer, in_backward
from dtbox.quantizers.scale_convs import ScaleConvs, Sharing
from dtbox.quantizers.search import full_precision
from dtbox.registry import QUANTIZERS
from dtbox.structures import QuantizerOutput
from dtbox.values import Fraction

ScaleSizes = Sequence
"""Sizes of the scales: n for n x n, or (rows, columns)."""


class MultiScale(Quantizer):
    """Base class of multi-scale quantizers: the codes of all scales, and features from them.

    A subclass says by `rows` what is enlarged, and by `terms` and `finish` what trains.

    Args:
        scales: sizes of the scales in order, each n for n x n or (rows, columns); the last is the grid of the features.
        quantizer: config of the quantizer of every scale, one that `nests`.
        convs: convolutions after the enlarging: their number (VAR: 4 at ticks along the scales; 1: one for all), 'each'
            for one a scale, None for none. With fewer scales some of them may belong to none, and do not learn.
        strength: part of the convolution in the sum with what it reads (VAR's `quant_resi`).
        drop: probability with which a training forward leaves out one scale, any but the first (TokenFlow: 0.1).

    Attributes:
        scales: layout of the codes.
        grid: layout of the features.
    """

    def __init__(self, scales: ScaleSizes, quantizer: dict, convs: Sharing | None = None, strength: Fraction = 0.5,
                 drop: Fraction = 0.0) -> None:
        super().__init__()
        with at('scales'):
            self.scales = Scales(tuple(scales))
        self.grid: Grid = self.scales.grids[-1]
        self.needs_layout = self.grid
        self._check_scales(self.scales, self.grid)
        self.inner = QUANTIZERS.build(quantizer, where='quantizer')
        if not getattr(self.inner, 'nests', False):
            fit = sorted(name for name, kind in QUANTIZERS.module_dict.items() if getattr(kind, 'nests', False))
            raise InputError(f'{type(self.inner).__name__} cannot quantize one scale after another. Take one of '
                             f'{", ".join(fit)}.', 'quantizer')
        self.inner.collecting = False
        self.dim, self.codebook_sizes = self.inner.dim, list(self.inner.codebook_sizes)
        self.members = self.inner.members
        self.convs = ScaleConvs(self.dim, convs, strength, len(self.scales.grids)) if convs and strength else None
        self.drop = drop

    # ---- layouts ------------------------------------------------------------------------------------------------

    def set_layout(self, layout: TokenLayout) -> TokenLayout:
        """See Quantizer: a Grid, on which the scales end -> Scales."""
        self._check_scales(self.scales, need_grid(layout, type(self).__name__))
        return self.scales

    def _check_scales(self, scales: Scales, grid: Grid) -> None:
        """Raise `InputError` unless scales end at a grid, and none is larger."""
        last, most = scales.grids[-1], grid.map_shape
        if last != grid:
            raise InputError(f'the scales end at a {last}, and the features lie on a {grid}. Let the last scale be '
                             f'{most}.', 'scales')
        large = [size for size in scales.sizes if size[0] > most[0] or size[1] > most[1]]
        if large:
            raise InputError(f'the scale {large[0]} is larger than the last one, {most}. Scales go from coarse to '
                             'fine, and the last is the grid of the features.', 'scales')

    def read_scales(self, scales: ScaleSizes | None) -> Scales:
        """Return the layout of other scales for the same grid, or that of this quantizer for None."""
        if scales is None:
            return self.scales
        with at('scales'):
            layout = Scales(tuple(scales))
        self._check_scales(layout, self.grid)
        return layout

    def check(self, z: Tensor) -> None:
        """Raise `InputError` unless z is a finite [B,N,C] on the grid."""
        super().check(z)
        if z.shape[1] != self.grid.tokens:
            raise InputError(f'{type(self).__name__} got features of shape {list(z.shape)}; expected [B, '
                             f'{self.grid.tokens}, {self.dim}] for the {self.grid}.')

    def check_length(self, codes: Tensor, scales: Scales, whole: bool = True) -> int:
        """Return how many scales codes [B,n,Q] hold: all of them, or the first ones where not the `whole` is needed.

        Raises:
            InputError: codes of another length, or out of range.
        """
        self.check_codes(codes)
        stops = [part.stop for part in scales.slices]
        fitting = stops[-1:] if whole else stops
        if codes.ndim != 3 or codes.shape[1] not in fitting:
            raise InputError(f'codes have the shape {list(codes.shape)}; expected [B, L, {len(self.codebook_sizes)}] '
                             f'with L = {" or ".join(map(str, fitting))} for the {scales}.')
        return stops.index(codes.shape[1]) + 1

    # ---- maps ---------------------------------------------------------------------------------------------------

    def shrink(self, x: Tensor, grid: Grid) -> Tensor:
        """x [B,C,h,w] -> means over areas, the tokens [B,n,C] of a scale."""
        with full_precision():
            return grid.flatten(resize_map(x, grid.map_shape, area_matrix))

    def enlarge(self, rows: Tensor, scale: int, scales: Scales) -> Tensor:
        """Rows [B,n,C] of scale number `scale` -> map [B,C,h,w]: bicubic, then its convolution."""
        with full_precision():
            x = resize_map(scales.grids[scale].unflatten(rows), self.grid.map_shape, bicubic_matrix)
        return x if self.convs is None else self.convs(x, scale, len(scales.grids))

    # ---- codes --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, z: Tensor, scales: ScaleSizes | None = None) -> Tensor:
        """z [B,N,C] -> codes [B,L,Q], scale after scale; of other scales that end at the grid, where given."""
        self.check(z)
        layout, codes = self.read_scales(scales), []
        with torch.autocast(z.device.type, enabled=False):
            find, rest = self.inner.searcher(), self.grid.unflatten(z.float()).contiguous()
            for i, grid in enumerate(layout.grids):
                codes.append(find(self.shrink(rest, grid)))
                if i + 1 < len(layout.grids):
                    rest = rest - self.enlarge(self.inner.decode(codes[-1]).float(), i, layout)
        return torch.cat(codes, 1)

    def partial_sums(self, codes: Tensor, scales: ScaleSizes | None = None) -> Iterator[Tensor]:
        """Yield the map [B,C,h,w] after each scale that codes [B,n,Q] hold: all scales, or the first ones."""
        layout = self.read_scales(scales)
        total, count = None, self.check_length(codes, layout, whole=False)
        with torch.autocast(codes.device.type, enabled=False):
            for i, part in enumerate(layout.slices[:count]):
                x = self.enlarge(self.inner.decode(codes[:, part]).float(), i, layout)
                total = x if total is None else total + x
                yield total

    def decode(self, codes: Tensor, scales: ScaleSizes | None = None) -> Tensor:
        """codes [B,L,Q] of all scales -> features [B,N,C]."""
        self.check_length(codes, self.read_scales(scales))
        return self.decode_prefix(codes, scales)

    def decode_prefix(self, codes: Tensor, scales: ScaleSizes | None = None) -> Tensor:
        """codes [B,n,Q] of the first scales, whole ones -> features [B,N,C] as far as these scales make them."""
        *_, total = self.partial_sums(codes, scales)
        return self.grid.flatten(total)

    def decode_depths(self, codes: Tensor) -> Tensor:
        """codes [B,n,Q] -> rows [B,n,Q,C] of the codes themselves, not enlarged: one row a code, as Q is 1."""
        return self.inner.decode(codes)[:, :, None]

    def var_input(self, codes: Tensor, scales: ScaleSizes | None = None) -> Tensor:
        """Return what a model that predicts scale after scale reads (VAR, section 3.2): before each scale but the
        first, the features so far, averaged over the areas of that scale.

        Args:
            codes: [B,n,Q] of all scales (the last is not read) or of the first k.
            scales: other scales than the quantizer's.

        Returns:
            [B,m,C], the places of the second to the last scale, or to scale k + 1.
        """
        layout = self.read_scales(scales)
        count = self.check_length(codes, layout, whole=False)
        following = layout.grids[1:count + 1]
        if not following:
            raise InputError(f'the {layout} has one scale, before which nothing is read. Take more scales.', 'scales')
        kept = codes[:, :layout.slices[len(following) - 1].stop]
        return torch.cat([self.shrink(x, grid) for x, grid in zip(self.partial_sums(kept, scales), following)], 1)

    # ---- training -----------------------------------------------------------------------------------------------

    def rows(self, out: QuantizerOutput) -> Tensor:
        """Return what of a scale's output is enlarged and summed, [B,n,C]."""
        raise NotImplementedError

    def terms(self, out: QuantizerOutput, target: Tensor, total: Tensor) -> dict[str, Tensor]:
        """Return the loss terms of a scale: its output, the map z [B,C,h,w], and the sum of the scales so far."""
        raise NotImplementedError

    def finish(self, z: Tensor, total: Tensor) -> Tensor:
        """Return the features [B,N,C] with their gradients, of z and of the sum of all scales, both [B,N,C]."""
        raise NotImplementedError

    def _draw_dropped(self) -> int | None:
        """Return the number of the scale that this forward leaves out, or None."""
        count = len(self.scales.grids)
        if not self.training or not self.drop or count < 2 or torch.rand(()).item() >= self.drop:
            return None
        return int(torch.randint(1, count, ()))

    def forward(self, z: Tensor) -> QuantizerOutput:
        """z [B,N,C] -> QuantizerOutput, with the terms of the class, each a mean over the scales that are summed.

        A scale that `drop` leaves out has codes all the same; it adds nothing to the features and subtracts nothing.
        """
        self.check(z)
        dropped, count = self._draw_dropped(), len(self.scales.grids)
        sums: dict[str, Tensor] = {}
        with torch.autocast(z.device.type, enabled=False):
            values = z.float()
            target = rest = self.grid.unflatten(values).contiguous()
            total = torch.zeros_like(target)
            seen, codes = [], []
            for i, grid in enumerate(self.scales.grids):
                seen.append(self.shrink(rest, grid))
                out = self.inner(seen[-1])
                codes.append(out.codes)
                x = self.enlarge(self.rows(out), i, self.scales)
                # zeros, not left out: every rank's convolutions then have a gradient
                x = x * 0.0 if i == dropped else x
                rest, total = rest - x.detach(), total + x
                if i != dropped:
                    for name, value in self.terms(out, target, total).items():
                        sums[name] = sums.get(name, 0.0) + value
            features = self.finish(values, self.grid.flatten(total))
            joined = torch.cat(codes, 1)
            if self.training and not in_backward():
                self.inner.collect(torch.cat(seen, 1).detach(), joined)
        losses = {name: value / (count - (dropped is not None)) for name, value in sums.items()}
        return QuantizerOutput(features.to(z.dtype), joined, losses)

    def init_weights(self) -> None:
        """See Quantizer."""
        self.inner.init_weights()

    def commit(self) -> None:
        """Update the codebook."""
        self.inner.commit()

    def discard(self) -> None:
        """Forget what was collected."""
        self.inner.discard()
