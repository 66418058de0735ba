"""The contract of language models: embedded places to hidden states, and hidden states to logits of text ids.

A language model gets places that are embedded already, as text ids and images travel in one sequence; it knows nothing
of images.

Legend: B rows, T places that come in, S places that they may see (those of the cache included), H width, V text ids.
"""
from __future__ import annotations

import os
from typing import Any, ClassVar

import torch.nn as nn
from torch import Tensor

from dtbox.arguments import describe
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.lms.cache import KeyValueCache


class LanguageModel(nn.Module):
    """Base class of language models. A subclass sets the attributes and implements the methods that raise
    `NotImplementedError`.

    Attributes:
        example: constructor arguments of a small instance, for the contract suite; None where there is none.
        width: H.
        vocab_size: V, the special rows included.
        context_length: places that the model is made for.
        added: number of special rows; their ids are the last ones.
    """
    example: ClassVar[dict[str, Any] | None] = None
    width: int = 0
    vocab_size: int = 0
    context_length: int = 0
    added: int = 0

    def embed(self, ids: Tensor) -> Tensor:
        """Text ids [B,T] int64 -> embeddings [B,T,H]."""
        raise NotImplementedError

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None = None,
                cache: KeyValueCache | None = None) -> Tensor:
        """Run all blocks and the final norm.

        Args:
            x: embedded places [B,T,H].
            positions: int64 [B,T], the rotary position of each place.
            mask: bool [B,T,S], True where place t may see place s; None lets a place see itself and all before it. A
                row without any True sees the place itself: what is padding is never read, and must not be NaN.
            cache: holds what earlier places have left (S - T of them); the new ones are added. Without gradients.

        Returns:
            hidden states [B,T,H].

        Raises:
            InputError: shapes that do not fit; more places than the cache has room for.
        """
        raise NotImplementedError

    def text_logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [...,H] -> logits of the text ids [...,V]."""
        raise NotImplementedError

    def make_cache(self, batch: int, length: int) -> KeyValueCache:
        """Return an empty cache for `batch` rows with room for `length` places."""
        return KeyValueCache(batch, length)

    def resize(self, added: int) -> int:
        """Give the model `added` special rows; those that are new start as the mean of the ordinary rows.

        Call it before an optimizer is made: the rows are a new parameter.

        Args:
            added: special rows, those that there are included. Their ids follow those of all ordinary rows; a text
                tokenizer with fewer ids fills the gap (see `SequenceTokenizer`).

        Returns:
            the id of the first special row.

        Raises:
            InputError: fewer rows than there are.
        """
        raise NotImplementedError

    def init_weights(self) -> None:
        """Load the weights that the config names; nothing where it names none."""

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write the model as a folder that its library opens without dtbox.

        Args:
            folder: new or empty.

        Raises:
            InputError: a folder that is not empty or cannot be written to.
        """
        raise NotImplementedError

    def set_recompute(self, on: bool) -> None:
        """Let blocks drop their activations and compute them again in the backward pass, or keep them; a model that can
        only keep them does nothing."""

    def frozen_names(self) -> list[str]:
        """Return the names of parameters that never train, whatever the config says: the base under an adapter."""
        return []

    def check_places(self, x: Tensor, positions: Tensor, mask: Tensor | None, cache: KeyValueCache | None) -> None:
        """Raise `InputError` unless the arguments of `forward` fit each other and this model."""
        if x.ndim != 3 or x.shape[2] != self.width or not x.is_floating_point():
            raise InputError(f'the places are {describe(x)}; expected floats [B, T, {self.width}].')
        b, t = x.shape[:2]
        if positions.shape != (b, t) or positions.is_floating_point():
            raise InputError(f'the positions are {describe(positions)}; expected int64 [{b}, {t}].')
        if cache is not None and cache.batch != b:
            raise InputError(f'{format_count(b, "row")} came with a cache of {cache.batch}. Make it for {b}, or '
                             'expand it.')
        s = t + (0 if cache is None else cache.length)
        if mask is not None and (mask.shape != (b, t, s) or not str(mask.dtype).endswith('bool')):
            raise InputError(f'the mask is {describe(mask)}; expected bool [{b}, {t}, {s}]: what each new place may '
                             'see of all places, those of the cache included.')
