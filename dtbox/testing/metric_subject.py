"""The metric under test, and what it measures: twelve images with everything that a metric may read.

Legend: n images, N tokens, Q codes per token, D feature width, E width of embeddings, S pixels.
"""
from __future__ import annotations

from dataclasses import fields
from typing import Any, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.evaluation.base import EvalContext, Metric
from dtbox.evaluation.probes import Bank
from dtbox.mllm_output import MLLMOutput, Reply
from dtbox.questions import Question
from dtbox.registry import METRICS
from dtbox.structures import Batch, Regions, TeacherOutput, TokenizerOutput, take
from dtbox.testing.rank_group import Ranks
from dtbox.testing.subject import DoesNotApply, Subject, make_generator, require

COUNT = 12
N = 16
D = 6
E = 8
S = 32
CLASSES = 4
SIZES = dict(pixel=(2, [16, 16]), semantic=(1, [8]))
"""Vocabulary -> (Q, sizes of its codebooks)."""


class MetricSubject(Subject):
    """A metric under test: twelve images with everything that a metric may read, and a context."""
    registry, base = METRICS, Metric

    def __init__(self, cfg: dict, plugins: str | Sequence[str] = (), ranks: Ranks | None = None):
        super().__init__(cfg, plugins, ranks)
        names = [name for name in (*self.build().requires, *self.build().uses)
                 if name.startswith(('features.', 'codes.'))]
        self.outputs: Any
        self.vocabularies = list(dict.fromkeys([*(name.split('.')[1] for name in names), *SIZES]))
        self.batch, self.outputs = self._make()
        if reads_mllm(self.build()):
            self.outputs = make_mllm_output(self.outputs.images)

    def build(self, seed: int = 1, **changes: Any) -> Metric:
        """Return a new metric that knows the context."""
        metric = super().build(seed, **changes)
        if isinstance(metric, Metric):
            metric.setup(make_context())
        return metric

    def _make(self) -> tuple[Batch, TokenizerOutput]:
        rng = make_generator(0)
        images = torch.rand(COUNT, 3, S, S, generator=rng) * 2 - 1
        text, tokens = torch.randn(COUNT, E, generator=rng), torch.randn(COUNT, N, D, generator=rng)
        sizes = {name: SIZES.get(name, SIZES['pixel']) for name in self.vocabularies}
        codes = {name: torch.stack([torch.randint(0, k, (COUNT, N), generator=rng) for k in ks], -1)
                 for name, (_, ks) in sizes.items()}
        outputs = TokenizerOutput(
            images=images, reconstructions=images + 0.2 * torch.randn(images.shape, generator=rng), codes=codes,
            features={name: tokens + 0.3 * torch.randn(tokens.shape, generator=rng) for name in self.vocabularies},
            losses={name: dict(commitment=torch.tensor(0.1)) for name in self.vocabularies},
            pooled=text + 0.8 * torch.randn(text.shape, generator=rng), text_pooled=text, logit_scale=torch.tensor(2.0),
            logit_bias=torch.tensor(0.0), last=torch.randn(COUNT, N, E, generator=rng),
            teacher=TeacherOutput(tokens=tokens, pooled=text + 0.5 * torch.randn(text.shape, generator=rng),
                                  last=torch.randn(COUNT, N, E, generator=rng)))
        batch = Batch(
            images=(images * 127.5 + 127.5).byte(), texts=[f'text {i}' for i in range(COUNT)],
            labels=torch.randint(0, CLASSES, (COUNT,), generator=rng), sets=['set'] * COUNT,
            keys=[f'clip{i // 6}/{i % 6}' for i in range(COUNT)], regions=[make_regions(i) for i in range(COUNT)])
        return batch, outputs

    def part(self, start: int, stop: int) -> tuple[Batch, Any]:
        """Return images start .. stop - 1."""
        index = torch.arange(start, stop)
        return take(self.batch, index, COUNT), take(self.outputs, index, COUNT)

    def measure(self, *ends: int, metric: Metric | None = None) -> Metric:
        """Return a metric that saw all images, in batches that end at `ends`."""
        metric, start = metric or self.build(), 0
        for stop in ends:
            metric.process(*self.part(start, stop))
            start = stop
        return metric

    def measured(self) -> Metric:
        """Return a metric that saw all images at once; leaves the check where it measured nothing."""
        metric = self.measure(COUNT)
        if not metric.compute():
            require(metric.skipped, 'there are no values, and `skipped` does not say why.')
            raise DoesNotApply(f'nothing could be measured here: {metric.skipped}.')
        return metric


