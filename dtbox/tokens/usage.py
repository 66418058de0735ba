"""How often each code of token shards occurs: usage, entropy, and what the files take beside it.

Legend: M images, N positions of an image, Q codes of a position (depths), K codebook size.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dtbox.token_shards.format import ShardMeta, Stream

MOST = 2 ** 22
"""Largest codebook whose codes are counted one by one."""


@dataclass(frozen=True)
class DepthUsage:
    """How the codes of one depth of a stream are used.

    Attributes:
        stream, depth: which.
        size: K.
        used: number of codes that occur; None where the codebook is too large to count.
        entropy: bits a code, from how often each occurs; None as `used`.
    """
    stream: str
    depth: int
    size: int
    used: int | None
    entropy: float | None


def measure_entropy(counts: np.ndarray) -> float:
    """Return the entropy in bits of what occurs `counts` [K] times; 0 where nothing does."""
    counts = counts[counts > 0].astype(np.float64)
    share = counts / counts.sum() if len(counts) else counts
    return float(-(share * np.log2(share)).sum()) + 0.0


class CodeUsage:
    """Counts the codes of shards.

    Args:
        meta: of one of the shards; all have the same streams.

    Attributes:
        codes: number of codes counted by stream.
        bytes: that the columns of codes take in the files, by stream.
    """

    def __init__(self, meta: ShardMeta) -> None:
        self.streams = meta.streams
        self.counts = {stream.name: [np.zeros(size, np.int64) if size <= MOST else None for size in stream.limits]
                       for stream in meta.streams}
        self.codes = dict.fromkeys(self.counts, 0)
        self.bytes = dict.fromkeys(self.counts, 0)

    def add(self, stream: Stream, codes: np.ndarray, size: int) -> None:
        """Count codes [M, N, Q], all in their range, that take `size` bytes in their file."""
        for depth, counts in enumerate(self.counts[stream.name]):
            if counts is not None:
                counts += np.bincount(codes[..., depth].ravel(), minlength=len(counts))
        self.codes[stream.name] += codes.size
        self.bytes[stream.name] += size

    def measure(self) -> list[DepthUsage]:
        """Return usage and entropy of each depth of each stream."""
        return [DepthUsage(stream.name, depth, size, None if counts is None else int((counts > 0).sum()),
                           None if counts is None else measure_entropy(counts))
                for stream in self.streams
                for depth, (size, counts) in enumerate(zip(stream.limits, self.counts[stream.name]))]

    def bound(self, stream: str, by_depth: bool = False) -> float | None:
        """Return the bytes that the codes of a stream take at their entropy; None where that is unknown.

        Args:
            stream: its name.
            by_depth: whether each depth has an entropy of its own; else all codes of the stream, as of its column.
        """
        counts = [value for value in self.counts[stream] if value is not None]
        if len(counts) < len(self.counts[stream]):
            return None
        if not by_depth:
            table = np.zeros(max(map(len, counts)), np.int64)
            for value in counts:
                table[:len(value)] += value
            counts = [table]
        return sum(value.sum() * measure_entropy(value) for value in counts) / 8
