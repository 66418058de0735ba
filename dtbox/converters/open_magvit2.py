"""Open-MAGVIT2's published tokenizers (SEED-Voken, arXiv 2409.04410) to a run folder.

The quantizer has no weights: the width of the encoder's last convolution is the number of bits. The weights are the
averages under `model_ema.` where the file has them, as for IBQ. Code bits are those of the release: channel 0 is the
lowest.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dtbox.converters import vqgan
from dtbox.converters.run_folder import Converted, check_values
from dtbox.errors import InputError
from dtbox.quantizers.binary import MOST_GROUP
from dtbox.weights.renaming import Renaming

MARK = 'encoder.mid_block.0.conv1.weight'
"""A tensor that every Open-MAGVIT2 has."""
TOKENS = 16
"""Rows and columns of the tokens of the published models, of 128 pixels (f8) and of 256 (f16)."""


def convert(src: str, weights: str | None = None, image_size: int | Sequence[int] | None = None,
            parts: Sequence[int] | None = None) -> Converted:
    """Read a published Open-MAGVIT2 tokenizer.

    Args:
        src: SEED-Voken's .ckpt file.
        weights: which of several sets of weights in the file to take; None takes the averages where there are some, and
            the log says so; `plain` takes the plain weights beside them.
        image_size: pixels, a multiple of the encoder's stride; None makes 16 x 16 tokens, as the published models do.
        parts: bits of each code, where a token should have several (9 and 9 for the published language models); None
            makes one code of all bits.

    Raises:
        InputError: a file that is missing, damaged or of another layout; bits that do not sum to those of the weights.
    """
    state = read_source(src, weights)
    check_values(state, src)
    cfg = build_tokenizer_config(find_sizes(state, src), image_size, parts)
    return Converted(cfg, map_state(state, src), src)


def read_source(path: str, entry: str | None = None) -> dict[str, torch.Tensor]:
    """Read a checkpoint; returns its state dict without what the losses keep.

    Raises:
        InputError: no such file, one that cannot be read as tensors alone, or another network.
    """
    state = vqgan.select_model(vqgan.read_tensors(path, entry), MARK, path)
    if MARK not in state or 'decoder.adaptive.0.gamma.weight' not in state:
        raise InputError(f'{path} is no Open-MAGVIT2: expected {MARK} and decoder.adaptive.0.gamma.weight; its first '
                         f'keys: {", ".join(list(state)[:4]) or "none"}.')
    return state


def find_sizes(state: Mapping[str, torch.Tensor], source: str) -> dict[str, Any]:
    """Return the sizes that the weights tell: `bits`, and the arguments `channels`, `multipliers` and `blocks` of
    `encoder` and `decoder`."""
    try:
        bits, base = len(state['encoder.conv_out.weight']), len(state['encoder.conv_in.weight'])
        sides = [vqgan.find_levels(state, prefix, base, source) for prefix in ('encoder.down', 'decoder.up')]
    except KeyError as e:
        raise InputError(f'{source} lacks {e}, which every Open-MAGVIT2 has.') from e
    encoder, decoder = ({name: side[name] for name in ('channels', 'multipliers', 'blocks')} for side in sides)
    return dict(bits=bits, encoder=encoder, decoder=decoder)


def build_tokenizer_config(sizes: Mapping[str, Any], image_size: int | Sequence[int] | None = None,
                           parts: Sequence[int] | None = None) -> dict:
    """Return the VisualTokenizer config of a published Open-MAGVIT2; arguments as those of `find_sizes` and
    `convert`."""
    levels, bits = len(sizes['encoder']['multipliers']), sizes['bits']
    image_size = image_size or TOKENS << (levels - 1)
    vqgan.check_image_size(image_size, levels)
    quantizer = dict(type='LFQ', dim=bits, lowest_first=True, floor=1e-5, group=max(1, min(bits, MOST_GROUP)))
    return dict(
        type='VisualTokenizer', image_size=image_size,
        encoders=dict(cnn=dict(type='MAGVIT2Encoder', latent_channels=bits, **sizes['encoder'])),
        vocabularies=dict(pixel=dict(taps=levels + 1, projection=dict(type='NoProjection'),
                                     quantizer=dict(quantizer, **(dict(parts=list(parts)) if parts else {})))),
        decoder=dict(type='MAGVIT2Decoder', reads=['pixel'], **sizes['decoder']))


def map_state(state: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """Map a published state dict to a VisualTokenizer's; `InputError` lists keys that are left over."""
    rules = Renaming(state, source)
    rules.tree('encoders.cnn.', 'encoder.')
    rules.tree('decoder.decoder.', 'decoder.')
    return rules.finish()
