"""What a multimodal language model takes before it is trained: parameters, places, codes, FLOPs, memory.

Two samples are counted: a drawing (text, then an image whose codes are predicted) and a caption (an image, then text
that is predicted). FLOPs are those of the forward pass, as in `describe`; heads run on the targets alone. The codes of
images are computed once and kept (`CodeCache`), so the frozen tokenizer takes no part in a step.

Legend: B samples, T places of a sequence, N visual places of an image, P places that are targets, H width.
"""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from mmengine.config import Config

from dtbox.lms.lora import is_adapter
from dtbox.lms.special_rows import SpecialRows
from dtbox.sizing.describe import Description, Part, count_search
from dtbox.sizing.mllm_build import build_mllm_without_memory
from dtbox.sizing.mllm_memory import FROZEN, Pieces, measure_memory
from dtbox.sizing.mllm_passes import CAPTION, DRAWING, LOGITS, Sample, count_flops, count_kept, set_recompute
from dtbox.sizing.mllm_streams import StreamCost, count_streams

TEXT = 32
"""Text tokens beside an image, where nothing else is said."""


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
        pieces: what is gathered and copied at a time.
        kept: whether blocks are recomputed -> `activations` in that case.
        shards: GPUs that divide the model (FSDP2); 1 where each holds all of it.
        added: what each stream adds.
    """
    captions: dict[str, float] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    text: int = TEXT
    context: int = 0
    fixed: float = 0.0
    at_once: int | None = None
    special: int = 0
    pieces: Pieces = Pieces()
    kept: dict[bool, float] = field(default_factory=dict)
    shards: int = 1
    added: dict[str, StreamCost] = field(default_factory=dict)

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
        """Bytes of a GPU that do not depend on the batch: weights in their types, gradients, Adam's moments, buffers,
        and what FSDP2 gathers."""
        return int(measure_memory(self, 0, self.shards).total)

    def memory(self, batch: int) -> float:
        """Bytes of a GPU at `batch` samples, of which `at_once` are computed at a time."""
        return measure_memory(self, batch, self.shards).total

    def largest_batch(self, room: float) -> int:
        """Return the largest batch, computed at a time, that fits into `room` bytes."""
        one, two = (measure_memory(replace(self, at_once=None), batch, self.shards).total for batch in (1, 2))
        return max(0, int((room - one) // (two - one)) + 1)


def describe_mllm(cfg: Config, text: int = TEXT, gpus: int = 1) -> MLLMDescription:
    """Count a multimodal language model; no weights are read.

    Args:
        cfg: resolved config of a recipe of MLLMTask.
        text: text tokens of a sample, beside its image.
        gpus: their number, by which FSDP2 divides the model.

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
        flops = {kind: count_flops(model, sample) for kind, sample in samples.items()}
        half = cfg.model.get('amp') == 'bfloat16' or cfg.get('amp') == 'bfloat16'
        kept = [count_kept(model, sample, half) for sample in samples.values()]
        added, either = count_streams(model, cfg.model), {}
        for again in (False, True):
            set_recompute(model, again)
            either[again] = max(count_kept(model, sample, half)[0] for sample in samples.values())
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
        special=sum(len(m) for m in model.lm.modules() if isinstance(m, SpecialRows)),
        pieces=Pieces.of(model, half), kept=either, added=added,
        shards=gpus if (cfg.get('model_wrapper_cfg') or {}).get('type') == 'FSDP2' else 1)


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
