"""One stream of codes: where its tokens lie, and how many different codes each depth has.

Legend: B batch, N tokens, Q codes per token (depths), K codebook size.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from dtbox.arguments import describe, read_arguments, read_kind, read_name, read_whole
from dtbox.errors import InputError, at
from dtbox.layout.base import TokenLayout


def check_codes(codes: Tensor, sizes: Iterable[int]) -> None:
    """Raise `InputError` unless `codes` are [..., Q] integers, each in the range of its codebook size."""
    sizes = list(sizes)
    if not isinstance(codes, Tensor) or not torch.compiler.is_exporting():
        with at('codes'):
            codes = read_whole(codes)
    if codes.is_floating_point() or codes.ndim < 1 or codes.shape[-1] != len(sizes):
        raise InputError(f'codes are {codes.dtype} {list(codes.shape)}; expected int64 [B, N, {len(sizes)}].')
    if torch.compiler.is_exporting() or not codes.numel():
        return
    low, high = codes.flatten(0, -2).amin(0).tolist(), codes.flatten(0, -2).amax(0).tolist()
    for depth, size in enumerate(sizes):
        if low[depth] < 0 or high[depth] >= size:
            raise InputError(f'codes at depth {depth} reach from {low[depth]} to {high[depth]}; its codebook has codes '
                             f'0 to {size - 1}. They may come from another tokenizer.')


@dataclass(frozen=True)
class StreamLayout:
    """One stream of codes: those of a vocabulary, or of a quantizer that several vocabularies share.

    A stream may hold a part of what its quantizer gives: a range of depths, and each code cut into groups of bits.
    `extract` and `restore` go from the quantizer's codes to those of the stream and back.

    Attributes:
        name: of the stream.
        token_layout: where its N tokens lie.
        codebooks: size K of the quantizer's codebook at each depth; empty for a continuous stream, which has no codes.
        depths: (first, stop) depth of the quantizer that the stream holds; None holds all.
        groups: bits of each group that a code is cut into, highest bits first; None keeps codes whole.
    """
    name: str
    token_layout: TokenLayout
    codebooks: tuple[int, ...]
    depths: tuple[int, int] | None = None
    groups: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for field, read in (('name', read_name), ('token_layout', read_kind(TokenLayout))):
            with at(field):
                read(getattr(self, field))
        for field in ('codebooks', 'depths', 'groups'):
            value = getattr(self, field)
            if value is None:
                continue
            least = dict(codebooks=1, depths=0, groups=1)[field]
            if not isinstance(value, (list, tuple)) or not all(type(v) is int and v >= least for v in value):
                raise InputError(f'`{field}` of `{self.name}` is {describe(value)}; expected a list of whole numbers '
                                 f'from {least}.', field)
            object.__setattr__(self, field, tuple(value))
        if self.depths is not None:
            ends = (*self.depths, 0, 0)[:2]
            if len(self.depths) != 2 or not ends[0] < ends[1] <= len(self.codebooks):
                raise InputError(f'`depths` of `{self.name}` is {self.depths}; expected (first, stop), first below '
                                 f'stop, and stop at most {len(self.codebooks)}, the depths of the quantizer.',
                                 'depths')
        if self.groups is not None and any(size & (size - 1) or size.bit_length() != sum(self.groups) + 1
                                           for size in self._kept):
            sizes = ', '.join(f'{size:,}' for size in self._kept)
            raise InputError(f'the groups {self.groups} have {sum(self.groups)} bits, but the codebooks of '
                             f'`{self.name}` have {sizes} codes. Give groups whose bits add up to log2 of that.',
                             'groups')

    @property
    def _kept(self) -> tuple[int, ...]:
        return self.codebooks if self.depths is None else self.codebooks[slice(*self.depths)]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of different codes at each depth of the stream, Q of them."""
        return self._kept if self.groups is None else tuple(2 ** bits for _ in self._kept for bits in self.groups)

    @property
    def tokens(self) -> int:
        """Tokens N of an image."""
        return self.token_layout.tokens

    @property
    def has_codes(self) -> bool:
        """Whether the stream has codes; a continuous one has latents instead."""
        return bool(self.codebooks)

    @property
    def bits(self) -> float:
        """Bits of an image: N times the sum of log2 of the sizes; `InputError` for a continuous stream."""
        self.need_codes()
        return self.tokens * sum(map(math.log2, self.sizes))

    def need_codes(self) -> None:
        """Raise `InputError` where the stream is continuous."""
        if not self.has_codes:
            raise InputError(f'the stream `{self.name}` is continuous: it has no codes, and so no flat ids and no '
                             'number of bits. Use its features, or give the vocabulary a quantizer with a codebook.')

    def check(self, codes: Tensor) -> None:
        """Raise `InputError` unless `codes` are [B, N, Q] of this stream, each in its range."""
        self.need_codes()
        with at('codes'):
            codes = codes if torch.compiler.is_exporting() else read_whole(codes)
        if codes.ndim != 3 or codes.shape[1] != self.tokens:
            want = f'[B, {self.tokens}, {len(self.sizes)}]'
            raise InputError(f'codes have the shape {list(codes.shape)}; expected {want} for the {self.token_layout}.')
        check_codes(codes, self.sizes)

    @read_arguments(codes=read_whole)
    def extract(self, codes: Tensor) -> Tensor:
        """Quantizer's codes [B, N, all depths] -> those of the stream [B, N, Q]."""
        replace(self, depths=None, groups=None).check(codes)
        codes = codes if self.depths is None else codes[..., slice(*self.depths)]
        if self.groups is None:
            return codes
        below = [sum(self.groups[i + 1:]) for i in range(len(self.groups))]
        parts = [(codes >> shift) & (2 ** bits - 1) for bits, shift in zip(self.groups, below)]
        return torch.stack(parts, -1).flatten(2)

    @read_arguments(codes=read_whole)
    def restore(self, codes: Tensor) -> Tensor:
        """Codes of the stream [B, N, Q] -> the quantizer's codes [B, N, depths that the stream holds]."""
        self.check(codes)
        if self.groups is None:
            return codes
        below = torch.tensor([sum(self.groups[i + 1:]) for i in range(len(self.groups))], device=codes.device)
        return (codes.unflatten(2, (-1, len(self.groups))) << below).sum(-1)

    def to_dict(self) -> dict[str, Any]:
        """Return the stream as a plain dict, as JSON writes it."""
        lists = {k: list(v) for k in ('codebooks', 'depths', 'groups') if (v := getattr(self, k)) is not None}
        return dict(name=self.name, token_layout=self.token_layout.to_dict(), **lists)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> StreamLayout:
        """Return the stream that `to_dict` described; `InputError` for missing or unknown keys and wrong values."""
        known = [field.name for field in fields(StreamLayout)]
        if not isinstance(values, Mapping) or not set(known[:3]) <= set(values) <= set(known):
            raise InputError(f'a stream of codes is {describe(values)}; expected a dict with the keys '
                             f'{", ".join(known[:3])}, and perhaps {", ".join(known[3:])}.')
        return StreamLayout(**{**values, 'token_layout': TokenLayout.from_dict(values['token_layout'])})
