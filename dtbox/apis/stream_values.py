"""Codes and latents that a caller hands in: of which kind they are, and how they come to the model's device.

Legend: B batch, N tokens, C latent channels, Q codes per token.
"""
from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from dtbox.arguments import read_whole
from dtbox.arguments.plain import LONGEST_NAME
from dtbox.errors import InputError, at
from dtbox.tokenizers.visual import VisualTokenizer


def place_values(values: Mapping[str, Tensor], model: VisualTokenizer) -> dict[str, Tensor]:
    """Codes [B,N,Q] and latents [B,N,C] of one batch -> the same on the model's device, floats in its dtype.

    Raises:
        InputError: streams of several batch sizes.
    """
    sizes = {name: len(value) if value.ndim else 0 for name, value in values.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f'the codes are of batches of different sizes: {sizes}. Hand in the codes of the same images.')
    weight = next(model.parameters())
    return {name: value.to(weight.device, weight.dtype if value.is_floating_point() else None)
            for name, value in values.items()}


def check_kinds(values: Mapping[str, Tensor], model: VisualTokenizer) -> Mapping[str, Tensor]:
    """Return stream -> codes or latents as they came; `InputError` for floats where a stream has codes."""
    for name, value in values.items():
        with at(name[:LONGEST_NAME]):
            if name not in model.streams or model.streams[name].layout.has_codes:
                read_whole(value)
    return values
