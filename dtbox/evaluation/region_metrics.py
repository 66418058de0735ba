"""Where in an image reconstruction fails, and what single regions mean: metrics over the masks of objects (COCO, LVIS).

Values name what they are about: `SIZE` small, medium or large (by COCO's areas in the original image), `GRADE` rare,
common or frequent (LVIS). Each object counts once.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox import distributed
from dtbox.evaluation.base import Metric
from dtbox.evaluation.context import EvalContext
from dtbox.evaluation.functional import to_unit
from dtbox.evaluation.functional.ranking import TIE
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.names import SIDES
from dtbox.evaluation.zeroshot import compute_class_vectors
from dtbox.registry import METRICS
from dtbox.structures import Batch, Regions, TokenizerOutput

WORST = 24
"""Objects of which `worst` keeps what is needed to draw them."""


def list_groups(regions: Regions, i: int) -> list[str]:
    """Names of the groups that object `i` belongs to: all, its size, its frequency."""
    return ['objects', regions.sizes[i], *([regions.frequencies[i]] if regions.frequencies[i] else [])]


@METRICS.register_module()
class RegionError(Metric):
    """`region_psnr/GROUP` [dB] and `region_l1/GROUP`, GROUP being `objects`, SIZE, GRADE, or `background` (what is in
    no mask).

    PSNR is that of the squared error inside a mask, of reconstructions clamped, in [0, 1], averaged over objects; L1
    the absolute error in units of [-1, 1]. `region_count/GROUP` says over how many.
    """
    info = [MetricInfo('region_psnr/{group}', 'PSNR', 'dB', '.2f', 'higher', 'reconstruction', order=40),
            MetricInfo('region_l1/{group}', 'L1', '', '.4f', 'lower', 'reconstruction', order=41),
            MetricInfo('region_count/{group}', 'masks', '', ',.0f')]
    requires = ('reconstructions', 'batch.regions')
    merges = False

    def reset(self) -> None:
        """See Metric."""
        super().reset()
        self.worst: list[dict[str, Any]] = []

    def update(self, batch: Batch, outputs: TokenizerOutput) -> None:
        """See Metric."""
        error = to_unit(outputs.reconstructions) - to_unit(outputs.images)
        squared, absolute = error.square().mean(1), error.abs().mean(1) * 2
        for b, regions in enumerate(batch.regions):
            if not len(regions):
                self.leave_out('images without objects', 1)
                continue
            masks = regions.masks.to(squared.device)
            for i, mask in enumerate(masks):
                mse, l1 = squared[b][mask].mean(), absolute[b][mask].mean()
                for group in list_groups(regions, i):
                    self._note(group, mse, l1)
                self._remember(batch, outputs, b, i, mse)
            rest = ~masks.any(0)
            if rest.any():
                self._note('background', squared[b][rest].mean(), absolute[b][rest].mean())

    def _note(self, group: str, mse: Tensor, l1: Tensor) -> None:
        self.add(f'{group}/psnr', -10 * torch.log10(mse + 1e-8))
        self.add(f'{group}/l1', l1)
        self.add(f'{group}/n', torch.tensor(1))

    def _remember(self, batch: Batch, outputs: TokenizerOutput, b: int, i: int, mse: Tensor) -> None:
        """Keep the worst objects, to draw them."""
        regions, value = batch.regions[b], float(mse)
        if len(self.worst) == WORST and value <= self.worst[-1]['mse']:
            return
        self.worst.append(dict(
            mse=value, key=batch.keys[b] if batch.keys else '', id=regions.ids[i], category=regions.categories[i],
            size=regions.sizes[i], image=outputs.images[b].cpu(), reconstruction=outputs.reconstructions[b].cpu(),
            mask=regions.masks[i].cpu()))
        self.worst = sorted(self.worst, key=lambda w: -w['mse'])[:WORST]

    def sync(self) -> None:
        """See Metric."""
        if self.synced:
            return
        super().sync()
        worst = [w for part in distributed.gather_objects(self.worst) for w in part]
        self.worst = sorted(worst, key=lambda w: (-w['mse'], w['key'], w['id']))[:WORST]

    def values(self) -> dict[str, float]:
        """See Metric."""
        values = {}
        for group in _groups(self.state):
            n = self.state[f'{group}/n']
            values.update({f'region_psnr/{group}': self.state[f'{group}/psnr'] / n,
                           f'region_l1/{group}': self.state[f'{group}/l1'] / n, f'region_count/{group}': n})
        return values


@METRICS.register_module()
class RegionZeroShot(Metric):
    """`region_top1/GROUP/SIDE`: fraction of objects whose category is the most similar name to the pooled tokens inside
    their mask.

    SIDE is `tokens` (quantized, after the rest of the trunk) or `teacher`. The names are those of all categories of the
    data, in every template.

    Args:
        templates: sentences with `{}` for the name, or the name of a set of templates (see ZeroShot).
        prefix: see Metric.
    """
    info = [MetricInfo('region_top1/{group}', 'category top-1', '', '.1%', 'higher', 'semantics', order=14)]
    requires = ('batch.regions', 'context.classes', 'context.embed_text', 'context.pool_regions')
    uses = ('last', 'teacher.last')
    merges = False

    def __init__(self, templates: str | Sequence[str] = ('a photo of a {}',), prefix: str = '') -> None:
        self.templates = templates
        self.vectors: dict[str, Tensor] = {}
        super().__init__(prefix)

    def setup(self, context: EvalContext) -> None:
        """See Metric."""
        super().setup(context)
        self.vectors = {}

    def update(self, batch: Batch, outputs: TokenizerOutput) -> None:
        """See Metric."""
        masks = [r.masks for r in batch.regions]
        if not any(len(m) for m in masks):
            self.leave_out('images without objects', len(batch))
            return
        if 'classes' not in self.vectors:
            self.vectors['classes'] = compute_class_vectors(self.context, self.templates)
        vectors = self.vectors['classes']
        teacher = outputs.teacher.last if outputs.teacher is not None else None
        for side in SIDES:
            last, pool = outputs.last if side == 'tokens' else teacher, self.context.pool_regions.get(side)
            if last is None or pool is None:
                self.leave_out(f'no tokens of the {side} to pool', len(batch))
                continue
            for regions, rows in zip(batch.regions, pool(last, masks)):
                if len(regions) and rows.shape[1] != vectors.shape[1]:
                    self.leave_out(f'{side} embeds to {rows.shape[1]} numbers, texts to {vectors.shape[1]}', 1)
                elif len(regions):
                    self._score(side, regions, F.normalize(rows.detach().cpu().double(), dim=1) @ vectors.T)

    def _score(self, side: str, regions: Regions, scores: Tensor) -> None:
        for i, category in enumerate(regions.categories):
            right = scores[i, category]
            place = int((scores[i] >= right - TIE).sum()) - 1
            for group in list_groups(regions, i):
                self.add(f'{group}/{side}/hits', torch.tensor(float(place == 0)))
                self.add(f'{group}/{side}/n', torch.tensor(1))

    def values(self) -> dict[str, float]:
        """See Metric."""
        return {f'region_top1/{group}': self.state[f'{group}/hits'] / self.state[f'{group}/n']
                for group in _groups(self.state)}


def _groups(state: dict[str, Tensor]) -> list[str]:
    """Names of the groups (with their side) that a state has counted."""
    return sorted({name.rpartition('/')[0] for name in state if name.endswith('/n')})
