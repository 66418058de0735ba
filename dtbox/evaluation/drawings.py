"""What a multimodal language model draws, as the frozen teacher sees it: does the drawing show what was asked for?"""
from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox import distributed
from dtbox.errors import InputError
from dtbox.evaluation.drawing_ranks import REAL, RECONSTRUCTION, SHUFFLED, Ranking, rank_drawings
from dtbox.evaluation.frechet_distance import SOURCE, Moments
from dtbox.evaluation.functional import frechet_distance, psnr, recall_at, to_unit
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.likelihood import take_drawn
from dtbox.evaluation.means import Means
from dtbox.registry import METRICS
from dtbox.structures import Batch
from dtbox.values import Positive

DRAWN = 'drawn'
"""Label of drawings that come from files."""
ANCHORS = {SHUFFLED: 'images of other prompts', RECONSTRUCTION: 'reconstructions', REAL: 'real images'}
"""Label of an anchor -> for people, floors first."""
_nameless = itertools.count()  # of the process, so that merged metrics never mistake two images for one


def list_images(outputs: Any) -> dict[str, Tensor]:
    """Return label -> [B,S,3,H,W] in [-1, 1] of the drawings, and of the reconstructions where there are some.

    Raises:
        InputError: a label that is one of an anchor, or cannot be part of a name.
    """
    drawings = getattr(outputs, 'drawings', {})  # a TokenizerOutput has none
    wrong = [label for label in drawings
             if label in (REAL, RECONSTRUCTION, SHUFFLED) or not label or set(label) & set(' /|@')]
    if wrong:
        raise InputError(f'drawings have the label {wrong[0]!r}; expected one without spaces, `/`, `|` and `@`, other '
                         f'than {REAL}, {RECONSTRUCTION} and {SHUFFLED}, such as s=2.')
    images = dict(drawings)
    if outputs.reconstructions is not None:
        images[RECONSTRUCTION] = outputs.reconstructions[:, None]
    return {label: value.detach().clamp(-1, 1) for label, value in images.items()}


def list_beside(name: str, labels: Sequence[str] = tuple(ANCHORS)) -> list[tuple[str, str]]:
    """Return what a family NAME/LABEL of scores of drawings is compared with."""
    return [(ANCHORS[label], f'{name}/{label}') for label in labels]


def describe_anchor(info: MetricInfo, label: str) -> MetricInfo:
    """Return the info of an anchor of a family: no score of the model, never ranked nor among the headlines."""
    name = info.name.replace('{label}', label)
    return replace(info, name=name, label=f'{info.label}, {ANCHORS[label]}', direction='none', headline=0, beside=(),
                   samples=info.samples.replace('{label}', label))


SCORES = [
    MetricInfo('drawing_t2i_r{k}/{label}', 'prompt to drawing R@{k}', '', '.1%', 'higher', 'drawing', order=1,
               headline=12, samples='drawings/t2i_{label}<{k}', beside=list_beside('drawing_t2i_r{k}')),
    MetricInfo('drawing_i2t_r{k}/{label}', 'drawing to prompt R@{k}', '', '.1%', 'higher', 'drawing', order=2,
               samples='drawings/i2t_{label}<{k}', beside=list_beside('drawing_i2t_r{k}')),
    MetricInfo('drawing_cosine/{label}', 'drawing, cosine to real', '', '.3f', 'higher', 'drawing', order=3,
               beside=list_beside('drawing_cosine', (SHUFFLED, RECONSTRUCTION))),
    MetricInfo('drawing_psnr/{label}', 'drawing, PSNR', 'dB', '.2f', 'higher', 'drawing', order=4,
               beside=list_beside('drawing_psnr', (RECONSTRUCTION,)))]
FRECHET = MetricInfo('drawing_frechet/{label}', 'drawing, Frechet, teacher space', '', '.4g', 'lower', 'drawing',
                     order=5, beside=list_beside('drawing_frechet', (RECONSTRUCTION,)))


