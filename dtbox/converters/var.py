"""VAR's published multi-scale tokenizer (arXiv 2404.02905) to a run folder.

The file is a flat state dict. Its names are taming-transformers', with one convolution for query, key and value of an
attention; they become three. The counters of used codes (`ema_vocab_hit_SV`) are dropped. The weights do not tell the
scales and the strength of the residual convolutions: those of the release are taken, ten scales and 0.5.
"""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dtbox.converters.cnn_sizes import build_half_config, find_half_sizes, split_attention
from dtbox.converters.run_folder import Converted, check_values
from dtbox.errors import InputError
from dtbox.quantizers.scale_convs import EACH
from dtbox.weights.entries import name_entry
from dtbox.weights.renaming import Renaming
from dtbox.weights.state_dicts import load_state

SCALES = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]
"""Of the release, for 256 pixels."""
STRENGTH = 0.5
"""`quant_resi` of the release: the part of the residual convolutions."""
TABLE, COUNTERS = 'quantize.embedding.weight', 'quantize.ema_vocab_hit_SV'
CONVS = 'quantize.quant_resi.'


def convert(src: str, weights: str | None = None, scales: Sequence[int] | None = None) -> Converted:
    """Read VAR's published multi-scale tokenizer.

    Args:
        src: its .pth file.
        weights: which of several sets of weights in the file to take.
        scales: sizes of the scales; None takes the ten of the release. The size of the images follows from the last.

    Raises:
        InputError: a file that is missing, damaged or of another layout.
    """
    state = read_source(src, weights)
    check_values(state, src)
    return Converted(build_tokenizer_config(state, scales, src), map_state(state, src), src)


def read_source(path: str, weights: str | None = None) -> dict[str, torch.Tensor]:
    """Read a published file; returns its state dict with query, key and value apart.

    Args:
        path: of the file.
        weights: which of several sets of weights in it to take.

    Raises:
        InputError: no such file or entry, or another network.
    """
    state = load_state(name_entry(path, weights))
    if TABLE not in state or 'encoder.conv_in.weight' not in state or COUNTERS not in state:
        raise InputError(f'{path} is not VAR\'s multi-scale tokenizer: expected {TABLE}, {COUNTERS} and '
                         f'encoder.conv_in.weight; its first keys: {", ".join(list(state)[:4]) or "none"}.')
    return split_attention(state)


def find_convs(state: Mapping[str, torch.Tensor]) -> tuple[int | str | None, list[str]]:
    """Return `convs` of MultiScaleRQ, and the published names of the convolutions in order."""
    if f'{CONVS}qresi.weight' in state:
        return 1, [f'{CONVS}qresi']
    for prefix, each in ((f'{CONVS}qresi_ls.', False), (CONVS, True)):
        pattern = re.compile(rf'{re.escape(prefix)}(\d+)\.')
        count = 1 + max((int(m[1]) for name in state if (m := pattern.match(name))), default=-1)
        if count:
            return EACH if each else count, [f'{prefix}{i}' for i in range(min(count, len(state)))]
    return None, []


def build_tokenizer_config(state: Mapping[str, torch.Tensor], scales: Sequence[int] | None, source: str) -> dict:
    """Return the VisualTokenizer config of a published file.

    Args:
        state: as `read_source` gives it.
        scales: sizes of the scales; None takes those of the release.
        source: what to call the weights in messages.

    Raises:
        InputError: weights that lack what every such tokenizer has, or of another number of scales than the release's
            where none are given.
    """
    encoder, decoder = (find_half_sizes(state, half, source) for half in ('encoder', 'decoder'))
    if scales is None and len(state[COUNTERS]) != len(SCALES):
        raise InputError(f'{source} counts the codes of {len(state[COUNTERS])} scales, and the release has '
                         f'{len(SCALES)}. Say their sizes, such as 1,2,4,8,16.', '--scales')
    try:
        kernels = [state[f'{name}.weight'].shape[-1] for name in ('quant_conv', 'post_quant_conv')]
    except KeyError as e:
        raise InputError(f'{source} lacks {e}, which every VAR tokenizer has.') from e
    sizes = list(scales or SCALES)
    image_size = sizes[-1] << (len(encoder['multipliers']) - 1)
    size, dim = state[TABLE].shape
    quantizer: dict[str, Any] = dict(
        type='MultiScaleRQ', scales=sizes, convs=find_convs(state)[0], strength=STRENGTH,
        quantizer=dict(type='VQ', size=size, dim=dim, codebook=dict(type='GradientCodebook')))
    projection, back = (dict(type='ConvProjection', kernel=kernel) for kernel in kernels)
    return dict(
        type='VisualTokenizer', image_size=image_size,
        encoders=dict(cnn=dict(type='CNNEncoder', **build_half_config(encoder, image_size))),
        vocabularies=dict(pixel=dict(taps=len(encoder['multipliers']) + 1, projection=projection, post_projection=back,
                                     quantizer=quantizer)),
        decoder=dict(type='CNNDecoder', reads=['pixel'], post_quant=None, **build_half_config(decoder, image_size)))


def map_state(state: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """Return a published state dict, as `read_source` gives it, as that of the VisualTokenizer; `InputError` lists keys
    that are missing or left over."""
    rules = Renaming(state, source)
    rules.tree('encoders.cnn.', 'encoder.')
    rules.tree('decoder.decoder.', 'decoder.')
    quantizer = 'vocabularies.pixel.quantizer'
    map_table(rules, f'{quantizer}.inner.codebook', [TABLE])
    for i, name in enumerate(find_convs(state)[1]):
        rules.both(f'{quantizer}.convs.convs.{i}', name)
    rules.both('vocabularies.pixel.projections.0.conv', 'quant_conv')
    rules.both('vocabularies.pixel.post_projection.conv', 'post_quant_conv')
    return rules.finish(ignore=(COUNTERS,))


def map_table(rules: Renaming, target: str, names: Sequence[str]) -> None:
    """Copy tables, side by side, to a GradientCodebook that has not learned yet."""
    tables = rules.take(*names)
    if tables:
        rules.target.update({f'{target}.weight': torch.cat(tables, 1),
                             f'{target}.cluster_size': torch.ones(len(tables[0])),
                             f'{target}.updates': torch.zeros((), dtype=torch.int64)})
