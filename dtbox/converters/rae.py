"""RAE's decoders (arXiv 2510.11690) with the encoder whose features they decode, to a run folder.

The decoder is a flat file (`decoder_layers.#...`), or a training checkpoint {model, ema, ...} with `decoder.*` beside
`encoder.*`. The encoder comes from a local Hugging Face folder (`representation.py`); where a checkpoint holds it, too,
the two must be equal. `stat.pt` {mean, var} holds the statistics of the latents, [C, h, w] each; a missing one counts
as 0 or 1. What changes on the way:

- the query, key and value layers of a block become one, as in timm;
- the normalisation of pixels is folded into the encoder's first and the decoder's last layer;
- statistics are [N, C], and belong to the quantizer (`NoQuantizer`), which normalises latents.

Training adds noise to the features (`noise` of the quantizer, 0.8 in the published runs); a converted run has none.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from dtbox.converters.folding import fold_output
from dtbox.converters.representation import Representation, map_vit_blocks, read_encoder, read_licence
from dtbox.converters.run_folder import Converted, check_values
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.weights.entries import choose_weights
from dtbox.weights.renaming import Renaming
from dtbox.weights.state_dicts import read_content

VOCABULARY = 'latent'
HEADS = {768: 12, 1024: 16, 1152: 16}
"""Width of the published decoders (ViT-B, L, XL) -> attention heads."""
MARK = 'trainable_cls_token'


def convert(src: str, weights: str | None = None, encoder: str | None = None, stat: str | None = None,
            heads: int | None = None, input_size: int | None = None) -> Converted:
    """Read a published RAE.

    Args:
        src: file of the decoder, or a training checkpoint.
        weights: which of several sets of weights in the file to take, such as `model`; None takes an average where
            there is one.
        encoder: local Hugging Face folder of the encoder.
        stat: file of the latents' statistics; None: latents are not normalised.
        heads: attention heads of the decoder; None takes those of the published decoder of that width.
        input_size: pixels that the encoder sees; None: so many that its tokens are those of the decoder's grid.

    Raises:
        InputError: a file or a folder that is missing, damaged or of another layout, or that do not fit each other.
    """
    if not encoder:
        raise InputError('the decoder reads features of an encoder that its file does not hold. Give the local Hugging '
                         'Face folder of that encoder.', '--encoder')
    state = choose_weights(read_content(src), src, weights or '')
    check_values(state, src)
    representation = read_encoder(encoder)
    print_log(f'The encoder of {encoder}: licence of its weights {read_licence(encoder)}.', 'current')
    check_values(representation.published, encoder)
    decoder = take_decoder(state, representation, src)
    cfg = build_tokenizer_config(decoder, representation, heads, input_size, stat is not None)
    found = map_state(decoder, representation, cfg, src)
    if stat is not None:
        side = cfg['encoders']['trunk']['input_size'] // representation.patch
        found.update(read_statistics(stat, representation.width, side))
    return Converted(cfg, found, src)


def take_decoder(state: Mapping[str, Tensor], representation: Representation, src: str) -> dict[str, Tensor]:
    """Return the decoder's entries under their flat names.

    Args:
        state: of a flat file or of a training checkpoint.
        representation: the encoder of the folder, with which that of a checkpoint is compared.
        src: where it comes from, for messages.

    Raises:
        InputError: neither of the two layouts; a checkpoint whose encoder is not that of the folder.
    """
    if MARK in state:
        return dict(state)
    if f'decoder.{MARK}' not in state:
        raise InputError(f'{src} is not a decoder of RAE: it has no `{MARK}` and no `decoder.{MARK}`. Its first keys: '
                         f'{", ".join(list(state)[:4]) or "none"}.')
    others = [name for name in state if not name.startswith('decoder.')]
    published = representation.published
    for name in others:
        own = next((key for key in _list_endings(name) if key in published), None)
        if own is None or not torch.equal(state[name].float().cpu(), published[own].float()):
            what = f'differs from `{own}` of the folder' if own else 'is not in the folder'
            raise InputError(f'`{name}` of {src} {what}; the checkpoint was trained with another encoder.', '--encoder')
    return {name.removeprefix('decoder.'): value for name, value in state.items() if name.startswith('decoder.')}


def _list_endings(name: str) -> list[str]:
    """Return what follows each dot of a name, the longest first."""
    parts = name.split('.')
    return ['.'.join(parts[i:]) for i in range(1, len(parts))]


def build_tokenizer_config(state: Mapping[str, Tensor], representation: Representation, heads: int | None = None,
                           input_size: int | None = None, statistics: bool = True) -> dict:
    """Return the VisualTokenizer config of a decoder and its encoder.

    Args:
        state: of the decoder, under its flat names.
        representation: the encoder.
        heads, input_size: as of `convert`.
        statistics: whether latents are normalised.

    Raises:
        InputError: sizes that do not fit.
    """
    try:
        width, in_dim = state['decoder_embed.weight'].shape
        hidden = len(state['decoder_layers.0.intermediate.dense.weight'])
        places, rows = state['decoder_pos_embed'].shape[1] - 1, len(state['decoder_pred.weight'])
    except KeyError as e:
        raise InputError(f'the decoder lacks {e}, which every RAE has.') from e
    side, patch = round(places ** 0.5), round((rows / 3) ** 0.5)
    if side * side != places or 3 * patch * patch != rows:
        raise InputError(f'the decoder has {places} positions and {format_count(rows, "row")} in its last layer; '
                         'expected a square grid and 3 colours of a square patch.')
    if in_dim != representation.width:
        raise InputError(f'the decoder reads features of width {in_dim}, the encoder gives {representation.width}. '
                         'Give the encoder that the decoder was trained with.', '--encoder')
    if input_size is None:
        input_size = side * representation.patch
    if input_size % representation.patch:
        raise InputError(f'{input_size} pixels are not whole patches of {representation.patch}.', '--input-size')
    heads = heads or HEADS.get(width)
    if not heads:
        raise InputError(f'the decoder has the width {width}; published ones have {", ".join(map(str, HEADS))}. Say '
                         'its attention heads.', '--heads')
    depth = 1 + max(int(m[1]) for name in state if (m := re.match(r'decoder_layers\.(\d+)\.', name)))
    resized = None if input_size // representation.patch == side else side
    return dict(
        type='VisualTokenizer', image_size=side * patch,
        encoders=dict(trunk=dict(representation.config, input_size=input_size)),
        vocabularies={VOCABULARY: dict(
            taps='norm', projection=dict(type='NoProjection'),
            quantizer=dict(type='NoQuantizer', dim=in_dim, statistics='position' if statistics else None))},
        decoder=dict(type='RAEDecoder', reads=[VOCABULARY], width=width, depth=depth, heads=heads, hidden=hidden,
                     latent_size=resized))


def map_state(state: Mapping[str, Tensor], representation: Representation, cfg: Mapping[str, Any],
              source: str) -> dict[str, Tensor]:
    """Map a decoder and its encoder to a VisualTokenizer's state dict, but for statistics.

    Args:
        state, representation: as of `build_tokenizer_config`.
        cfg: what that returned.
        source: where the decoder comes from, for messages.

    Raises:
        InputError: keys that are missing or left over.
    """
    rules = Renaming(state, source)
    rules.both('decoder.proj_in', 'decoder_embed')
    rules.copy('decoder.trunk.cls_token', MARK)
    rules.copy('decoder.trunk.pos_embed', 'decoder_pos_embed')
    map_vit_blocks(rules, 'decoder.trunk.', 'decoder_layers', cfg['decoder']['depth'])
    rules.both('decoder.trunk.norm', 'decoder_norm')
    last = rules.take('decoder_pred.weight', 'decoder_pred.bias')
    if last:
        weight, bias = fold_output(last[0], last[1], representation.mean, representation.std)
        rules.target.update({'decoder.head.fc.weight': weight, 'decoder.head.fc.bias': bias})
    side = cfg['encoders']['trunk']['input_size'] // representation.patch
    encoder = {f'encoders.trunk.trunk.{name}': value for name, value in representation.fit(side).items()}
    return {**rules.finish(), **encoder}


def read_statistics(path: str, width: int, side: int) -> dict[str, Tensor]:
    """Read `stat.pt`: {mean, var} of [C, h, w], [C, 1, 1] or [C], either of which may be missing or None.

    Args:
        path: of the file.
        width: of the latents, C.
        side: rows and columns of the grid.

    Returns:
        the quantizer's entries of a VisualTokenizer's state dict, [N, C] each.

    Raises:
        InputError: another layout, or values that are not finite or negative variances.
    """
    content = read_content(path)
    if not isinstance(content, Mapping) or not {'mean', 'var'} & content.keys() or content.keys() - {'mean', 'var'}:
        raise InputError(f'{path} does not hold {{mean, var}} of latents; expected RAE\'s stat.pt.', '--stat')
    found = {}
    for name, default in (('mean', 0.0), ('var', 1.0)):
        value = content.get(name)
        value = torch.full((width,), default) if value is None else value
        value = value[0] if isinstance(value, Tensor) and value.ndim == 4 and len(value) == 1 else value
        value = value.float().flatten(1) if isinstance(value, Tensor) and value.ndim == 3 else value
        if not isinstance(value, Tensor) or len(value) != width or value.numel() not in (width, width * side ** 2):
            shape = list(content[name].shape) if isinstance(content[name], Tensor) else type(content[name]).__name__
            raise InputError(f'`{name}` of {path} is {shape}; expected [{width}, {side}, {side}].', '--stat')
        value = value.float().reshape(width, -1).expand(width, side ** 2)
        if not torch.isfinite(value).all() or name == 'var' and bool((value < 0).any()):
            raise InputError(f'`{name}` of {path} has values that are not finite, or negative variances.', '--stat')
        found[f'vocabularies.{VOCABULARY}.quantizer.latent_{name}'] = value.T.contiguous()
    return found
