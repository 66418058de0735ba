"""What a multimodal language model takes before it is trained: parameters, places, codes, FLOPs, memory.

Two samples are counted: a drawing (text, then an image whose codes are predicted) and a caption (an image, then text
that is predicted). FLOPs are those of the forward pass, as in `describe`; heads run on the targets alone. The codes of
images are computed once and kept (`CodeCache`), so the frozen tokenizer takes no part in a step.

Legend: B samples, T places of a sequence, N visual places of an image, P places that are targets, H width.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor

from dtbox.lms.lora import is_adapter
from dtbox.lms.special_rows import SpecialRows
from dtbox.sizing.describe import Description, Part, count_search
from dtbox.sizing.mllm_build import build_mllm_without_memory
from dtbox.sizing.tracing import FlopLedger, KeptBytes, fuse_attention

TEXT = 32
"""Text tokens beside an image, where nothing else is said."""
FROZEN = ('tokenizer', 'judge')
"""Parts that take no part in a training step."""
DRAWING, CAPTION = 'drawing', 'caption'
LOGITS = 'text logits'


@dataclass
class MLLMDescription(Description):
    """Result of `describe_mllm`; `parts` have the FLOPs of a drawing, `tokens` are the places of an image.

    Attributes:
        captions: part -> FLOPs of one forward pass of a caption.
        lengths: kind of sample -> its places T.
        text: text tokens of a sample.
        context: places that the language model reads.
        fixed: bytes that autograd keeps whatever the batch is: gradients of classifiers.
        at_once: most samples that are computed at a time (`micro_batch`); None for all.
        special: special tokens of images that have rows of their own.
    """
    captions: dict[str, float] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    text: int = TEXT
    context: int = 0
    fixed: float = 0.0
    at_once: int | None = None
    special: int = 0

    def step_flops(self, kind: str = DRAWING) -> float:
        """FLOPs of one training step for one sample of a kind, in forward passes of each part.

        A part that learns counts 3 (forward, gradients of inputs and of weights). A language model that is frozen
        counts 2, since gradients pass through it. One more where blocks are recomputed. Tokenizer and judge count 0.
        """
        flops = {name: part.flops if kind == DRAWING else self.captions.get(name, 0.0)
                 for name, part in self.parts.items()}
        trained = {name: part.trained for name, part in self.parts.items()}
        trained[LOGITS] = trained['lm']  # its table is counted there
        return sum(flops[name] * ((3 if trained[name] else 2) + part.recomputed)
                   for name, part in self.parts.items() if name not in FROZEN)

    def state_bytes(self) -> int:
        """Bytes that do not depend on the batch: weights in their types, gradients and Adam's moments, buffers."""
        own = sum(part.size * (part.parameters + 3 * part.trained) for part in self.parts.values())
        return own + self.buffers + int(self.fixed)

    def memory(self, batch: int) -> float:
        """Bytes of a GPU at `batch` samples, of which `at_once` are computed at a time."""
        return self.state_bytes() + min(batch, self.at_once or batch) * self.activations

    def largest_batch(self, room: float) -> int:
        """Return the largest batch, computed at a time, that fits into `room` bytes."""
        return max(0, int((room - self.state_bytes()) // self.activations))


def describe_mllm(cfg: Config, text: int = TEXT) -> MLLMDescription:
    """Count a multimodal language model; no weights are read.

    Args:
        cfg: resolved config of a recipe of MLLMTask.
        text: text tokens of a sample, beside its image.

    Returns:
        MLLMDescription.

    Raises:
        InputError: a model that cannot be built.
    """
    missing: list[str] = []
    model, judge = build_mllm_without_memory(cfg, missing)
    keep = float(cfg.model.get('keep_share') or 1.0)
    parts = _list_parts(model)
    with torch.device('meta'):
        parts = {'tokenizer': _measure_tokenizer(model.tokenizer), **parts}
        samples = {kind: Sample.of(kind, model, text, keep) for kind in (DRAWING, CAPTION)}
        flops = {kind: _count_flops(model, sample) for kind, sample in samples.items()}
        half = cfg.model.get('amp') == 'bfloat16' or cfg.get('amp') == 'bfloat16'
        kept = [_count_kept(model, sample, half) for sample in samples.values()]
    if judge is not None:
        parts['judge'] = _count(judge.parameters())
    for name, part in parts.items():
        part.flops = part.flops or flops[DRAWING].get(name, 0.0)
    sizes = model.tables.sizes
    streams = {name: (model.tables.places, len(depths), max(depths)) for name, depths in sizes.items()}
    modules = [model, model.tokenizer.model] + ([] if judge is None else [judge])
    buffers = {id(b): b.numel() * b.element_size() for module in modules for b in module.buffers()}
    return MLLMDescription(
        parts, model.places, model.tokenizer.model.budget().bits, streams, sum(buffers.values()),
        max(sample for sample, _ in kept), missing=missing, captions=flops[CAPTION], text=text,
        lengths={kind: sample.length for kind, sample in samples.items()}, context=model.lm.context_length,
        fixed=max(fixed for _, fixed in kept), at_once=cfg.model.get('micro_batch'),
        special=sum(len(m) for m in model.lm.modules() if isinstance(m, SpecialRows)))


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


def _list_parts(model: Any) -> dict[str, Part]:
    """Return the parts of a MultimodalLM without FLOPs: adapters and special rows apart."""
    special = {id(p) for m in model.lm.modules() if isinstance(m, SpecialRows) for p in m.parameters()}
    adapters = {id(p) for name, p in model.lm.named_parameters() if is_adapter(name)}
    groups = {'lm': [p for p in model.lm.parameters() if id(p) not in special | adapters],
              'lm adapters': [p for p in model.lm.parameters() if id(p) in adapters],
              'special rows': [p for p in model.lm.parameters() if id(p) in special],
              LOGITS: [], 'visual embedding': list(model.visual_embedding.parameters()),
              'visual head': [] if model.visual_head is None else list(model.visual_head.parameters())}
    parts = {name: _count(own) for name, own in groups.items() if own or name == LOGITS}
    parts['lm'].recomputed = bool(getattr(model.lm, 'recompute', False))
    if 'visual head' in parts:
        parts['visual head'].recomputed = any(getattr(m, 'recompute', False) is True
                                              for m in model.visual_head.modules())
    return parts


def _count(parameters: Any) -> Part:
    own = list(parameters)
    size = max((p.element_size() for p in own), default=4)
    return Part(sum(p.numel() for p in own), sum(p.numel() for p in own if p.requires_grad), size=size)


def _measure_tokenizer(tokenizer: Any) -> Part:
    """Return the Part of a frozen tokenizer, with the FLOPs of encoding an image."""
    from torch.utils.flop_counter import FlopCounterMode
    part = _count(tokenizer.model.parameters())
    with FlopCounterMode(display=False) as counter:
        tokenizer.encode(torch.zeros(1, 3, *tokenizer.model.image_size))
    part.flops = counter.get_total_flops() + sum(count_search(s) for s in tokenizer.model.streams.values())
    return part


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


def _count_flops(model: Any, sample: Sample) -> dict[str, float]:
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


def _count_kept(model: Any, sample: Sample, half: bool) -> tuple[float, float]:
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
