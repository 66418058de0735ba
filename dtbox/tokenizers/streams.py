"""Streams of codes: what one quantizer gives, for its own vocabulary or for all vocabularies that share it.

Vocabularies share a quantizer of the tokenizer by its name: `quantizer='joint'` in each, and
`quantizers=dict(joint=dict(type='JointVQ', ...))`. Their features are quantized together; the result is one index,
named as the quantizer.

Legend: B batch, N tokens, C code width, Q codes per token, K codebook size.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.errors import InputError, closest
from dtbox.layout import CodeLayout, StreamLayout
from dtbox.structures import VocabularyOutput
from dtbox.tokenizers.quantization import SharedQuantizer, build_quantizer, find_codes, quantize
from dtbox.tokenizers.vocabulary import Vocabulary


class Stream:
    """The codes of one quantizer.

    Args:
        name: of the vocabulary, or of the quantizer that several share.
        vocabularies: name -> Vocabulary, those that it serves, in the order of their channels.
    """

    def __init__(self, name: str, vocabularies: dict[str, Vocabulary]) -> None:
        self.name, self.vocabularies = name, vocabularies

    @property
    def first(self) -> Vocabulary:
        """The first of its vocabularies; all of them have the same codes."""
        return next(iter(self.vocabularies.values()))

    @property
    def quantizer(self) -> nn.Module:
        """The quantizer."""
        return self.first.quantizer

    @property
    def layout(self) -> StreamLayout:
        """Where its tokens lie, and the sizes of its codebooks; a continuous stream has none."""
        return StreamLayout(self.name, self.first.layout, tuple(int(size) for size in self.quantizer.codebook_sizes))

    @property
    def tokens(self) -> int:
        """Tokens N of an image."""
        return self.layout.tokens

    @property
    def sizes(self) -> list[int]:
        """Codebook sizes, a list of Q."""
        return list(self.layout.sizes)

    @property
    def bits(self) -> float:
        """Bits of an image: N times the sum of log2 K."""
        return self.layout.bits

    def check(self, codes: Tensor) -> None:
        """Raise `InputError` unless `codes` are [B,N,Q] of this layout, each in the range of its codebook."""
        self.layout.check(codes)

    def _join(self, tapped: Mapping[str, Sequence[Tensor]]) -> Tensor:
        """Vocabulary -> tapped layers -> features of all of them side by side [B,N,C]."""
        parts = [vocabulary.combine(tapped[name]) for name, vocabulary in self.vocabularies.items()]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def forward(self, tapped: Mapping[str, Sequence[Tensor]]) -> dict[str, VocabularyOutput]:
        """Vocabulary -> tapped layers ([B,N,D] each) -> VocabularyOutput of each; the quantizer runs once."""
        if len(self.vocabularies) == 1:
            return {name: vocabulary(tapped[name]) for name, vocabulary in self.vocabularies.items()}
        out = quantize(self.quantizer, self._join(tapped))
        return {name: vocabulary.finish(out) for name, vocabulary in self.vocabularies.items()}

    def encode(self, tapped: Mapping[str, Sequence[Tensor]]) -> Tensor:
        """Vocabulary -> tapped layers -> codes [B,N,Q] int64 (continuous: latents [B,N,C]), without gradient."""
        return find_codes(self.quantizer, self._join(tapped))


class Streams(dict):
    """The streams of a tokenizer, name -> Stream, in the order of its vocabularies."""

    @property
    def layout(self) -> CodeLayout:
        """Where the tokens of each stream lie, sizes of codebooks, flat ids."""
        return CodeLayout(tuple(stream.layout for stream in self.values()))

    def find(self, vocabulary: str) -> Stream:
        """Return the stream that holds the codes of a vocabulary."""
        return self.get(vocabulary) or next(s for s in self.values() if vocabulary in s.vocabularies)

    def resolve(self, names: str | Iterable[str] | None = None) -> list[str]:
        """Return the names of the streams that hold these vocabularies, each once.

        Args:
            names: vocabularies or streams, or one of them; None for all streams.

        Raises:
            InputError: an unknown name.
        """
        known = [name for stream in self.values() for name in stream.vocabularies]
        names = list(self) if names is None else [names] if isinstance(names, str) else list(names)
        for name in names:
            if name not in self and name not in known:
                raise InputError(f'there is no vocabulary `{name}`.{closest(name, known)} This tokenizer has: '
                                 f'{", ".join(known) or "none"}.')
        return list(dict.fromkeys(self.find(name).name for name in names))

    def check_names(self, codes: Iterable[str]) -> None:
        """Raise `InputError` unless codes go by the names of streams."""
        for name in codes:
            stream, = self.resolve([name])
            if stream != name:
                raise InputError(f'codes of `{name}` came; it shares a quantizer, and its codes go by that name: '
                                 f'`{stream}`.')

    def check_values(self, codes: Mapping[str, Tensor]) -> None:
        """Raise `InputError` where codes (whole numbers) come for a continuous stream, whose latents are floats."""
        for name, value in codes.items():
            if not value.is_floating_point():
                self[name].layout.need_codes()

    def need_codes(self, names: Iterable[str]) -> None:
        """Raise `InputError` where one of these streams is continuous."""
        for name in names:
            self[name].layout.need_codes()

    def postpone(self) -> None:
        """From now on, passes continue where features are not finite; `raise_postponed` raises the error later."""
        for stream in self.values():
            stream.quantizer.postponed = []

    def raise_postponed(self) -> None:
        """Raise the first `NotFinite` that was postponed, and forget them all."""
        errors = [e for stream in self.values() for e in getattr(stream.quantizer, 'postponed', None) or ()]
        if errors:
            self.postpone()
            raise errors[0]

    @contextlib.contextmanager
    def collecting(self, wanted: bool) -> Iterator[None]:
        """Within the block, training forwards collect for the codebooks, or (`wanted` False) leave no trace in them."""
        learning = [s.quantizer for s in self.values() if s.quantizer.training and not wanted]
        for quantizer in learning:
            quantizer.train(False)
        try:
            yield
        finally:
            for quantizer in learning:
                quantizer.train(True)


def build_shared(quantizers: Mapping[str, dict],
                 vocabularies: Mapping[str, dict]) -> tuple[dict[str, nn.Module], dict[str, SharedQuantizer]]:
    """Build the quantizers that vocabularies share.

    Args:
        quantizers: name -> quantizer config.
        vocabularies: name -> vocabulary config.

    Returns:
        quantizer -> built quantizer, and vocabulary -> SharedQuantizer for those whose `quantizer` is a name.

    Raises:
        InputError: a name that is not a quantizer of the tokenizer, or that a vocabulary also has; a quantizer that
            cannot be shared, or whose members are not the vocabularies that name it.
    """
    asked: dict[str, list[str]] = {}
    for name, cfg in vocabularies.items():
        wanted = cfg.get('quantizer')
        if isinstance(wanted, str):
            if wanted not in quantizers:
                raise InputError(f'`{wanted}` is not a quantizer of the tokenizer.{closest(wanted, quantizers)} '
                                 f'`quantizers` has: {", ".join(quantizers) or "none"}. Add it there, or give the '
                                 'vocabulary its own: dict(type=...).', f'vocabularies.{name}.quantizer')
            asked.setdefault(wanted, []).append(name)
    built, shared = {}, {}
    for name, cfg in quantizers.items():
        where = f'quantizers.{name}'
        if name in vocabularies:
            raise InputError(f'a vocabulary is also called `{name}`, and the codes go by both names. Rename one.',
                             where)
        built[name] = build_quantizer(cfg, where)
        members = getattr(built[name], 'members', None)
        if members is None:
            raise InputError(f'{type(built[name]).__name__} has no `members`; it quantizes the features of one '
                             'vocabulary alone. Take one that can be shared, such as JointVQ.', where)
        if set(members) != set(asked.get(name, ())):
            raise InputError(f'its members are {", ".join(members)}, but the vocabularies with quantizer=\'{name}\' '
                             f'are {", ".join(asked.get(name, ())) or "none"}. Make them agree.', f'{where}.members')
        start = 0
        for member, width in members.items():
            shared[member] = SharedQuantizer(built[name], slice(start, start + width))
            start += width
    return built, shared


def build_streams(vocabularies: Mapping[str, Vocabulary], shared: Mapping[str, nn.Module]) -> Streams:
    """Return the streams: one for each vocabulary with its own quantizer, one for each shared quantizer, in order.

    Args:
        vocabularies: name -> Vocabulary.
        shared: name -> the quantizer that several vocabularies share.

    Raises:
        InputError: vocabularies of different token layouts share a quantizer.
    """
    names = {id(quantizer): name for name, quantizer in shared.items()}
    groups: dict[str, list[str]] = {}
    for name, vocabulary in vocabularies.items():
        groups.setdefault(names.get(id(vocabulary.quantizer), name), []).append(name)
    streams = Streams()
    for name, members in groups.items():
        members = list(shared[name].members) if name in shared else members
        streams[name] = Stream(name, {member: vocabularies[member] for member in members})
        layouts = {member: vocabularies[member].feature_layout for member in members}
        if len(set(layouts.values())) > 1:
            told = ', '.join(f'{member} a {layout}' for member, layout in layouts.items())
            raise InputError(f'the vocabularies that share `{name}` have different token layouts: {told}. One index '
                             'needs one layout. Tap layers of one layout.', f'quantizers.{name}')
    return streams
