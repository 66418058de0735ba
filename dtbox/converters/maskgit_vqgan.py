"""MaskGIT's VQGAN (arXiv 2202.04200) in PyTorch, as 1d-tokenizer publishes it (maskgit-vqgan-imagenet-f16-256.bin), to
a run folder: the teacher whose codes TiTok learns first.

The published network takes and gives images in [0, 1]; encoder and decoder here bring them from and to [-1, 1]. There
are no convolutions around the quantizer, which is the nearest row.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dtbox.converters import vqgan
from dtbox.converters.run_folder import Converted, check_values
from dtbox.errors import InputError
from dtbox.weights.renaming import Renaming


def convert(src: str, weights: str | None = None, image_size: int | Sequence[int] = 256) -> Converted:
    """Read MaskGIT's VQGAN.

    Args:
        src: its .bin file.
        weights: which of several sets of weights in the file to take; None takes an average where there is one, and the
            log says so.
        image_size: pixels, a multiple of the encoder's stride.

    Raises:
        InputError: a file that is missing, damaged or of another layout.
    """
    state = read_source(src, weights)
    check_values(state, src)
    cfg = build_tokenizer_config(find_sizes(state, src), image_size)
    return Converted(cfg, map_state(state, src), src)


def read_source(path: str, entry: str | None = None) -> dict[str, torch.Tensor]:
    """Read a checkpoint; returns its state dict.

    Raises:
        InputError: no such file, one that cannot be read as tensors alone, or another network.
    """
    state = vqgan.select_model(vqgan.read_tensors(path, entry), vqgan.CODES, path)
    if vqgan.CODES not in state or 'encoder.mid.0.conv1.weight' not in state or 'quant_conv.weight' in state:
        raise InputError(f'{path} is no VQGAN of MaskGIT: expected {vqgan.CODES}, encoder.mid.0.conv1.weight and no '
                         f'quant_conv; its first keys: {", ".join(list(state)[:4]) or "none"}.')
    return state


def find_sizes(state: Mapping[str, torch.Tensor], source: str) -> dict[str, Any]:
    """Return the sizes that the weights tell: `size` and `dim` of the codebook, and the arguments `channels`,
    `multipliers` and `blocks` of `encoder` and `decoder`."""
    try:
        size, dim = state[vqgan.CODES].shape
        base = len(state['encoder.conv_in.weight'])
        sides = [vqgan.find_levels(state, prefix, base, source) for prefix in ('encoder.down', 'decoder.up')]
    except KeyError as e:
        raise InputError(f'{source} lacks {e}, which every VQGAN of MaskGIT has.') from e
    encoder, decoder = ({name: side[name] for name in ('channels', 'multipliers', 'blocks')} for side in sides)
    return dict(size=size, dim=dim, encoder=encoder, decoder=decoder)


def build_tokenizer_config(sizes: Mapping[str, Any], image_size: int | Sequence[int] = 256) -> dict:
    """Return the VisualTokenizer config of MaskGIT's VQGAN; `sizes` as those of `find_sizes`."""
    levels = len(sizes['encoder']['multipliers'])
    vqgan.check_image_size(image_size, levels)
    return dict(
        type='VisualTokenizer', image_size=image_size,
        encoders=dict(cnn=dict(type='MaskGITEncoder', latent_channels=sizes['dim'], **sizes['encoder'])),
        vocabularies=dict(pixel=dict(
            taps=levels + 1, projection=dict(type='NoProjection'),
            quantizer=dict(type='VQ', size=sizes['size'], dim=sizes['dim'], codebook=dict(type='GradientCodebook')))),
        decoder=dict(type='MaskGITDecoder', reads=['pixel'], **sizes['decoder']))


def map_state(state: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """Map a published state dict to a VisualTokenizer's; `InputError` lists keys that are left over."""
    rules = Renaming(state, source)
    rules.tree('encoders.cnn.', 'encoder.')
    rules.tree('decoder.decoder.', 'decoder.')
    vqgan.map_table(rules)
    return rules.finish()
