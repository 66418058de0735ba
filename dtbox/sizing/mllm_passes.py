"""Passes of a multimodal language model on the meta device: FLOPs of its parts, bytes that autograd keeps.

Legend: B samples, T places of a sequence, N visual places of an image, P places that are targets, H width.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.sizing.tracing import FlopLedger, KeptBytes, fuse_attention

DRAWING, CAPTION = 'drawing', 'caption'
LOGITS = 'text logits'


@dataclass(frozen=True)
class Sample:
    """The shape of a sample: `begin` text places, an image, `end` text places.

    Attributes:
        begin, places, end: their numbers.
        drawn: of the image's places, how many go through the visual head.
        replied: text places that are targets.
    """
    begin: int
    places: int
    end: int
    drawn: int
    replied: int

    @classmethod
    def of(cls, kind: str, model: Any, text: int, keep: float) -> Sample:
        """Return that of a kind: `bos` text start N end `eos`, or `bos` start N end text `eos`."""
        bos = int(model.sequence.tokens.bos is not None)
        if kind == DRAWING:
            drawn = max(1, round(keep * model.places)) if model.visual_head is not None else 0
            return cls(bos + text + 1, model.places, 2, drawn, 2)
        return cls(bos + 1, model.places, 1 + text + 1, 0, text + 1)

    @property
    def length(self) -> int:
        """T."""
        return self.begin + self.places + self.end


def set_recompute(model: Any, on: bool) -> None:
    """Let all blocks of a MultimodalLM compute their activations again in the backward pass, or keep them."""
    model.lm.set_recompute(on)
    for module in model.visual_head.modules() if model.visual_head is not None else ():
        if isinstance(getattr(module, 'recompute', None), bool):
            module.recompute = on


def _run(model: Any, sample: Sample, batch: int) -> tuple[Tensor, Tensor]:
    """Return the states that text is predicted from [B,P,H], and those that codes are [B*P,H]."""
    codes = {name: torch.zeros(batch, model.tables.places, len(sizes), dtype=torch.int64)
             for name, sizes in model.tables.sizes.items()}
    images = model.visual_embedding(model.expand(codes))
    text = [model.lm.embed(torch.zeros(batch, count, dtype=torch.int64)) for count in (sample.begin, sample.end)]
    x = torch.cat([text[0], images.to(text[0].dtype), text[1]], 1)
    hidden = model.lm(x, torch.zeros(batch, sample.length, dtype=torch.int64), None)
    first = sample.begin - 1
    return hidden[:, -1 - sample.replied:-1], hidden[:, first:first + sample.drawn].flatten(0, 1)


def _make_codes(model: Any, count: int) -> dict[str, Tensor]:
    return {name: torch.zeros(count, depth, dtype=torch.int64) for name, depth in model.visual_head.depths.items()}


def count_flops(model: Any, sample: Sample) -> dict[str, float]:
    """Return part -> FLOPs of a forward pass of one sample."""
    from torch.utils.flop_counter import FlopCounterMode
    counter = FlopCounterMode(display=False)
    ledger = FlopLedger(counter)
    ledger.watch('lm', model.lm, 'forward')
    ledger.watch(LOGITS, model.lm, 'text_logits')
    ledger.watch('visual embedding', model.visual_embedding, 'forward')
    if model.visual_head is not None:
        ledger.watch('visual head', model.visual_head, 'logits')
    with counter, fuse_attention(), torch.no_grad():
        text, drawn = _run(model, sample, 1)
        model.lm.text_logits(text)
        if len(drawn):
            model.visual_head.logits(drawn, _make_codes(model, len(drawn)))
    for part in (model.lm, model.visual_embedding, model.visual_head):
        for method in ('forward', 'text_logits', 'logits'):
            if part is not None and method in vars(part):
                object.__delattr__(part, method)
    return ledger.flops


def count_kept(model: Any, sample: Sample, half: bool) -> tuple[float, float]:
    """Return bytes that autograd keeps: of each sample, and beside the samples.

    Under autocast what the language model keeps takes half; visual heads run in float32 all the same.
    """
    per_sample, fixed = 0.0, 0.0
    found = [_keep(model, sample, batch) for batch in (1, 2)]
    for number, one in enumerate(zip(*found)):
        factor = 0.5 if half and number == 0 else 1.0
        per_sample += (one[1] - one[0]) * factor
        fixed += (2 * one[0] - one[1]) * factor
    return per_sample, max(fixed, 0.0)


def _keep(model: Any, sample: Sample, batch: int) -> tuple[int, int]:
    """Return bytes kept of a batch: by the language model with text, by the visual head."""
    lm, head = KeptBytes(model.parameters()), KeptBytes(model.parameters())
    with fuse_attention():
        with lm:
            text, drawn = _run(model, sample, batch)
            logits = model.lm.text_logits(text).float().flatten(0, 1)
            F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64), reduction='sum')
        with head:
            if len(drawn):
                model.visual_head.losses(drawn, _make_codes(model, len(drawn)))
    return lm.bytes, head.bytes
