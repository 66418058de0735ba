"""The images of token shards that are nearest to an image or a text, exactly: every shard is read once.

Legend: A queries, M rows of a shard, k images to find.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dtbox.apis.images import Images, prepare_images
from dtbox.errors import InputError, at
from dtbox.tokens.catalog import Catalog
from dtbox.tokens.spaces import CodeSpace, EmbeddingSpace, RowSpace, Space, make_unit

if TYPE_CHECKING:
    from dtbox.apis.tokenizer import Tokenizer

PART = 4096
"""Rows that are compared with the queries at once."""


@dataclass(frozen=True)
class Found:
    """Rows (over all shards, see `Catalog`) with their similarities, best first."""
    rows: list[int]
    similarities: list[float]


def embed_queries(space: Space, tokenizer: Tokenizer, images: Images | None = None,
                  texts: str | Sequence[str] | None = None) -> np.ndarray:
    """Return the features of queries, as `Space.compare` takes them.

    Args:
        space: in which they are compared.
        tokenizer: that made the token shards.
        images: as `Tokenizer.encode` takes them; or
        texts: to compare with embeddings.

    Raises:
        InputError: texts in another space than the embedding, a tokenizer without a text tower, images that cannot be
            read.
    """
    if texts is not None:
        if not isinstance(space, EmbeddingSpace):
            raise InputError(f'a text is compared with embeddings, and not with {space.label}. Leave --by out, or set '
                             'it to embedding.', '--by')
        if tokenizer.model.text is None:
            raise InputError('this tokenizer has no text tower, so a text has no embedding. Search with an image '
                             '(--image), or take a run with a text tower.', '--text')
        try:
            return make_unit(tokenizer.embed_text(texts).float().cpu().numpy())
        except InputError as e:  # a text that is too long, or empty
            raise InputError(e.message, '--text') from e
    assert images is not None
    with at('--image'):
        tensor = prepare_images(images, tokenizer.model, tokenizer.pipeline)
    if isinstance(space, EmbeddingSpace):
        return make_unit(tokenizer.embed_image(tensor).float().cpu().numpy())
    assert isinstance(space, (CodeSpace, RowSpace))
    codes = tokenizer.encode(tensor, space.stream)[space.stream].cpu().numpy()
    return space.decode(codes) if isinstance(space, RowSpace) else codes


def find_nearest(catalog: Catalog, space: Space, queries: np.ndarray, top: int) -> list[Found]:
    """Find the images nearest to each query. Of the views of an image the nearest one counts.

    All images are compared. Where two are equally near, the one that comes first in the shards does.

    Args:
        catalog: of the token shards.
        space: how images are compared.
        queries: their features, A of them.
        top: images to find for each, at least 1.

    Returns:
        a Found for each query, of at most `top` images.
    """
    if top < 1:
        raise InputError(f'{top} came; expected at least 1.', '--top')
    best = np.zeros((len(queries), 0), np.float32)
    rows = np.zeros((len(queries), 0), np.int64)
    for start, shard in catalog.shards():
        features = space.read(shard)
        if not len(features):
            continue
        similarities = np.concatenate([np.minimum(space.compare(queries, features[part:part + PART]), 1)
                                       for part in range(0, len(features), PART)], 1)
        local = np.flatnonzero(shard.ok)
        images = shard.column('index_in_shard').to_numpy(zero_copy_only=False)[local]
        near, places = _pick(similarities, images, top)
        best, rows = _merge(np.concatenate([best, near], 1), np.concatenate([rows, local[places] + start], 1), top)
    return [Found(row.tolist(), [float(value) for value in near]) for row, near in zip(rows, best)]


def _pick(similarities: np.ndarray, images: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Similarities [A, M] of rows that show the images [M] -> (similarities, places) of the best row of each image, at
    most `top` of them [A, k], best first."""
    distinct, number = np.unique(images, return_inverse=True)
    count = min(top, len(distinct))
    near = np.empty((len(similarities), count), np.float32)
    places = np.empty((len(similarities), count), np.int64)
    for i, row in enumerate(similarities):
        order = np.argsort(-row, kind='stable')
        first = np.sort(np.unique(number[order], return_index=True)[1])[:count]  # of each image its best row
        near[i], places[i] = row[order[first]], order[first]
    return near, places


def _merge(similarities: np.ndarray, rows: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Keep the best `top` columns of each row, in order."""
    order = np.argsort(-similarities, axis=1, kind='stable')[:, :top]
    return np.take_along_axis(similarities, order, 1), np.take_along_axis(rows, order, 1)
