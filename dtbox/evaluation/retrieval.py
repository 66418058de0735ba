"""Retrieval between images and captions, by the teacher's embeddings and by the tokens', side by side.

The one metric that keeps embeddings: it gathers them once, at the end, from ranks that hold different numbers.
"""
from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox import distributed
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.evaluation.base import Metric
from dtbox.evaluation.context import REASONS
from dtbox.evaluation.functional import match_pairs, places, recall_at
from dtbox.evaluation.functional.ranking import TIE
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.names import SIDES
from dtbox.registry import METRICS
from dtbox.structures import Batch, TokenizerOutput
from dtbox.values import Positive

UNKNOWN = 'the teacher does not know these images (its R@1 is that of guessing): nothing of it can be kept'
_nameless = itertools.count()  # of the process, so that merged metrics never mistake two images for one


def collect_side_embeddings(outputs: TokenizerOutput) -> dict[str, Tensor | None]:
    """Return side -> pooled embedding [B,E] of the images or None: the teacher's, and the tokens' from the head."""
    return dict(teacher=outputs.teacher.pooled if outputs.teacher is not None else None, tokens=outputs.pooled)


@METRICS.register_module()
class Retrieval(Metric):
    """`t2i_rK/SIDE` and `i2t_rK/SIDE`, SIDE being `teacher` or `tokens`; `kept`, the tokens' mean R@1 over the
    teacher's.

    The mean R@1 is that of both directions. An image has the captions that the batch lists (`captions`, five each in
    COCO and Flickr), or else its `texts`; samples of one key are one image, equal captions one text; with several right
    answers the best one counts, and each caption is a query of its own. Ties count against. Images without a caption
    are left out. Texts are embedded by the outputs' `text_pooled`, where the batch has one text an image, or else by
    the context's `embed_text`.

    Args:
        ks: the K of R@K.
        most: captions of an image that are used, the first ones; None for all (COCO has a few images with six or seven,
            of which CLIP's protocol takes five).
        block: texts embedded at a time.
        prefix: see Metric.
    """
    info = [MetricInfo('t2i_r{k}', 'text to image R@{k}', '', '.1%', 'higher', 'semantics', order=8, headline=5,
                       samples='t2i/{side}<{k}'),
            MetricInfo('i2t_r{k}', 'image to text R@{k}', '', '.1%', 'higher', 'semantics', order=9, headline=6,
                       samples='i2t/{side}<{k}'),
            MetricInfo('kept', 'mean R@1 kept by tokens', '', '.1%', 'higher', 'semantics', order=10, side='tokens')]
    requires = ('batch.texts',)
    uses = ('pooled', 'teacher.pooled', 'text_pooled', 'context.embed_text', 'batch.captions')
    merges = False

    def __init__(self, ks: Sequence[Positive] = (1, 5, 10), most: Positive | None = None, block: Positive = 256,
                 prefix: str = '') -> None:
        super().__init__(prefix)
        self.ks, self.most = tuple(ks), most
        self.block = block

    def reset(self) -> None:
        """See Metric."""
        super().reset()
        self.pairs: list[tuple[str, str]] = []  # (key, caption) of every caption
        self.keys: list[str] = []
        self.rows: dict[str, list[Tensor]] = {name: [] for name in ('text', *SIDES)}
        self.ranking: dict[str, tuple[list[str], dict[str, Tensor]]] | None = None

    def available(self, outputs: TokenizerOutput, batch: Batch) -> Literal[True] | str:
        """See Metric."""
        if all(v is None for v in collect_side_embeddings(outputs).values()):
            return 'no pooled embedding, neither of the tokens nor of a teacher'
        if self.context.embed_text is None and (outputs.text_pooled is None or batch.captions is not None):
            return 'no text tower to embed the captions'
        return super().available(outputs, batch)

    def update(self, batch: Batch, outputs: TokenizerOutput) -> None:
        """See Metric."""
        size = len(outputs.images)
        captions = [[t] for t in batch.texts] if batch.captions is None else batch.captions
        if len(captions) != size:
            raise InputError(f'retrieval needs the captions of each of {format_count(size, "image")}, got those of '
                             f'{len(captions)}.')
        captions = [[tidy for t in some if (tidy := t.strip())][:self.most] for some in captions]
        keys = batch.keys or [f'rank {distributed.get_rank()}, sample {next(_nameless)}' for _ in range(size)]
        captioned = [i for i, some in enumerate(captions) if some]
        if len(captioned) < size:
            self.leave_out('images without a caption', size - len(captioned))
        self.ranking = None
        self.keys += [str(keys[i]) for i in captioned]
        self.pairs += [(str(keys[i]), text) for i in captioned for text in captions[i]]
        _append(self.rows['text'], self._embed(batch, outputs, captions, captioned))
        for name, value in collect_side_embeddings(outputs).items():
            if value is None:
                self.leave_out(REASONS['pooled' if name == 'tokens' else 'teacher.pooled'], size)
            else:
                _append(self.rows[name], F.normalize(value.detach().float(), dim=1).cpu()[captioned])

    def _embed(self, batch: Batch, outputs: TokenizerOutput, captions: list[list[str]], captioned: list[int]) -> Tensor:
        """Embeddings of the captions of the images `captioned`, one after the other."""
        if batch.captions is None and outputs.text_pooled is not None:
            if len(outputs.text_pooled) != len(captions):
                raise InputError(f'retrieval needs one text embedding for each of '
                                 f'{format_count(len(captions), "image")}, got {len(outputs.text_pooled)}.')
            return F.normalize(outputs.text_pooled.detach().float(), dim=1).cpu()[captioned]
        texts = [text for i in captioned for text in captions[i]]
        parts = [self.context.embed_text(texts[i:i + self.block]) for i in range(0, len(texts), self.block)]
        return F.normalize(_stack([p.detach().float().cpu() for p in parts]), dim=1)

    def merge(self, other: Any) -> Metric:
        """See Metric."""
        super().merge(other)
        self.ranking = None
        self.pairs, self.keys = self.pairs + other.pairs, self.keys + other.keys
        self.rows = {name: self.rows[name] + other.rows[name] for name in self.rows}
        return self

    def sync(self) -> None:
        """See Metric."""
        if self.synced:
            return
        super().sync()
        self.ranking = None
        gathered = distributed.gather_objects((self.pairs, self.keys))
        self.pairs = [pair for pairs, _ in gathered for pair in pairs]
        self.keys = [key for _, keys in gathered for key in keys]
        for name, rows in self.rows.items():  # in place: the parts go before the next side is put together
            whole = _stack(rows)
            rows.clear()
            rows.append(distributed.gather_rows(whole))

    def values(self) -> dict[str, float]:
        """See Metric."""
        values, means = {}, {}
        for side in SIDES:
            ways = {way: sides[side] for way, (_, sides) in self._ranking().items() if side in sides}
            if ways:
                values.update({f'{way}_r{k}/{side}': recall_at(p, k) for way, p in ways.items() for k in self.ks})
                means[side] = sum(recall_at(p, 1) for p in ways.values()) / 2
        if means.get('teacher') and 'tokens' in means:
            if means['teacher'] <= self._chance():
                self.reasons[UNKNOWN] = self.count
            else:
                values['kept'] = means['tokens'] / means['teacher']
        return values

    def _chance(self) -> float:
        """Mean R@1 that guessing stays below in 999 of 1,000 sets: for M queries of G answers 1 / G, and three standard
        deviations of that many guesses."""
        ranking = self._ranking()
        sizes = [len(keys) for keys, _ in (ranking['t2i'], ranking['i2t'])]
        chances = [1 / size for size in reversed(sizes)]
        spread = sum(p * (1 - p) / m for p, m in zip(chances, sizes)) ** 0.5 / 2
        return sum(chances) / 2 + 3 * spread

    def queries(self) -> dict[str, tuple[list[str], dict[str, np.ndarray]]]:
        """See Metric: the place of the best right answer of each query, from 0, for `t2i` and `i2t`."""
        return {f'{self.prefix}/{way}' if self.prefix else way:
                (keys, {side: p.double().numpy() for side, p in sides.items()})
                for way, (keys, sides) in self._ranking().items() if sides}

    def _ranking(self) -> dict[str, tuple[list[str], dict[str, Tensor]]]:
        """way -> (names of its M queries, side -> place of the best right answer [M] int64); computed once."""
        if self.ranking is not None or not self.pairs:
            return self.ranking or {}
        images, texts, pairs = match_pairs(*zip(*self.pairs))
        text, first = _take(_stack(self.rows['text']), texts), {}
        for i, key in enumerate(self.keys):
            first.setdefault(key, i)
        rows_of = torch.tensor([first[self.pairs[i][0]] for i in images])
        self.ranking = dict(t2i=([self.pairs[i][1] for i in texts], {}), i2t=([self.pairs[i][0] for i in images], {}))
        for side in SIDES:
            rows = _stack(self.rows[side])
            if len(rows) != len(self.keys):  # absent, or absent in some batches
                continue
            if rows.shape[1] != text.shape[1]:
                self.reasons[f'{side} embeds to {rows.shape[1]} numbers, texts to {text.shape[1]}'] = len(rows)
                continue
            rows = _take(rows, rows_of)
            self.ranking['t2i'][1][side] = places(text, rows, pairs.flip(1), TIE)
            self.ranking['i2t'][1][side] = places(rows, text, pairs, TIE)
        return self.ranking


def _append(rows: list[Tensor], piece: Tensor, block: int = 4096) -> None:
    """Append a piece [M,E] to a list of them.

    Small pieces are joined to blocks, since thousands of them leave holes in the heap when they go.
    """
    rows.append(piece)
    small = sum(len(r) < block for r in rows)  # they are the last ones
    if small and sum(len(r) for r in rows[-small:]) >= block:
        rows[-small:] = [torch.cat(rows[-small:])]


def _stack(rows: list[Tensor]) -> Tensor:
    rows = [r for r in rows if len(r)]
    return rows[0] if len(rows) == 1 else torch.cat(rows) if rows else torch.zeros(0, 0)


def _take(rows: Tensor, index: Tensor) -> Tensor:
    """rows[index], not copied where that is all of them in order."""
    return rows if len(index) == len(rows) and bool((index == torch.arange(len(rows))).all()) else rows[index]
