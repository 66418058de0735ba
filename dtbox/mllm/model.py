"""The multimodal language model: a frozen tokenizer, a language model, a visual embedding, visual heads and a sequence
builder, composed by a config.

A visual place holds the codes of all streams of one patch. The state at place t predicts what place t + 1 holds: text
by the text head, codes by the visual head (DualToken, arXiv 2503.14324, section 3.3).

Legend: B samples, T places of a sequence, M images, N visual places of an image, P places that are targets, H width,
V text ids, Q codes of a place.
"""
from __future__ import annotations

from typing import Any, Mapping

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError, at
from dtbox.mllm.causality import check_causality
from dtbox.mllm.code_rows import read_tables
from dtbox.mllm.frozen_tokenizer import FrozenTokenizer
from dtbox.registry import LMS, MLLMS, SEQUENCES, VISUAL_EMBEDDINGS, VISUAL_HEADS
from dtbox.sequence_batch import SequenceBatch, allowed_mask

TEXT = 'text'
"""Name of the text among the names of streams, in losses and logs."""


@MLLMS.register_module()
class MultimodalLM(nn.Module):
    """A language model that reads and writes text and images.

    Args:
        tokenizer: FrozenTokenizer; no part of the state dict.
        lm: config of the language model.
        sequence: config of the SequenceBuilder; gets `places` from the tokenizer and `context_length` from the language
            model.
        visual_embedding: config of the visual embedding.
        visual_head: config of the visual head; None for a model that draws nothing.
    """

    def __init__(self, tokenizer: FrozenTokenizer, lm: Mapping[str, Any], sequence: Mapping[str, Any],
                 visual_embedding: Mapping[str, Any], visual_head: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        object.__setattr__(self, 'tokenizer', tokenizer)
        self.tables = read_tables(tokenizer)
        self.sequence: Any = SEQUENCES.build(sequence, where='sequence', places=tokenizer.places)
        self.lm: Any = LMS.build(lm, where='lm', vocab_size=self.sequence.vocab_size,
                                 special_ids=self.sequence.special_ids)
        with at('sequence'):
            self.sequence.bind(self.lm)
        self.visual_embedding: Any = VISUAL_EMBEDDINGS.build(
            visual_embedding, where='visual_embedding', tables=self.tables, width=self.lm.width,
            features=tokenizer.features)
        self.visual_head: Any = None
        if visual_head is not None:
            self.visual_head = VISUAL_HEADS.build(visual_head, where='visual_head', tables=self.tables,
                                                  width=self.lm.width)
            with at('visual_embedding'):
                check_causality(self.visual_embedding, self.tables, tokenizer)

    @property
    def names(self) -> list[str]:
        """Names of the streams of codes."""
        return list(self.tables.names)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> MultimodalLM:
        """Move the tokenizer along."""
        super()._apply(fn, *args, **kwargs)
        self.tokenizer.to(self.device)
        return self

    # ---- reading ------------------------------------------------------------------------------------------------

    def embed(self, batch: SequenceBatch) -> Tensor:
        """Return what the language model reads, [B,T,H]: rows of text ids, and visual embeddings at visual places."""
        x = self.lm.embed(batch.ids)
        if batch.codes and next(iter(batch.codes.values())).numel():
            images = self.visual_embedding(batch.codes).flatten(0, 1)  # [M*N,H]
            there = batch.visual >= 0
            x = x.masked_scatter(there[..., None], images[batch.visual[there]].to(x.dtype))
        return x

    def run(self, batch: SequenceBatch) -> Tensor:
        """Return the states [B,T,H] after the language model's last norm."""
        mask = allowed_mask(batch) if batch.need_mask else None
        return self.lm(self.embed(batch), batch.position, mask)

    def forward(self, batch: SequenceBatch, keep_share: float = 1.0,
                generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return sums of cross entropies in nats, and over how many targets.

        Args:
            batch: SequenceBatch with targets.
            keep_share: random share of the visual targets that go through the visual head.
            generator: of that share.

        Returns:
            `text` and `count/text`: scalars; NAME and `count/NAME` for each stream: [Q].
        """
        states = self.run(batch)
        hidden, target = states[:, :-1], batch.text_target[:, 1:]
        wanted = target >= 0
        logits = self.lm.text_logits(hidden[wanted]).float()
        losses = {TEXT: F.cross_entropy(logits, target[wanted], reduction='sum') if len(logits) else logits.sum(),
                  f'count/{TEXT}': wanted.sum()}
        if self.visual_head is not None:
            losses.update(self._sum_visual_losses(states, batch, keep_share, generator))
        elif bool(batch.visual_target.any()):
            raise InputError('a sample has an image to be drawn, but the model has no `visual_head`. Give it one, or '
                             'leave such samples out.', 'model.visual_head')
        return losses

    def select_visual_targets(self, states: Tensor, batch: SequenceBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the states [P,H] before the visual targets, and the codes [P,Q] that these hold, by stream."""
        wanted = batch.visual_target[:, 1:]
        places = batch.visual[:, 1:][wanted]
        return states[:, :-1][wanted], {name: codes.flatten(0, 1)[places] for name, codes in batch.codes.items()}

    def _sum_visual_losses(self, states: Tensor, batch: SequenceBatch, keep_share: float,
                           generator: torch.Generator | None) -> dict[str, Tensor]:
        hidden, codes = self.select_visual_targets(states, batch)
        if not len(hidden):  # every parameter gets a gradient, on every rank
            zero = sum(p.sum() * 0.0 for p in self.visual_head.parameters() if p.requires_grad)
            none = states.new_zeros(()) + zero
            sizes = {name: len(self.tables.sizes[name]) for name in self.names}
            return {**{name: none.expand(size) for name, size in sizes.items()},
                    **{f'count/{name}': states.new_zeros(size) for name, size in sizes.items()}}
        out = self.visual_head.losses(hidden, codes, keep_share, generator)
        return {**out.sums, **{f'count/{name}': count for name, count in out.counts.items()}}
