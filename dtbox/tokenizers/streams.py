"""Streams of codes: what one quantizer gives, for the one vocabulary that it belongs to or for all that share it.

A vocabulary names a quantizer of the tokenizer (`quantizer='joint'`, in `quantizers=dict(joint=dict(type='JointVQ', ...))`) to share it
with others. Their features are quantized together, and what comes out is one index with one name: that of the quantizer.

Legend: B batch, N tokens, C code width, Q codes per token, K codebook size.
"""
import math

import torch

from dtbox.errors import InputError, closest
from dtbox.tokenizers.vocabulary import Share, build_quantizer, quantized


class Stream:
    """The codes of one quantizer.

    Args:
        name: of the vocabulary, or of the quantizer that several share.
        vocabularies: dict name -> Vocabulary, those that it serves, in the order of their channels.
    """

    def __init__(self, name, vocabularies):
        self.name, self.vocabularies = name, vocabularies

    @property
    def first(self):
        """The first of its vocabularies; all of them have the same codes."""
        return next(iter(self.vocabularies.values()))

    @property
    def quantizer(self):
        """The quantizer."""
        return self.first.quantizer

    @property
    def tokens(self):
        """Tokens N of an image."""
        return math.prod(self.first.grid)

    @property
    def sizes(self):
        """Codebook sizes, a list of Q."""
        return list(self.quantizer.codebook_sizes)

    @property
    def bits(self):
        """Bits of an image: N times the sum of log2 K."""
        return self.tokens * sum(map(math.log2, self.sizes))

    def check(self, codes):
        """Raise `InputError` unless `codes` are [B,N,Q] of this grid, each in the range of its codebook."""
        self.first.check_shape(codes)
        self.quantizer.check_codes(codes)

    def _joined(self, tapped):
        """dict vocabulary -> tapped layers -> features of all of them side by side [B,N,C]."""
        parts = [vocabulary.combine(tapped[name]) for name, vocabulary in self.vocabularies.items()]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def forward(self, tapped):
        """dict vocabulary -> tapped layers (list of [B,N,D]) -> dict vocabulary -> VocabularyOutput; the quantizer runs once."""
        if len(self.vocabularies) == 1:
            return {name: vocabulary(tapped[name]) for name, vocabulary in self.vocabularies.items()}
        out = quantized(self.quantizer, self._joined(tapped))
        return {name: vocabulary.finish(out) for name, vocabulary in self.vocabularies.items()}

    def encode(self, tapped):
        """dict vocabulary -> tapped layers -> codes [B,N,Q] int64, without gradient."""
        return self.quantizer.encode(self._joined(tapped))


def build_shared(quantizers, vocabularies):
    """Build the quantizers that vocabularies share.

    Args:
        quantizers: dict name -> quantizer config.
        vocabularies: dict name -> vocabulary config.

    Returns:
        dict quantizer -> built quantizer, dict vocabulary -> Share, for the vocabularies whose `quantizer` is a name.

    Raises:
        InputError: a name that is no quantizer of the tokenizer or that a vocabulary has too; a quantizer that cannot be shared, or whose
            members are not the vocabularies that name it.
    """
    asked = {}
    for name, cfg in vocabularies.items():
        if isinstance(cfg.get('quantizer'), str):
            if cfg['quantizer'] not in quantizers:
                raise InputError(f'`{cfg["quantizer"]}` is no quantizer of the tokenizer.{closest(cfg["quantizer"], quantizers)} `quantizers` has: '
                                 f'{", ".join(quantizers) or "none"}. Add it there, or give the vocabulary one of its own: dict(type=...).',
                                 f'vocabularies.{name}.quantizer')
            asked.setdefault(cfg['quantizer'], []).append(name)
    built, shares = {}, {}
    for name, cfg in quantizers.items():
        where = f'quantizers.{name}'
        if name in vocabularies:
            raise InputError(f'a vocabulary is called `{name}`, too, and the codes go by both names. Rename one.', where)
        built[name] = build_quantizer(cfg, where)
        members = getattr(built[name], 'members', None)
        if members is None:
            raise InputError(f'{type(built[name]).__name__} has no `members`; it quantizes the features of one vocabulary alone. '
                             'Take one that can be shared, such as JointVQ.', where)
        if set(members) != set(asked.get(name, ())):
            raise InputError(f'its members are {", ".join(members)}, but the vocabularies with quantizer=\'{name}\' are '
                             f'{", ".join(asked.get(name, ())) or "none"}. Make them agree.', f'{where}.members')
        start = 0
        for member, width in members.items():
            shares[member] = Share(built[name], slice(start, start + width))
            start += width
    return built, shares


def streams_of(vocabularies, shared):
    """Return dict name -> Stream: one for each vocabulary with a quantizer of its own, one for each shared quantizer, in the vocabularies' order.

    Args:
        vocabularies: dict name -> Vocabulary.
        shared: dict quantizer -> the quantizer that several vocabularies share.

    Raises:
        InputError: vocabularies of different token grids share a quantizer.
    """
    names = {id(quantizer): name for name, quantizer in shared.items()}
    groups = {}
    for name, vocabulary in vocabularies.items():
        groups.setdefault(names.get(id(vocabulary.quantizer), name), []).append(name)
    found = {}
    for name, members in groups.items():
        members = list(shared[name].members) if name in shared else members
        found[name] = Stream(name, {member: vocabularies[member] for member in members})
        grids = {member: vocabularies[member].grid for member in members}
        if len(set(grids.values())) > 1:
            raise InputError(f'the vocabularies that share `{name}` have the token grids {grids}; one index needs one grid. Tap layers of one grid.',
                             f'quantizers.{name}')
    return found
