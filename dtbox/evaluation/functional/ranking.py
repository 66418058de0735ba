"""Places, recall at k and top-k for retrieval and zero-shot classification.

The place of a query is the number of wrong items that score at least as high as its best right item. A tie counts
against the query, so an embedding that has collapsed scores 0, not 1, and the order of the items never matters; a NaN
counts against it too. Recall at k is the fraction of queries with a right item among the first k (the "R@k" of
image-text papers; a "hit rate" where there are several right items).

Shapes: M queries, G gallery items, E embedding width, P pairs.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.arguments import (
    allow_none,
    read_arguments,
    read_count,
    read_floats,
    read_number,
    read_strings,
    read_whole,
)
from dtbox.errors import InputError

TIE = 1e-6
"""Cosines closer than this are a tie: equal images in different batches differ by float32 round-off."""


@read_arguments(queries=read_floats, gallery=read_floats, pairs=read_whole, tie=read_number(0),
                block=allow_none(read_count()))
def places(queries: Tensor, gallery: Tensor, pairs: Tensor, tie: float = 0.0, block: int | None = None) -> Tensor:
    """Place of the best right item of each query, by cosine similarity.

    Args:
        queries: embeddings [M,E], normalised here.
        gallery: embeddings [G,E], normalised here.
        pairs: [P,2] int64, (query, gallery item) that belong together; every query needs one.
        tie: scores that are lower than the best right one by no more than this count as equal.
        block: queries whose similarities [block,G] are held at a time; None takes as many as make 4 million of these,
            64 at least.

    Returns:
        [M] int64 in 0..G-1; 0 is the first place.

    Raises:
        InputError: when the widths differ, a pair is out of range or a query has no right item.
    """
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1] or not len(gallery):
        raise InputError(f'expected as `queries` and `gallery` embeddings [M, E] and [G, E] of one width, got '
                         f'{list(queries.shape)} and {list(gallery.shape)}.')
    block = block or max(64, 2 ** 22 // max(1, len(gallery)))
    cosines = _Cosines(gallery, min(block, len(queries)))
    parts = [_places_of(cosines(queries[i:i + block]), right, tie, cosines.spare)
             for i, right in _right_items(pairs, len(queries), len(gallery), block)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)


class _Cosines:
    """Cosines of queries [M,E], M at most `block`, with a gallery [G,E], which may be large and is never whole in
    float64.

    Its buffers are used again: large ones that come and go leave holes in the heap, which grows by gigabytes.

    Attributes:
        spare: float64 [block,G], for anybody.
    """

    def __init__(self, gallery: Tensor, block: int, chunk: int = 8192) -> None:
        self.gallery, self.chunk = gallery.detach(), chunk
        float64 = dict(dtype=torch.float64, device=gallery.device)
        self.part = torch.empty(min(chunk, len(gallery)), gallery.shape[1], **float64)
        self.cosines, self.spare = (torch.empty(block, len(gallery), **float64) for _ in range(2))
        # clamped as `normalize` does it
        lengths = [self._part(i).norm(dim=1).clamp(min=1e-12) for i in range(0, len(gallery), chunk)]
        self.lengths = torch.cat(lengths) if lengths else self.part.new_zeros(0)

    def _part(self, start: int) -> Tensor:
        rows = self.gallery[start:start + self.chunk]
        return self.part[:len(rows)].copy_(rows)

    def __call__(self, queries: Tensor) -> Tensor:
        """Return [M,G], valid until the next call."""
        queries, cosines = F.normalize(queries.detach().double(), dim=1), self.cosines[:len(queries)]
        for i in range(0, len(self.gallery), self.chunk):
            part = self._part(i)
            torch.mm(queries, part.T, out=cosines[:, i:i + len(part)])
        return cosines.div_(self.lengths)


@read_arguments(scores=read_floats, labels=read_whole, tie=read_number(0))
def topk_places(scores: Tensor, labels: Tensor, tie: float = 0.0) -> Tensor:
    """Place of the right class of each sample; the k first count as right for top-k.

    Args:
        scores: [M,G], higher is better.
        labels: [M] int64 in 0..G-1.
        tie: as in `places`.

    Returns:
        [M] int64; `recall_at` of it is the top-k accuracy.

    Raises:
        InputError: when a label is out of range.
    """
    labels = labels.cpu()
    if scores.ndim != 2 or labels.ndim != 1 or len(scores) != len(labels):
        raise InputError(f'expected as `scores` and `labels` [M, G] and [M], got {list(scores.shape)} and '
                         f'{list(labels.shape)}.')
    pairs = torch.stack([torch.arange(len(labels)), labels], dim=1)
    scores = scores.detach().double().cpu()
    blocks = _right_items(pairs, len(scores), scores.shape[1], max(1, len(scores)))
    parts = [_places_of(scores, right, tie) for _, right in blocks]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)


@read_arguments(places_m=read_whole, k=read_count(0))
def recall_at(places_m: Tensor, k: int) -> float:
    """Fraction of queries whose place is among the first `k`; NaN without queries."""
    return (places_m < k).double().mean().item()


@read_arguments(keys=read_strings, texts=read_strings)
def match_pairs(keys: Sequence[str], texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Find the images, the texts and what belongs together in a list of pairs.

    Samples of one key are one image (with several captions), equal texts are one text (of one or several images).

    Args:
        keys: image of each sample.
        texts: caption of each sample.

    Returns:
        tuple: positions of the first sample of each image [I]; of each text [T]; pairs [P,2] int64 (image, text) as
        positions in these two.
    """
    if len(keys) != len(texts):
        raise InputError(f'there are {len(keys)} `keys` and {len(texts)} `texts`; expected one of each a sample.')
    images = {}
    captions = {}
    pairs = {}
    for i, (key, text) in enumerate(zip(keys, texts)):
        image = images.setdefault(key, (len(images), i))[0]
        caption = captions.setdefault(text, (len(captions), i))[0]
        pairs[image, caption] = None
    first_i, first_t = (torch.tensor([i for _, i in v.values()], dtype=torch.int64) for v in (images, captions))
    return first_i, first_t, torch.tensor(list(pairs), dtype=torch.int64).reshape(-1, 2)


