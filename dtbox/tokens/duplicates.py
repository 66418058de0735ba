"""Duplicates among the images of token shards: files of the same bytes, and images whose codes or embeddings are nearly
the same.

Near duplicates are exact: all pairs are compared, in blocks. Images of a pair are in one group, and so are those that a
chain of such pairs joins. Of each image the first view is compared.

Legend: M images, A and B images of two blocks.
"""
from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dtbox.errors import InputError
from dtbox.tokens.catalog import Catalog, first_views
from dtbox.tokens.spaces import Space

PART = 2048
"""Images of a block: A x B similarities are held at once."""
LEVELS = (1.0, 0.999, 0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Similarities of the table of `Near.levels`."""
ROUNDING = 1e-6
"""How far the similarity of two equal images may lie below 1 in float32."""


@dataclass(frozen=True)
class Near:
    """Near duplicates.

    Attributes:
        groups: rows (over all shards) of each group of at least two images, in order; the largest group first.
        similarity: row -> similarity to the nearest other image of its group.
        images: number of images that were compared.
        levels: similarity -> number of images that have another one at least as near; it helps to choose a threshold.
        recall: fraction of the pairs that are found; 1.0 of an exact search.
    """
    groups: list[list[int]]
    similarity: dict[int, float]
    images: int
    levels: dict[float, int]
    recall: float = 1.0


def find_exact_duplicates(catalog: Catalog) -> list[list[int]]:
    """Return the rows of each group of images whose files have the same bytes, the largest group first.

    An image has the row of its first view. Images that could not be decoded count, those that could not be read do not.
    It holds 24 bytes for each image.
    """
    rows, hashes = [np.zeros(0, np.int64)], [np.zeros((0, 2), np.uint64)]
    for start, shard in catalog.shards():
        column = shard.column('image_hash')
        local = first_views(shard, column.is_valid().to_numpy(zero_copy_only=False))
        data = b''.join(column.take(local).to_pylist())
        rows.append(local + start)
        hashes.append(np.frombuffer(data, np.uint64).reshape(-1, 2))
    return _group(np.concatenate(hashes), np.concatenate(rows))


def _group(values: np.ndarray, rows: np.ndarray) -> list[list[int]]:
    """Rows [M] -> groups of at least two whose values [M, n] are equal, the largest first, then by the first row."""
    _, number = np.unique(values, axis=0, return_inverse=True)
    return _list_groups(number.reshape(-1), rows)


def _list_groups(labels: np.ndarray, rows: np.ndarray) -> list[list[int]]:
    order = np.argsort(labels, kind='stable')
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    groups = [rows[part].tolist() for part in np.split(order, starts[1:]) if len(part) > 1]
    return sorted(groups, key=lambda group: (-len(group), group[0]))


def find_near_duplicates(catalog: Catalog, space: Space, threshold: float | None = None) -> Near:
    """Find images that are nearly the same.

    Args:
        catalog: of the token shards.
        space: how images are compared.
        threshold: least similarity of a pair; None takes that of the space.

    Raises:
        InputError: a threshold outside (0, 1].
    """
    threshold = check_threshold(space, threshold)
    with Features(catalog, space) as features:
        pairs = Pairs(features, threshold)
        for a, b, similarities in _compare_blocks(features, space):
            pairs.add(a, b, similarities)
    return pairs.finish()


def check_threshold(space: Space, threshold: float | None) -> float:
    """Return the threshold, that of the space for None; `InputError` outside (0, 1]."""
    threshold = space.threshold if threshold is None else threshold
    if not 0 < threshold <= 1:
        raise InputError(f'{threshold:g} came; expected a similarity above 0 and at most 1.', '--threshold')
    return threshold


class Features:
    """The features of the first views of all images, each different one once, in a temporary file.

    Args:
        catalog, space: see `find_near_duplicates`.

    Attributes:
        rows: of the images, over all shards [M] int64.
        number: of the features of each image [M] int64.
        values: different features, in the order in which they come first; on disk.
        counts: number of images of each.
    """

    def __init__(self, catalog: Catalog, space: Space) -> None:
        self.file = tempfile.TemporaryFile()
        known: dict[bytes, int] = {}
        numbers, rows = [], [np.zeros(0, np.int64)]
        shape: tuple[int, ...] = (1,)
        dtype = np.dtype(np.float32)
        for start, shard in catalog.shards():
            features = np.ascontiguousarray(space.read(shard))
            local = first_views(shard, shard.ok)
            among = features[(np.cumsum(shard.ok) - 1)[local]]
            if len(among):
                shape, dtype = among.shape[1:], among.dtype
            for feature in among:
                data = feature.tobytes()
                key = data if len(data) < 32 else _hash(data)
                if key not in known:
                    known[key] = len(known)
                    self.file.write(data)
                numbers.append(known[key])
            rows.append(local + start)
        self.file.flush()
        self.rows, self.number = np.concatenate(rows), np.asarray(numbers, np.int64)
        shape = (len(known), *shape)
        self.values = np.memmap(self.file, dtype, 'r', shape=shape) if known else np.zeros(shape, dtype)
        self.counts = np.bincount(self.number, minlength=len(known))

    def __enter__(self) -> Features:
        return self

    def __exit__(self, *_: object) -> None:
        del self.values
        self.file.close()

    def __len__(self) -> int:
        return len(self.counts)


def _hash(data: bytes) -> bytes:
    import hashlib
    return hashlib.blake2b(data, digest_size=16).digest()


def _compare_blocks(features: Features, space: Space) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (first number of A, first number of B, similarities [A, B]) of all pairs of blocks, B from A on."""
    for a in range(0, len(features), PART):
        first = np.array(features.values[a:a + PART])
        for b in range(a, len(features), PART):
            yield a, b, space.compare(first, np.array(features.values[b:b + PART]))


class Pairs:
    """Gathers pairs of different features and joins what they connect.

    Args:
        features: of the images.
        threshold: least similarity of a pair.
    """

    def __init__(self, features: Features, threshold: float) -> None:
        self.features, self.threshold = features, threshold
        self.labels = np.arange(len(features))
        self.best = np.where(features.counts > 1, np.float32(1), np.float32(-1))
        self.joined = np.where(features.counts > 1, np.float32(1), np.float32(-1))

    def add(self, a: int, b: int, similarities: np.ndarray) -> None:
        """Take the similarities [A, B] of the features from `a` and from `b` on; on the diagonal each is itself."""
        similarities = np.minimum(similarities, 1)
        if a == b:
            np.fill_diagonal(similarities, -1)
        first, second = np.nonzero(similarities >= self.threshold - ROUNDING)
        self.link(first + a, second + b, similarities[first, second])
        for start, axis in ((a, 1), (b, 0)):
            part = self.best[start:start + similarities.shape[1 - axis]]
            np.maximum(part, similarities.max(axis), out=part)

    def add_nearest(self, start: int, numbers: np.ndarray, similarities: np.ndarray) -> None:
        """Take the nearest features of those from `start` on: their numbers (-1 for none) and similarities [A, k]."""
        own = np.arange(start, start + len(numbers))[:, None]
        similarities = np.where((numbers < 0) | (numbers == own), np.float32(-1), np.minimum(similarities, 1))
        first, second = np.nonzero(similarities >= self.threshold - ROUNDING)
        self.link(first + start, numbers[first, second], similarities[first, second])
        part = self.best[start:start + len(numbers)]
        np.maximum(part, similarities.max(1), out=part)

    def link(self, first: np.ndarray, second: np.ndarray, similarities: np.ndarray) -> None:
        """Join pairs of features of the given similarities, all at or above the threshold."""
        if not len(first):
            return
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components
        count = len(self.labels)
        edges = (self.labels[first], self.labels[second])
        graph = coo_matrix((np.ones(len(first), np.int8), edges), shape=(count, count))
        self.labels = connected_components(graph, directed=False)[1][self.labels]
        for side in (first, second):
            np.maximum.at(self.joined, side, similarities)

    def finish(self, recall: float = 1.0) -> Near:
        """Return what was found."""
        features = self.features
        groups = _list_groups(self.labels[features.number], features.rows)
        number = dict(zip(features.rows.tolist(), features.number.tolist()))
        similarity = {row: float(self.joined[number[row]]) for group in groups for row in group}
        levels = {level: int(features.counts[self.best >= level - ROUNDING].sum()) for level in LEVELS}
        return Near(groups, similarity, len(features.rows), levels, recall)
