"""An index of the vectors of token shards, for more than a million images: inverted lists of the package faiss.

Vectors are divided among lists by their nearest centre (k-means), and a query is compared with the lists of the nearest
centres alone (Jegou et al. 2011, "Product quantization for nearest neighbor search", section IV, without the product
quantizer; arXiv 1702.08734). The number of lists is doubled until the recall, which is measured against an exact
search, is as asked for.

Legend: M different vectors, D their width, A queries, k images to find.
"""
from __future__ import annotations

import json
import math
import os
from typing import Any

import numpy as np

from dtbox.errors import InputError, need_package
from dtbox.files import replacing
from dtbox.token_shards.fingerprint import hash_json
from dtbox.tokens.catalog import Catalog
from dtbox.tokens.duplicates import PART, Features, Near, Pairs, check_threshold
from dtbox.tokens.search import Found
from dtbox.tokens.spaces import Space, VectorSpace

MILLION = 1_000_000
"""Images from which on an index is worth its recall; below, an exact search takes seconds."""
NEIGHBOURS = 32
"""Nearest vectors of each image that are looked at for near duplicates."""
CHECKED = 256
"""Images of which the recall is measured."""
AMONG = 10
"""The recall is that of so many nearest images."""
TRAINING = 64
"""Vectors a list from which the centres are learned."""


class VectorIndex:
    """Vectors of the first view of each image, findable by inner product.

    Args:
        index: of faiss.
        rows: of the images, over all shards [images].
        number: of the vector of each image [images].
        stamp: hash of what was indexed (`make_stamp`).
        recall: measured, see `build_index`.
        probes: lists that a query is compared with.
    """

    def __init__(self, index: Any, rows: np.ndarray, number: np.ndarray, stamp: str, recall: float = 1.0,
                 probes: int = 1) -> None:
        self.index, self.stamp = index, stamp
        self.rows, self.number = rows, number
        self.recall, self.probes = recall, probes
        index.nprobe = probes

    def search(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors [A, D] -> (cosines, numbers of vectors) [A, count], best first; number -1 where there are
        fewer."""
        return self.index.search(np.ascontiguousarray(queries, np.float32), count)

    def find_nearest(self, queries: np.ndarray, top: int) -> list[Found]:
        """Return the images nearest to each query, of at most `top` images; see `recall`."""
        similarities, numbers = self.search(queries, top)
        order = np.argsort(self.number, kind='stable')
        starts = np.asarray(np.searchsorted(self.number[order], np.arange(self.index.ntotal + 1)))
        found = []
        for near, some in zip(similarities, numbers):
            pairs = [(int(row), float(min(value, 1))) for value, n in zip(near.tolist(), some.tolist()) if n >= 0
                     for row in self.rows[order[starts[n]:starts[n + 1]]]][:top]
            found.append(Found([row for row, _ in pairs], [value for _, value in pairs]))
        return found

    def save(self, path: str | os.PathLike) -> None:
        """Write the index to a file in one step."""
        import faiss
        about = json.dumps(dict(stamp=self.stamp, recall=self.recall, probes=self.probes))
        with replacing(path) as temporary, open(temporary, 'wb') as file:
            np.savez(file, index=faiss.serialize_index(self.index), rows=self.rows, number=self.number,
                     about=np.asarray(about))


def make_stamp(catalog: Catalog, space: Space) -> str:
    """Return a hash of what an index holds: the shards by name and number of rows, their fingerprint, the space."""
    return hash_json([catalog.meta.fingerprint.digest, space.label, [path.name for path in catalog.paths],
                      catalog.starts.tolist()])


def need_faiss() -> Any:
    """Return the package faiss; `InputError` that says how to install it where it is missing."""
    return need_package('faiss', 'search', 'an approximate search (--index, --approximate)')


def build_index(features: Features, stamp: str, recall: float = 0.95) -> VectorIndex:
    """Index the vectors of images.

    Args:
        features: of the images, unit vectors.
        stamp: see `make_stamp`.
        recall: least fraction of the `AMONG` nearest of `CHECKED` images that a search must find; the index has the
            measured one.

    Raises:
        InputError: a recall outside (0, 1], no images, faiss is missing.
    """
    if not 0 < recall <= 1:
        raise InputError(f'{recall:g} came; expected a fraction above 0 and at most 1.', '--recall')
    if not len(features):
        raise InputError('the token shards hold no images with codes, so there is nothing to index.')
    faiss, values = need_faiss(), features.values
    lists = max(1, min(round(4 * math.sqrt(len(values))), len(values) // 39))  # faiss asks for 39 vectors a centre
    centres = faiss.IndexFlatIP(values.shape[1])
    index = faiss.IndexIVFFlat(centres, values.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    chosen = np.sort(np.random.default_rng(0).permutation(len(values))[:TRAINING * lists])
    index.train(np.array(values[chosen]))
    for start in range(0, len(values), PART):
        index.add(np.array(values[start:start + PART]))
    built = VectorIndex(index, features.rows, features.number, stamp)
    checked = np.sort(np.random.default_rng(1).permutation(len(values))[:CHECKED])
    queries = np.array(values[checked])
    exact = _find_exact(values, queries)
    while True:
        built.recall = _measure_recall(built, queries, exact)
        if built.recall >= recall or built.probes >= lists:
            return built
        built.probes = min(2 * built.probes, lists)
        index.nprobe = built.probes


def _find_exact(values: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Vectors [M, D], queries [A, D] -> the least cosine of the `AMONG` nearest of each query, itself included [A]."""
    count = min(AMONG, len(values))
    best = np.full((len(queries), count), -2, np.float32)
    for start in range(0, len(values), PART):
        joined = np.concatenate([best, queries @ np.array(values[start:start + PART]).T], 1)
        best = -np.partition(-joined, count - 1, axis=1)[:, :count]
    return best.min(1)


def _measure_recall(built: VectorIndex, queries: np.ndarray, least: np.ndarray) -> float:
    """Fraction of the nearest vectors that the index finds: those at least as near as the last of the exact ones."""
    count = min(AMONG, built.index.ntotal)
    similarities, _ = built.search(queries, count)
    return float((similarities >= least[:, None] - 1e-5).mean())


def open_index(path: str | os.PathLike, catalog: Catalog, space: Space) -> VectorIndex:
    """Open the index that `VectorIndex.save` wrote for these token shards.

    Raises:
        InputError: a file that cannot be read, or the index of other shards or of another space.
    """
    faiss = need_faiss()
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file['about']))
            rows, number = file['rows'], file['number']
            index = faiss.deserialize_index(file['index'])
    except Exception as e:  # faiss raises RuntimeError, numpy whatever it meets
        raise InputError(f'{os.fspath(path)} is not an index of dtbox search ({type(e).__name__}). Delete it; the next '
                         'search writes it again.', '--index') from e
    if about['stamp'] != make_stamp(catalog, space):
        raise InputError(f'{os.fspath(path)} is the index of other token shards, or of another space than '
                         f'{space.label}. Delete it, or give another file.', '--index')
    return VectorIndex(index, rows, number, about['stamp'], about['recall'], about['probes'])


