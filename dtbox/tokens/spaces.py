"""How alike two images are, by what a token shard holds of them.

- `embedding`: cosine of the embeddings.
- code rows: cosine of what the quantizer decodes the codes to (for a residual quantizer the sum of the rows of all
  depths), the positions of an image one after the other. It needs the tokenizer.
- equal codes: fraction of the positions at which two images have the same code; depth q counts half of depth q - 1. It
  needs no tokenizer.

All are 1 for the same codes or embedding. Codes have places: an image that is shifted by a part of it is far away.

Legend: M images, N positions, Q depths, D width of a vector, A and B images to compare.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from dtbox.errors import InputError, closest
from dtbox.token_shards.format import ShardMeta
from dtbox.token_shards.reading import TokenShard

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from dtbox.apis.tokenizer import Tokenizer

EMBEDDING = 'embedding'
BLOCK = 1024
"""Images whose codes are decoded at once."""


class Space(ABC):
    """A way to compare images. `features` of images are arrays with a row for each; `compare` gives similarities.

    Attributes:
        label: what is compared, for tables.
        threshold: similarity from which on two images are near duplicates, where none is given.
    """
    label: str
    threshold: float

    @abstractmethod
    def read(self, shard: TokenShard) -> np.ndarray:
        """Return the features [M, ...] of the rows of a shard that have codes, in order."""

    @abstractmethod
    def compare(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Features of A and of B images -> similarities [A, B] float32, at most 1."""


class VectorSpace(Space):
    """Cosine of vectors; features are unit vectors [M, D] float32."""

    def compare(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Unit vectors [A, D], [B, D] -> cosines [A, B]."""
        return np.asarray(a) @ np.asarray(b).T


class EmbeddingSpace(VectorSpace):
    """Cosine of the embeddings that shards hold.

    Args:
        meta: of the shards.

    Raises:
        InputError: shards without embeddings.
    """
    label, threshold = 'embedding', 0.98

    def __init__(self, meta: ShardMeta) -> None:
        if not meta.embedding:
            raise InputError('the token shards hold no embeddings. Encode with --embedding, or search by the codes of '
                             f'{" or ".join(stream.name for stream in meta.streams)} (--by).')
        self.width = meta.embedding

    def read(self, shard: TokenShard) -> np.ndarray:
        """Embeddings of a shard as unit vectors [M, E]."""
        column = shard.column(EMBEDDING).filter(_as_mask(shard.ok))
        vectors = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        return make_unit(vectors.reshape(-1, self.width))


class RowSpace(VectorSpace):
    """Cosine of what the quantizer of a stream decodes codes to.

    Args:
        tokenizer: that made the codes.
        stream: name of its stream.
    """
    threshold = 0.99

    def __init__(self, tokenizer: Tokenizer, stream: str) -> None:
        self.tokenizer, self.stream = tokenizer, stream
        self.label = f'code rows of {stream}'

    def read(self, shard: TokenShard) -> np.ndarray:
        """Rows of the codes of a shard as unit vectors [M, N C]."""
        return self.decode(shard.codes(self.stream))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Codes [M, N, Q] -> unit vectors [M, N C]."""
        import torch
        quantizer = self.tokenizer.model.streams[self.stream].quantizer
        blocks = [np.zeros((0, 1), np.float32)] if not len(codes) else []
        with torch.no_grad():
            for start in range(0, len(codes), BLOCK):
                block = torch.from_numpy(codes[start:start + BLOCK].astype(np.int64)).to(self.tokenizer.device)
                blocks.append(quantizer.decode(block).float().flatten(1).cpu().numpy())
        return make_unit(np.concatenate(blocks))


class CodeSpace(Space):
    """Fraction of equal codes, depth q with the weight 2^-q; features are codes [M, N, Q].

    Args:
        meta: of the shards.
        stream: name of a stream.
    """
    threshold = 0.8

    def __init__(self, meta: ShardMeta, stream: str) -> None:
        kind = meta.stream(stream)
        self.stream, self.label = stream, f'equal codes of {stream}'
        halves = 0.5 ** np.arange(kind.depth)
        self.weights = (halves / halves.sum() / kind.positions).astype(np.float32)

    def read(self, shard: TokenShard) -> np.ndarray:
        """Codes of a shard [M, N, Q]."""
        return shard.codes(self.stream)

    def compare(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Codes [A, N, Q], [B, N, Q] -> similarities [A, B]."""
        if len(a) * len(b) < BLOCK * 64:  # a few images; below, what two images share is counted at once
            return np.stack([(one == b).sum(1, dtype=np.float32) @ self.weights for one in a]).astype(np.float32)
        ids, count = self._number(np.concatenate([a, b]))
        weights = np.sqrt(np.tile(self.weights, a.shape[1]))  # the product of two rows has the weight itself
        first, second = (self._spread(part, weights, count) for part in (ids[:len(a)], ids[len(a):]))
        return (first @ second.T).toarray()

    def _number(self, codes: np.ndarray) -> tuple[np.ndarray, int]:
        """Codes [M, N, Q] -> (a number for each code at each place [M, N Q], how many numbers there are)."""
        flat = codes.reshape(len(codes), -1).astype(np.int64)
        numbers, start = np.empty_like(flat), 0
        for place in range(flat.shape[1]):  # numbers without gaps: codebooks may have 2^63 codes
            known, numbers[:, place] = np.unique(flat[:, place], return_inverse=True)
            numbers[:, place] += start
            start += len(known)
        return numbers, start

    def _spread(self, ids: np.ndarray, weights: np.ndarray, count: int) -> csr_matrix:
        from scipy.sparse import csr_matrix
        starts = np.arange(0, ids.size + 1, ids.shape[1])
        return csr_matrix((np.tile(weights, len(ids)), ids.reshape(-1), starts), shape=(len(ids), count))


def _as_mask(values: np.ndarray):
    import pyarrow as pa
    return pa.array(values)


def make_unit(vectors: np.ndarray) -> np.ndarray:
    """Divide vectors [M, D] by their lengths; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def choose_space(meta: ShardMeta, by: str | None, rows: bool, tokenizer: Tokenizer | None) -> Space:
    """Return how images are compared.

    Args:
        meta: of the shards.
        by: 'embedding', or the name of a stream; None takes the embedding where the shards hold it, and the last stream
            otherwise.
        rows: compare code rows, not equal codes.
        tokenizer: of the shards, needed for code rows.

    Raises:
        InputError: shards without what is asked for; code rows without the tokenizer.
    """
    names = [stream.name for stream in meta.streams]
    by = by or (EMBEDDING if meta.embedding else names[-1])
    if by == EMBEDDING and by not in names:
        return EmbeddingSpace(meta)
    if by not in names:
        raise InputError(f'the token shards hold no `{by}`.{closest(by, [EMBEDDING, *names])} They hold: '
                         f'{", ".join(([EMBEDDING] if meta.embedding else []) + names)}.', '--by')
    if not rows:
        return CodeSpace(meta, by)
    if tokenizer is None:
        raise InputError(f'code rows of `{by}` need the tokenizer. Give its run (--run RUN), or compare equal codes '
                         '(--measure codes).', '--measure')
    return RowSpace(tokenizer, by)
