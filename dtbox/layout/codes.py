"""Which codes an image has: streams of codes, and the number of each code among all of them.

A stream is what one quantizer gives: codes [B, N, Q] on a `TokenLayout` of N tokens. Flat ids number the codes of all
streams and depths without a gap, so that a language model needs one table: id = offset of stream and depth + code.

Legend: B batch, N tokens, Q codes per token (depths), L flat ids of an image.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dtbox.arguments import (
    allow_none,
    describe,
    iterate,
    read_arguments,
    read_codes,
    read_kind,
    read_name,
    read_names,
    read_options,
    read_whole,
)
from dtbox.errors import InputError, at, closest
from dtbox.layout.orders import CodeOrder, join_ids, split_ids
from dtbox.layout.stream_layout import StreamLayout

STREAMS = CodeOrder()
"""The order of flat ids where none is given: stream after stream, token by token, depth fastest."""


@dataclass(frozen=True)
class CodeLayout:
    """The streams of codes of a tokenizer, in order.

    Attributes:
        streams: one StreamLayout each, of different names.
    """
    streams: tuple[StreamLayout, ...]

    def __post_init__(self) -> None:
        with at('streams'):
            streams = tuple(map(read_kind(StreamLayout), iterate(self.streams, 'a list of StreamLayouts')))
        object.__setattr__(self, 'streams', streams)
        if len(set(self.names)) < len(self.streams):
            raise InputError(f'streams need different names; got {", ".join(self.names)}.', 'streams')

    @property
    def names(self) -> list[str]:
        """Names of the streams."""
        return [stream.name for stream in self.streams]

    @read_arguments(name=read_name)
    def stream(self, name: str) -> StreamLayout:
        """Return the stream of that name; `InputError` with the closest one where there is none."""
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise InputError(f'there is no stream `{name}`.{closest(name, self.names)} There are: '
                         f'{", ".join(self.names) or "none"}.')

    @property
    def offsets(self) -> dict[str, list[int]]:
        """Stream -> first flat id of each depth."""
        table, start = {}, 0
        for stream in self.streams:
            table[stream.name] = [start + sum(stream.sizes[:depth]) for depth in range(len(stream.sizes))]
            start += sum(stream.sizes)
        return table

    @property
    def flat_size(self) -> int:
        """Number of flat ids: the sum of all sizes over streams and depths."""
        return sum(sum(stream.sizes) for stream in self.streams)

    @read_arguments(names=allow_none(read_names))
    def count_ids(self, names: Iterable[str] | None = None) -> int:
        """Return the number L of flat ids of an image, for some streams or all."""
        return sum(stream.tokens * len(stream.sizes) for stream in self._pick(names))

    @read_arguments(codes=read_codes, order=read_kind(CodeOrder))
    def flat_ids(self, codes: Mapping[str, Tensor], order: CodeOrder = STREAMS) -> Tensor:
        """Codes -> ids [B, L] int64 in [0, flat_size).

        Args:
            codes: stream -> [B, N, Q], of all streams or some.
            order: how the codes follow one another.

        Raises:
            InputError: no codes, an unknown or continuous stream, codes of another shape or out of range.
        """
        if not codes:
            raise InputError('there are no codes; expected those of at least one stream.')
        sizes = {name: len(value) if value.ndim else 0 for name, value in codes.items()}
        if len(set(sizes.values())) > 1:
            raise InputError(f'the codes are of batches of different sizes: {sizes}. Hand in those of the same images.')
        ids = {}
        streams = self._pick(codes)
        offsets = self._count()
        for stream in streams:
            value = codes[stream.name]
            stream.check(value)
            ids[stream.name] = value + torch.tensor(offsets[stream.name], device=value.device)
        return join_ids(ids, {stream.name: stream.token_layout for stream in streams}, order)

    @read_arguments(ids=read_whole, names=allow_none(read_names), order=read_kind(CodeOrder))
    def from_flat_ids(self, ids: Tensor, names: Iterable[str] | None = None,
                      order: CodeOrder = STREAMS) -> dict[str, Tensor]:
        """Ids [B, L] as `flat_ids` gives them -> dict stream -> codes [B, N, Q].

        Args:
            ids: int64.
            names: streams that the ids hold; None for all.
            order: the one that the ids were made with.

        Raises:
            InputError: a length that does not fit, ids that are not this layout's, or not those of their place.
        """
        streams = self._pick(names)
        for stream in streams:
            stream.need_codes()
        length = sum(stream.tokens * len(stream.sizes) for stream in streams)
        if ids.ndim != 2 or ids.shape[1] != length:
            raise InputError(f'ids have the shape {list(ids.shape)}; expected [B, {length}] for '
                             f'{", ".join(stream.name for stream in streams)}.')
        offsets = self._count()
        layouts = {stream.name: stream.token_layout for stream in streams}
        codes = split_ids(ids, layouts, {stream.name: len(stream.sizes) for stream in streams}, order)
        for stream in streams:
            codes[stream.name] = codes[stream.name] - torch.tensor(offsets[stream.name], device=ids.device)
            try:
                stream.check(codes[stream.name])
            except InputError:
                raise self._explain(ids, streams, order) from None
        return codes

    def _count(self) -> dict[str, list[int]]:
        """Return `offsets`; `InputError` where there are more ids than int64 has."""
        if self.flat_size >= 2 ** 63:
            raise InputError(f'the codebooks have {self.flat_size:.3g} codes together, more than int64 can number. '
                             'Take streams with smaller codebooks, or cut codes into `groups` of bits.')
        return self.offsets

    def _explain(self, ids: Tensor, streams: list[StreamLayout], order: CodeOrder) -> InputError:
        """Return the error of ids [B, L] of which some are none, or stand at a place of others."""
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.flat_size:
            return InputError(f'ids reach from {low} to {high}, but this tokenizer has the ids 0 to '
                              f'{self.flat_size - 1}: some were never its tokens. Ids that a language model has of its '
                              'own (start, end, padding, words) are to be taken out, and an offset subtracted.', 'ids')
        layouts = {stream.name: stream.token_layout for stream in streams}
        kinds = {(stream.name, d): (first, size) for stream in streams
                 for d, (first, size) in enumerate(zip(self.offsets[stream.name], stream.sizes))}
        number = {kind: i for i, kind in enumerate(kinds)}
        expected = join_ids({stream.name: torch.tensor([[number[stream.name, d] for d in range(len(stream.sizes))]]
                                                       ).expand(1, stream.tokens, -1) for stream in streams},
                            layouts, order)[0]
        first, size = torch.tensor(list(kinds.values()))[expected].T
        wrong = ((ids.cpu() < first) | (ids.cpu() >= first + size)).nonzero()[0].tolist()
        name, depth = list(kinds)[expected[wrong[1]]]
        first, size = kinds[name, depth]
        return InputError(f'the id {int(ids[wrong[0], wrong[1]])} at place {wrong[1]} of sequence {wrong[0]} belongs '
                          f'elsewhere: the ids of its stream and depth ({name}, depth {depth}) there are {first} to '
                          f'{first + size - 1}. Sample from these alone at each place, in the order `order` that the '
                          'ids were made with.', 'ids')

    def _pick(self, names: Iterable[str] | None) -> list[StreamLayout]:
        """Streams of these names (None for all), in the order of the layout."""
        wanted = self.names if names is None else [self.stream(name).name for name in names]
        return [stream for stream in self.streams if stream.name in wanted]

    @read_arguments(names=read_names)
    def select(self, names: Iterable[str]) -> CodeLayout:
        """Return the layout of some streams alone. Its flat ids start at 0."""
        return CodeLayout(tuple(self._pick(names)))

    @read_arguments(depths=allow_none(read_options), groups=allow_none(read_options))
    def restrict(self, depths: Mapping[str, tuple[int, int]] | None = None,
                 groups: Mapping[str, tuple[int, ...]] | None = None) -> CodeLayout:
        """Return a layout whose streams hold a range of depths, or codes cut into groups of bits; its ids start at 0.

        Args:
            depths: stream -> (first, stop) depth of the quantizer.
            groups: stream -> bits of each group, highest bits first.
        """
        changes: dict[str, dict[str, Any]] = {}
        for key, values in (('depths', depths), ('groups', groups)):
            for name, value in (values or {}).items():
                with at(key):
                    changes.setdefault(self.stream(name).name, {})[key] = value
        return CodeLayout(tuple(replace(stream, **changes.get(stream.name, {})) for stream in self.streams))

    @read_arguments(codes=read_codes)
    def extract(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Quantizers' codes, by stream -> those of this layout; see `StreamLayout.extract`."""
        return {name: self.stream(name).extract(value) for name, value in codes.items()}

    @read_arguments(codes=read_codes)
    def restore(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Codes of this layout, by stream -> the quantizers' codes; see `StreamLayout.restore`."""
        return {name: self.stream(name).restore(value) for name, value in codes.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the layout as a plain dict, as JSON writes it into run folders and files of codes."""
        return dict(streams=[stream.to_dict() for stream in self.streams])

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> CodeLayout:
        """Return the layout that `to_dict` described; `InputError` for anything else."""
        listed = isinstance(values, Mapping) and isinstance(values.get('streams'), (list, tuple))
        if not listed or len(values) > 1:
            raise InputError(f'a layout of codes is {describe(values)}; expected a dict with the list `streams`.')
        streams = []
        for i, stream in enumerate(values['streams']):
            with at(f'streams.{i}'):
                streams.append(StreamLayout.from_dict(stream))
        return CodeLayout(tuple(streams))
