"""The quantizer of a vocabulary: built and checked, or shared with other vocabularies.

Legend: B batch, N tokens, C code width.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError, NotFinite
from dtbox.layout import Scales, TokenLayout
from dtbox.part_outputs import check_code_tensor, check_floats, check_scalars
from dtbox.registry import QUANTIZERS
from dtbox.structures import QuantizerOutput

CONTRACT = ('dim', 'codebook_sizes', 'forward', 'encode', 'decode', 'commit', 'discard', 'init_weights', 'set_layout')
"""What a quantizer has; `dtbox.quantizers.base.Quantizer` explains each."""


@dataclass(frozen=True)
class SharedQuantizer:
    """The part of a quantizer that belongs to one of the vocabularies that share it.

    Attributes:
        quantizer: the quantizer.
        channels: which of its channels are this vocabulary's.
    """
    quantizer: nn.Module
    channels: slice


def build_quantizer(cfg: dict, where: str) -> nn.Module:
    """Build a quantizer from its config; `InputError` where the part does not have what the contract asks for."""
    quantizer = QUANTIZERS.build(cfg, where=where)
    missing = [name for name in CONTRACT if not hasattr(quantizer, name)]
    if missing or not isinstance(quantizer, nn.Module):
        raise InputError(f'{type(quantizer).__name__} is not a quantizer: it lacks '
                         f'{", ".join(missing) or "torch.nn.Module"}. Derive it from '
                         'dtbox.quantizers.base.Quantizer.', where)
    return quantizer


def get_input_dim(quantizer: nn.Module) -> int:
    """Return the width of the features that a quantizer takes: its `input_dim`, or C."""
    return getattr(quantizer, 'input_dim', quantizer.dim)


def quantize(quantizer: nn.Module, z: Tensor) -> QuantizerOutput:
    """z [B,N,width in] -> QuantizerOutput; `InputError` where the quantizer returns anything else.

    Where the quantizer has a list `postponed`, a `NotFinite` is appended to it and zeros are quantized instead: a rank
    that shares its blocks with others has to finish the pass (see `VisualTokenizer.raise_postponed`).
    """
    try:
        out = quantizer(z)
    except NotFinite as e:
        if getattr(quantizer, 'postponed', None) is None:
            raise
        quantizer.postponed.append(e)
        out = quantizer(torch.zeros_like(z))
    if not isinstance(out, QuantizerOutput):
        raise InputError(f'{type(quantizer).__name__} returned a {type(out).__name__}; expected a '
                         'QuantizerOutput(features, codes, losses).', 'quantizer')
    check_floats(quantizer, 'features', out.features, (*z.shape[:2], quantizer.dim), z.dtype)
    if out.codes is not None or quantizer.codebook_sizes:
        check_code_tensor(quantizer, out.codes, z.shape[0], len(quantizer.codebook_sizes))
    check_scalars(quantizer, out.losses)
    return out


def find_codes(quantizer: nn.Module, z: Tensor) -> Tensor:
    """z [B,N,width in] -> codes [B,N,Q] int64, or latents [B,N,C] of a quantizer without codes, without gradient;
    `InputError` where the quantizer returns anything else."""
    if not quantizer.codebook_sizes:
        return check_floats(quantizer, 'latents', quantizer.encode(z), (*z.shape[:2], quantizer.dim))
    return check_code_tensor(quantizer, quantizer.encode(z), z.shape[0], len(quantizer.codebook_sizes))


def decode_codes(quantizer: nn.Module, codes: Tensor, layout: TokenLayout, scales: int | None = None) -> Tensor:
    """codes [B,N,Q] -> features [B,N,C] of a quantizer, of all codes or of those of the first scales.

    Args:
        quantizer: whose codes they are.
        codes: of the whole layout or, with `scales`, of those scales at least.
        layout: of the codes.
        scales: how many scales are read; None for all.

    Raises:
        InputError: `scales` for codes that do not lie on several scales, or more than there are; too few codes.
    """
    if scales is None:
        return quantizer.decode(codes)
    if not isinstance(layout, Scales) or not hasattr(quantizer, 'decode_prefix'):
        raise InputError(f'`scales` is {scales!r}, and the codes of {type(quantizer).__name__} are a {layout}, which '
                         'has no scales that can be left out. Leave it out.', 'scales')
    if type(scales) is not int or not 1 <= scales <= len(layout.slices):
        raise InputError(f'`scales` is {scales!r}; expected how many of the '
                         f'{format_count(len(layout.slices), "scale")} are read, at least 1.', 'scales')
    stop = layout.slices[scales - 1].stop
    if codes.ndim != 3 or codes.shape[1] not in (stop, layout.tokens):
        raise InputError(f'codes have the shape {list(codes.shape)}; expected [B, {stop}, '
                         f'{len(quantizer.codebook_sizes)}], those of the first {format_count(scales, "scale")}, or '
                         f'all {layout.tokens} of the {layout}.')
    return quantizer.decode_prefix(codes[:, :stop])