@METRICS.register_module()
class DrawingScore(Means):
    """`drawing_t2i_rK/LABEL` (a prompt finds its drawing among those of all prompts), `drawing_i2t_rK/LABEL` (a drawing
    finds its prompt), `drawing_cosine/LABEL` and `drawing_psnr/LABEL` (beside the real image), for each way of
    sampling.

    The judge is the context's `teacher` with its `embed_text`. Values are means over sampling seeds; each seed is
    ranked by itself. Anchors stand beside them: the labels `real`, `reconstruction` where the outputs have some, and
    `shuffled`, each prompt with the real image that stands half the set away in the order of keys. Equal prompts are
    one text; ties count against. `queries` has the places and the cosine of each prompt and seed.

    Args:
        ks: the K.
        prefix: see Metric.
    """
    info = [*(describe_anchor(info, label) for info in SCORES for label in ANCHORS), *SCORES]
    requires = ('drawings', 'prompts', 'context.teacher', 'context.embed_text')
    uses = ('reconstructions',)
    merges = False

    def __init__(self, ks: Sequence[Positive] = (1, 5), prefix: str = '') -> None:
        super().__init__(prefix)
        self.ks = tuple(ks)

    def reset(self) -> None:
        """See Metric."""
        super().reset()
        self.pairs: list[tuple[str, str]] = []  # (key, prompt) of each image
        self.rows: dict[str, list[Tensor]] = {}
        self.ranking: Ranking | None = None

    def update(self, batch: Batch, outputs: Any) -> None:
        """See Metric."""
        keys = batch.keys or [f'rank {distributed.get_rank()}, sample {next(_nameless)}' for _ in outputs.images]
        outputs, index = take_drawn(self, outputs)
        keys = [keys[i] for i in index.tolist()]
        real = F.normalize(self.context.teacher(outputs.images).float(), dim=-1)
        rows = dict(text=self.context.embed_text(list(outputs.prompts)), real=real)
        for label, images in list_images(outputs).items():
            seeds = [images[:, s] for s in range(images.shape[1])]
            rows[label] = torch.stack([F.normalize(self.context.teacher(x).float(), dim=-1) for x in seeds], 1)
            self.note(f'drawing_cosine/{label}', (rows[label] * real[:, None]).sum(-1).mean(1), index)
            target = to_unit(outputs.images)
            self.note(f'drawing_psnr/{label}', torch.stack([psnr(to_unit(x), target) for x in seeds]).mean(0), index)
        if self.rows and rows.keys() != self.rows.keys():
            raise InputError(f'this batch has images of {sorted(rows)}, earlier ones of {sorted(self.rows)}; expected '
                             'the same ways of sampling in every batch.')
        self.ranking = None
        self.pairs += [(str(key), prompt) for key, prompt in zip(keys, outputs.prompts)]
        for label, value in rows.items():
            self.rows.setdefault(label, []).append(value.detach().float().cpu().flatten(1))

    def sync(self) -> None:
        """See Metric."""
        if self.synced:
            return
        super().sync()
        self.ranking = None
        parts = distributed.gather_objects((self.pairs, list(self.rows)))
        self.pairs = [pair for pairs, _ in parts for pair in pairs]
        labels = dict.fromkeys(label for _, labels in parts for label in labels)
        self.rows = {label: [distributed.gather_rows(torch.cat(self.rows.get(label) or [torch.zeros(0, 0)]))]
                     for label in labels}

    def values(self) -> dict[str, float]:
        """See Metric."""
        values = self.means()
        ranking = self._rank()
        values[f'drawing_cosine/{SHUFFLED}'] = float(ranking.cosines[SHUFFLED].double().mean())
        for way, labels in ranking.places.items():
            values.update({f'drawing_{way}_r{k}/{label}': sum(recall_at(seed, k) for seed in seeds) / len(seeds)
                           for label, seeds in labels.items() for k in self.ks})
        return values

    def queries(self) -> dict[str, tuple[list[str], dict[str, np.ndarray]]]:
        """See Metric: the group `drawings` has a row for each image, prompt of it and sampling seed, with the columns
        that `Ranking.table` describes."""
        if not self.pairs:
            return {}
        ranking = self._rank()
        return {f'{self.prefix}/drawings' if self.prefix else 'drawings': (ranking.list_keys(), ranking.table())}

    def _rank(self) -> Ranking:
        """Return the Ranking of what was seen; computed once."""
        if self.ranking is None:
            self.ranking = rank_drawings(self.pairs, {label: torch.cat(parts) for label, parts in self.rows.items()})
        return self.ranking


class DrawingMoments(Moments):
    """Base of Frechet distances of drawings and real images: the drawings of each sampling seed by themselves, mean
    over seeds; as many drawings as images."""

    def embed(self, images: Tensor) -> Tensor:
        """images [B,3,H,W], nominally in [-1, 1] -> features [B,E]."""
        raise NotImplementedError(f'{type(self).__name__} must write embed(images).')

    def name(self, label: str) -> str:
        """Return the name of the value of a label."""
        raise NotImplementedError(f'{type(self).__name__} must write name(label).')

    def reset(self) -> None:
        """See Metric."""
        super().reset()
        self.streams: set[str] = set()

    def update(self, batch: Batch, outputs: Any) -> None:
        """See Metric."""
        outputs, _ = take_drawn(self, outputs)
        size = len(outputs.images)
        parts = {f'{label}|{seed}': images[:, seed] for label, images in list_images(outputs).items()
                 for seed in range(images.shape[1])}
        if self.streams and parts.keys() != self.streams:
            raise InputError(f'this batch has drawings of {sorted(parts)}, earlier ones of {sorted(self.streams)}; '
                             'expected the same ways of sampling in every batch.')
        self.streams = set(parts)
        for stream, images in {SOURCE: outputs.images, **parts}.items():
            self.collect(stream, self.embed(images), size)

    def values(self) -> dict[str, float]:
        """See Metric."""
        n, distances = self.enough(SOURCE), {}
        streams = sorted(name.partition('/')[0] for name in self.state if '|' in name and name.endswith('/sum'))
        for stream in streams if n else ():
            label = stream.partition('|')[0]
            distances.setdefault(label, []).append(
                frechet_distance(*self.moments(SOURCE, n), *self.moments(stream, n)))
        return {self.name(label): sum(found) / len(found) for label, found in distances.items()}


@METRICS.register_module()
class DrawingFrechet(DrawingMoments):
    """`drawing_frechet/LABEL`: Frechet distance, in the teacher's space, of the drawings of a sampling seed and the
    real images, mean over seeds; as many drawings as images. `reconstruction` stands beside them. See
    `FrechetDistance`."""
    info = [describe_anchor(FRECHET, RECONSTRUCTION), FRECHET]
    requires = ('drawings', 'context.teacher')
    uses = ('reconstructions',)

    def embed(self, images: Tensor) -> Tensor:
        """See DrawingMoments."""
        return self.context.teacher(images)

    def name(self, label: str) -> str:
        """See DrawingMoments."""
        return f'drawing_frechet/{label}'
