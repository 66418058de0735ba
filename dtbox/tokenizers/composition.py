"""Encoders, decoder and head of a tokenizer; decoder and head fit the encoders and vocabularies that they read.

Legend: D feature width.
"""
from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

import torch.nn as nn

from dtbox.encoders.base import Encoder
from dtbox.errors import InputError, at, closest
from dtbox.layers.sizes import read_pair
from dtbox.layout import Grid, TokenLayout
from dtbox.registry import DECODERS, ENCODERS, HEADS
from dtbox.tokenizers.vocabulary import Vocabulary


def build_encoders(configs: Mapping[str, dict], image_size: int | Sequence[int]) -> nn.ModuleDict:
    """Build the encoders of a tokenizer; `InputError` where there is none, or one takes images of another size."""
    if not configs:
        raise InputError('a tokenizer needs at least one encoder.', 'encoders')
    built = {name: ENCODERS.build(cfg, where=f'encoders.{name}', image_size=image_size)
             for name, cfg in configs.items()}
    size = read_pair(image_size, 'image_size')
    for name, encoder in built.items():
        if tuple(encoder.image_size) != size:
            raise InputError(f'this encoder takes images of {encoder.image_size} pixels, the tokenizer of {size}; all '
                             'encoders see the same images. Leave its image_size out, or make them agree.',
                             f'encoders.{name}.image_size')
    return nn.ModuleDict(built)


def build_decoder(cfg: dict, vocabularies: Mapping[str, Vocabulary],
                  image_size: tuple[int, int]) -> tuple[nn.Module, list[str]]:
    """Build the decoder of a tokenizer.

    Args:
        cfg: decoder config; `reads` names the vocabularies whose features it gets, all of them where it is left out.
        vocabularies: name -> Vocabulary.
        image_size: (height, width) in pixels.

    Returns:
        the decoder, and the names of the vocabularies that it reads.

    Raises:
        InputError: `reads` names something else, vocabularies of different layouts, a layout that the decoder does not
        take.
    """
    args = dict(cfg)
    reads = args.pop('reads', list(vocabularies))
    reads = [reads] if isinstance(reads, str) else list(reads)
    for name in reads:
        if name not in vocabularies:
            raise InputError(f'the decoder reads `{name}`, which is not a vocabulary.{closest(name, vocabularies)} '
                             f'There are: {", ".join(vocabularies) or "none"}.', 'decoder.reads')
    layouts = {name: vocabularies[name].feature_layout for name in reads}
    if len(set(layouts.values())) != 1:
        told = ', '.join(f'{name} a {layout}' for name, layout in layouts.items())
        raise InputError(f'the decoder needs vocabularies of one token layout; it reads {told or "no vocabulary"}.',
                         'decoder.reads')
    layout = layouts[reads[0]]
    check_accepts(args.get('type'), layout, reads)
    width = sum(vocabularies[name].out_dim for name in reads)
    return DECODERS.build(args, where='decoder', in_dim=width, layout=layout, image_size=image_size), reads


def check_accepts(kind: str | type | None, layout: TokenLayout, reads: list[str]) -> None:
    """Raise `InputError` unless a decoder takes features of this layout.

    Args:
        kind: registered name of the decoder, or its class.
        layout: of the features.
        reads: names of the vocabularies that give them.
    """
    if kind is None:  # the registry says what a config without a type lacks
        return
    with at('decoder'):
        decoder = DECODERS.get(kind) if isinstance(kind, str) else kind
    if 'layout' not in (known := inspect.signature(decoder).parameters) and 'grid' in known:
        raise InputError(f'{decoder.__name__} takes the argument `grid`, which is now `layout`: a layout of '
                         'dtbox.layout, such as Grid with `rows` and `columns`. Rename it in the constructor.',
                         'decoder')
    accepts = get_accepted(decoder)
    if isinstance(layout, accepts):
        return
    fit = sorted(name for name, other in DECODERS.module_dict.items() if isinstance(layout, get_accepted(other)))
    fitting = f'Choose a decoder that takes it ({", ".join(fit)})' if fit else (
        f'No registered decoder takes it: write one with `accepts = ({type(layout).__name__},)`')
    takes = ' or '.join(other.__name__ for other in accepts)
    raise InputError(f'the vocabularies {", ".join(reads)} give features on a {layout} ({type(layout).__name__}), but '
                     f'{decoder.__name__} takes {takes}. {fitting}, or let it read vocabularies that give {takes}.',
                     'decoder')


def get_accepted(decoder: type) -> tuple[type[TokenLayout], ...]:
    """Return the layouts that a decoder class takes; one that does not say so takes a Grid."""
    return getattr(decoder, 'accepts', (Grid,))


def build_head(cfg: dict, encoders: Mapping[str, Encoder], vocabularies: Mapping[str, Vocabulary]) -> nn.Module:
    """Build the head of a tokenizer.

    Args:
        cfg: head config; `encoder` names the trunk whose last block it reads, `reads` the vocabulary that it reads
            instead.
        encoders: name -> encoder.
        vocabularies: name -> Vocabulary.
    """
    encoder = cfg.get('encoder') or next(iter(encoders))
    if encoder not in encoders:
        raise InputError(f'the head reads encoder `{encoder}`.{closest(encoder, encoders)} There are: '
                         f'{", ".join(encoders)}.', 'head.encoder')
    reads = cfg.get('reads')
    if reads and reads not in vocabularies:
        raise InputError(f'the head reads `{reads}`, which is not a vocabulary.{closest(reads, vocabularies)}',
                         'head.reads')
    trunk = encoders[encoder]
    width = vocabularies[reads].out_dim if reads else trunk.width(trunk.depth)
    return HEADS.build(cfg, where='head', encoder=encoder, in_dim=width, pooled_dim=trunk.pooled_dim)