def reads_mllm(metric: Metric) -> bool:
    """Whether a metric requires what an MLLMOutput has and a TokenizerOutput has not."""
    names, ours = ({f.name for f in fields(kind)} for kind in (MLLMOutput, TokenizerOutput))
    return any(name.partition('.')[0] in names - ours for name in metric.requires)


def make_mllm_output(images: Tensor) -> MLLMOutput:
    """Return an MLLMOutput of images [B,3,S,S] that has everything: some replies are right, some samples have none."""
    rng = make_generator(5)
    size = len(images)
    kinds = ('caption', 'closed_loop', 'colour')
    replies = [[Reply(kind, 'what?', f'text {i} of {kind}', f'text {i + i % 2} of {kind}')
                for kind in kinds[:1 + i % 4]] for i in range(size)]
    for i in range(size - 2):
        replies[i].append(make_benchmark_reply(i))
    nats = {name: torch.rand(size, depths, generator=rng) for name, (depths, _) in SIZES.items()}
    drawings = {label: images[:, None] + noise * torch.randn(size, 2, 3, S, S, generator=rng)
                for label, noise in (('s=1', 0.5), ('s=2', 0.2))}
    return MLLMOutput(images, reconstructions=images + 0.1 * torch.randn(images.shape, generator=rng), replies=replies,
                      drawings=drawings, prompts=[f'text {i}' for i in range(size)], nats=nats,
                      nats_without={name: value + 0.1 for name, value in nats.items()})


def make_benchmark_reply(i: int) -> Reply:
    """Return the reply to question i of a benchmark; two questions are about one image and scored together."""
    asked = Question(f'q{i}', i, 'yes?', ('yes' if i % 3 else 'no',), f'part {i // 2 % 2}', dict(A='yes', B='no'),
                     group=f'q{i - i % 2}')
    return Reply('benchmark', 'yes?', asked.answers[0], 'Yes' if i % 2 else 'no, B', asked=asked)


def make_context() -> EvalContext:
    """Return an EvalContext that has everything."""
    bank = Bank({side: torch.randn(40, E, generator=make_generator(i)) for i, side in enumerate(('teacher', 'tokens'))},
                torch.arange(40) % CLASSES)
    return EvalContext(
        classes=[f'class {i}' for i in range(CLASSES)], embed_text=embed_text, teacher=embed_images,
        vocabularies=dict(SIZES), pool_regions=dict(teacher=pool_masks, tokens=pool_masks), bank=lambda: bank)


def make_regions(i: int) -> Regions:
    """Return the regions of image i: one or two, with masks [M,S,S]."""
    count = 1 + i % 2
    masks = torch.zeros(count, S, S, dtype=torch.bool)
    masks[0, :S // 2, :S // 2], masks[-1, S // 2:, S // 2:] = True, True
    return Regions(categories=[(i + m) % CLASSES for m in range(count)], sizes=['small', 'large'][:count],
                   frequencies=['rare', 'common'][:count], ids=[f'{i}-{m}' for m in range(count)], masks=masks)


def embed_text(texts: list[str]) -> Tensor:
    """Return unit vectors [T, E] that depend on the texts alone."""
    return F.normalize(torch.stack([torch.randn(E, generator=make_generator(sum(map(ord, text)))) for text in texts]),
                       dim=1)


def embed_images(images: Tensor) -> Tensor:
    """images [B,3,H,W] -> [B, E]."""
    return F.adaptive_avg_pool2d(images, 2).flatten(1)[:, :E] * 3


def pool_masks(last: Tensor, masks: list[Tensor]) -> list[Tensor]:
    """last [B,N,E], masks of B images -> B tensors [M,E]: the mean token, weighted by what the mask covers."""
    weights = [F.adaptive_avg_pool2d(m.float()[:, None], (4, 4)).flatten(1) for m in masks]
    return [w @ rows / w.sum(1, keepdim=True) for w, rows in zip(weights, last)]
