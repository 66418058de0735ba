"""A batch of sequences of text ids and visual places: all that reaches a multimodal language model.

Letters: B rows, T places of a row, M images, N visual places of an image, Q codes of a place.
"""
from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

IGNORE = -100
"""A text target that is none."""


@dataclass(frozen=True)
class SequenceBatch:
    """Rows of places. Targets are not shifted: the state at place t predicts what place t + 1 holds.

    With a shared prefix the first target of a segment is predicted from the segment's own first place, which is
    therefore never a target.

    Attributes:
        ids: [B, T] int64, text ids; the id of `<image>` at visual places, of padding where there is nothing.
        visual: [B, T] int64: -1, or flat index m * N + n into `codes`.
        codes: stream -> [M, N, Q] int64, codes of the images in order of appearance.
        position: [B, T] int64, rotary position; restarts at 0 with each sample, and after a shared prefix continues
            from its end in each segment. Padding has 0 and counts nothing.
        segment: [B, T] int64, number within the row of the sample or of the turn of a shared prefix; -1 for padding.
        sample: [B, T] int64, index of the sample in the `ConversationBatch`; -1 for padding.
        prefix: [B, T] bool, places of a shared prefix.
        text_target: [B, T] int64, the id that the place itself holds where it is to be predicted, elsewhere -100.
        visual_target: [B, T] bool, whether the codes of the place are to be predicted.
        need_mask: False where each row holds one sample without a shared prefix and padding at its end only, so that
            plain causal attention is right; otherwise `allowed_mask` is needed.
    """
    ids: Tensor
    visual: Tensor
    codes: dict[str, Tensor]
    position: Tensor
    segment: Tensor
    sample: Tensor
    prefix: Tensor
    text_target: Tensor
    visual_target: Tensor
    need_mask: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> SequenceBatch:
        """Return the batch on another device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name not in ('codes', 'need_mask')}
        return replace(self, codes={name: codes.to(device) for name, codes in self.codes.items()}, **moved)


def allowed_mask(batch: SequenceBatch) -> Tensor:
    """Return which places a place attends to: [B, T, T] bool, True at [b, i, j] where i sees j.

    A place sees itself and the earlier places of its sample that are of its own segment or of the shared prefix. The
    diagonal is always True, also of padding: attention over no place would be NaN.
    """
    same_sample = batch.sample[:, :, None] == batch.sample[:, None, :]
    same_segment = batch.segment[:, :, None] == batch.segment[:, None, :]
    visible = same_sample & (same_segment | batch.prefix[:, None, :]) & (batch.sample >= 0)[:, :, None]
    length = batch.ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=batch.ids.device).tril()
    return (visible & causal) | torch.eye(length, dtype=torch.bool, device=batch.ids.device)
