"""The language model one place at a time: a batch of contexts is read once, later places go through its cache.

Legend: B rows, L places of the contexts, S places in the cache, H width.
"""
from __future__ import annotations

from typing import Any, Sequence

import torch
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.mllm.contexts import Context, join_contexts
from dtbox.sequence_batch import allowed_mask


class Decoding:
    """A batch of rows in a language model's cache.

    Args:
        model: MultimodalLM in evaluation mode.
        contexts: B rows.
        places: places that may follow.

    Attributes:
        state: [B,H] at the last place of each row: it predicts the next.

    Raises:
        InputError: contexts and what may follow are longer than the language model reads.
    """

    def __init__(self, model: Any, contexts: Sequence[Context], places: int) -> None:
        longest = max(map(len, contexts))
        if longest + places > model.lm.context_length:
            raise InputError(f'a sequence of {format_count(longest, "place")} with {places} to follow is longer than '
                             f'the {model.lm.context_length} that the language model reads. Shorten the text, or leave '
                             'images out.')
        batch = join_contexts(model, contexts)
        self.model, self.length = model, longest
        self.cache = model.lm.make_cache(len(contexts), longest + places)
        self.there = batch.sample >= 0  # [B,S]
        self.next_position = batch.position[:, -1] + 1
        self.padded = batch.need_mask
        mask = allowed_mask(batch) if self.padded else None
        self.state = model.lm(model.embed(batch), batch.position, mask, self.cache)[:, -1]

    def step(self, x: Tensor) -> Tensor:
        """Append one place to each row.

        Args:
            x: [B,H], what stands there.

        Returns:
            the state [B,H] at that place.
        """
        mask = None
        if self.padded:
            self.there = torch.cat([self.there, self.there.new_ones(len(x), 1)], 1)
            mask = self.there[:, None]
        self.state = self.model.lm(x[:, None], self.next_position[:, None], mask, self.cache)[:, -1]
        self.next_position = self.next_position + 1
        return self.state