def _right_items(pairs: Tensor, m: int, g: int, block: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (first query, mask [block,G] of right items) of each block of queries."""
    pairs = pairs.cpu()
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise InputError(f'pairs have the shape {list(pairs.shape)}; expected [P, 2].')
    if len(pairs) and (int(pairs.min()) < 0 or int(pairs[:, 0].max()) >= m or int(pairs[:, 1].max()) >= g):
        raise InputError(f'pairs must lie in 0..{m - 1} queries and 0..{g - 1} items; the largest are '
                         f'{pairs.max(0).values.tolist()}, the smallest {pairs.min(0).values.tolist()}.')
    lonely = (torch.bincount(pairs[:, 0], minlength=m) == 0).nonzero().flatten().tolist()
    if lonely:
        raise InputError(f'{len(lonely)} of {m} queries have no right item, such as query {lonely[0]}. '
                         'Leave them out.')
    for i in range(0, m, block):
        inside = pairs[(pairs[:, 0] >= i) & (pairs[:, 0] < i + block)]
        right = torch.zeros(min(block, m - i), g, dtype=torch.bool)
        right[inside[:, 0] - i, inside[:, 1]] = True
        yield i, right


def _places_of(scores: Tensor, right: Tensor, tie: float, spare: Tensor | None = None) -> Tensor:
    right = right.to(scores.device)
    spare = torch.empty_like(scores) if spare is None else spare[:len(scores)]
    best = torch.where(right, scores, scores.new_tensor(-torch.inf), out=spare).amax(dim=1, keepdim=True)
    lower = scores < best - tie  # false for NaN, which so counts against the query
    return lower.logical_or_(right).logical_not_().sum(dim=1).cpu()
