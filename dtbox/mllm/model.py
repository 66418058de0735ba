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

from dtbox.code_tables import EMPTY
from dtbox.errors import InputError, at
from dtbox.mllm.code_rows import read_tables
from dtbox.mllm.frozen_tokenizer import FrozenTokenizer
from dtbox.mllm.setup import build_lm, check_causal, check_places, check_streams
from dtbox.registry import MLLMS, SEQUENCES, VISUAL_EMBEDDINGS, VISUAL_HEADS
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
        self.lm, tokens = build_lm(lm, sequence.get('tokenizer'))
        more: dict[str, Any] = dict(tables=self.tables, width=self.lm.width)
        self.visual_embedding: Any = VISUAL_EMBEDDINGS.build(visual_embedding, where='visual_embedding',
                                                             features=tokenizer.features, **more)
        self.visual_head: Any = None
        if visual_head is not None:
            self.visual_head = VISUAL_HEADS.build(visual_head, where='visual_head', **more)
            check_places(self.visual_head, self.visual_embedding)
            check_streams(self.visual_head, self.visual_embedding, tokenizer)
        self.sequence: Any = SEQUENCES.build({'type': 'SequenceBuilder', **sequence, 'tokenizer': tokens},
                                             where='sequence', places=self.places,
                                             context_length=self.lm.context_length)

    @property
    def places(self) -> int:
        """Places of an image in a sequence: N, or what the visual head makes of them (see `VisualHead.count_steps`)."""
        return self.tables.places if self.visual_head is None else self.visual_head.count_steps()

    def expand(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Codes of images, stream -> [M,N,Q] -> codes of the places of a sequence."""
        return dict(codes) if self.visual_head is None else self.visual_head.expand(codes)

    def collapse(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `expand`."""
        return dict(codes) if self.visual_head is None else self.visual_head.collapse(codes)

    def init_weights(self) -> None:
        """Load the weights that the language model's config names; then check what depends on the tokenizer's weights.

        Raises:
            InputError: a model that draws reads features of a place that depend on later places.
        """
        with at('lm'):
            self.lm.init_weights()
        if self.visual_head is not None and not self.visual_embedding.token_local:
            with at('visual_embedding'):
                check_causal(self.visual_embedding, self.tokenizer)

    def train(self, mode: bool = True) -> MultimodalLM:
        """Set the mode; parts whose parameters are all frozen stay in evaluation, without dropout."""
        super().train(mode)
        for part in (self.visual_embedding, self.visual_head):
            if part is not None and not any(p.requires_grad for p in part.parameters()):
                part.eval()
        return self

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
        there = batch.visual >= 0
        if bool(there.any()):
            images = self.visual_embedding(batch.codes).flatten(0, 1)  # [M*N,H]
            return x.masked_scatter(there[..., None], images[batch.visual[there]].to(x.dtype))
        return x + tie_to_graph(self.visual_embedding) if self.training else x

    def run(self, batch: SequenceBatch) -> Tensor:
        """Return the states [B,T,H] after the language model's last norm."""
        mask = allowed_mask(batch) if batch.need_mask else None
        return self.lm(self.embed(batch), batch.position, mask)

    def forward(self, batch: SequenceBatch, keep_share: float = 1.0,
                generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return sums of cross entropies in nats over all targets; `select_visual_targets` says which these are.

        Args:
            batch: SequenceBatch with targets.
            keep_share: random share of the visual targets that go through the visual head.
            generator: of that share.

        Returns:
            `text`: scalar; NAME of each stream: [Q].
        """
        states = self.run(batch)
        hidden, target = states[:, :-1], batch.text_target[:, 1:]
        wanted = target >= 0
        logits = self.lm.text_logits(hidden[wanted]).float()
        losses = {TEXT: F.cross_entropy(logits, target[wanted], reduction='sum') if len(logits) else logits.sum()}
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
        if not len(hidden):  # one place without codes: ranks that draw nothing run the same blocks as those that do
            hidden, keep_share = states[:1, 0], 1.0
            codes = {name: batch.ids.new_full((1, len(sizes)), EMPTY) for name, sizes in self.tables.sizes.items()}
        return self.visual_head.losses(hidden, codes, keep_share, generator).sums


def tie_to_graph(module: nn.Module) -> Tensor:
    """Return a zero that gives every trainable parameter of a module a gradient of zeros: ranks that use it and ranks
    that do not take part in the same step."""
    return sum((p.sum() * 0.0 for p in module.parameters() if p.requires_grad), torch.zeros(()))