def get_index(path: str | os.PathLike, catalog: Catalog, space: Space, recall: float = 0.95) -> VectorIndex:
    """Open the index of a file, or build it and write it there."""
    check_vectors(space)
    if os.path.exists(path):
        return open_index(path, catalog, space)
    with Features(catalog, space) as features:
        built = build_index(features, make_stamp(catalog, space), recall)
    built.save(path)
    return built


def check_vectors(space: Space) -> None:
    """Raise `InputError` unless images are compared by vectors."""
    if not isinstance(space, VectorSpace):
        raise InputError(f'an approximate search compares vectors, and not {space.label}. Search by embedding, or by '
                         'code rows (--measure rows).', '--measure')


def find_near_approximately(catalog: Catalog, space: Space, threshold: float | None = None,
                            recall: float = 0.95) -> Near:
    """Find near duplicates among the `NEIGHBOURS` nearest vectors of each image, by an index.

    Args:
        catalog, space, threshold: see `dtbox.tokens.duplicates.find_near_duplicates`.
        recall: see `build_index`.
    """
    check_vectors(space)
    threshold = check_threshold(space, threshold)
    with Features(catalog, space) as features:
        index = build_index(features, '', recall)
        pairs = Pairs(features, threshold)
        for start in range(0, len(features), PART):
            similarities, numbers = index.search(np.array(features.values[start:start + PART]), NEIGHBOURS)
            pairs.add_nearest(start, numbers, similarities)
        return pairs.finish(index.recall)
