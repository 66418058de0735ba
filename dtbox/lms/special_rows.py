"""Rows of special tokens: a small table of their own after the tables of a language model.

The big tables stay as they are, so that they can be frozen, or lie under an adapter, while the new tokens learn: a
table cannot be frozen in part, and adapters that train some of its rows copy all of it in every pass.

Legend: V0 ordinary ids, A special rows, H width.
"""
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


class SpecialRows(nn.Module):
    """Rows of special tokens, whose ids follow those of the ordinary tokens. They are float32, whatever the tables are.

    Args:
        read: rows of the embedding [A,H].
        write: rows of the head [A,H]; None where embedding and head share one table.
    """

    def __init__(self, read: Tensor, write: Tensor | None) -> None:
        super().__init__()
        self.read = nn.Parameter(read.detach().float().clone())
        self.write = None if write is None else nn.Parameter(write.detach().float().clone())

    def __len__(self) -> int:
        return len(self.read)

    def grow(self, more: int, embedding: Tensor, head: Tensor | None) -> SpecialRows:
        """Return these rows and `more` of them, which are the mean rows of `embedding` [V0,H] and of `head` [V0,H].

        `head` is None where it shares the table of the embedding.
        """
        grown = make_mean_rows(more, embedding, head)
        read = torch.cat([self.read, grown.read.to(self.read.device)])
        if self.write is None or grown.write is None:
            return SpecialRows(read, None)
        return SpecialRows(read, torch.cat([self.write, grown.write.to(self.write.device)]))

    @torch.no_grad()
    def take(self, rows: SpecialRows) -> None:
        """Let these rows have the values of as many others; they stay the parameters that an optimizer holds."""
        self.read.copy_(rows.read)
        if self.write is not None and rows.write is not None:
            self.write.copy_(rows.write)

    def embed(self, ids: Tensor, embedding: nn.Module, first: int) -> Tensor:
        """ids [...] -> [...,H]: ids below `first` by `embedding`, the others by the own rows."""
        ordinary = embedding(ids.clamp(max=first - 1))
        # some models scale what they read from the table
        rows = self.read * getattr(embedding, 'embed_scale', 1.0)
        special = F.embedding((ids - first).clamp(min=0), rows.to(ordinary.dtype))
        return torch.where((ids >= first)[..., None], special, ordinary)

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [...,H] -> logits of the special ids [...,A]."""
        rows = self.read if self.write is None else self.write
        return F.linear(hidden, rows.to(hidden.dtype))

    def join(self, table: Tensor, head: bool) -> Tensor:
        """Return the ordinary rows [V0,H] of a table and the special ones [A,H] as one table, in the type of the
        first."""
        own = self.read if self.write is None or not head else self.write
        return torch.cat([table, own.detach().to(table)])


def make_mean_rows(added: int, embedding: Tensor, head: Tensor | None) -> SpecialRows:
    """Return `added` rows that are the mean of those of `embedding` [V0,H] and, where it is a table of its own, of
    `head` [V0,H]."""
    def mean(table: Tensor) -> Tensor:
        return table.detach().mean(0, dtype=torch.float32).expand(added, -1)
    return SpecialRows(mean(embedding), None if head is None else mean(head))
