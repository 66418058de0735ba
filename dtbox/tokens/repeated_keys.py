"""Finds keys that come more than once among the rows of many token shards, in 8 bytes of memory a row."""
from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np

from dtbox.counts import format_count
from dtbox.token_shards.reading import TokenShard, open_shard

NAMED = 5
"""Keys that are named."""


class KeyTable:
    """Hashes of the keys of shards. The views of an image count once."""

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = []
        self._paths: list[Path] = []

    def add(self, shard: TokenShard) -> None:
        """Take the keys of a shard."""
        self._hashes.append(_hash_keys(shard)[1])
        self._paths.append(shard.path)

    def tell(self) -> list[str]:
        """Return a sentence on keys that repeat, with some of them and their files; [] where there are none."""
        everything = np.sort(np.concatenate([np.empty(0, np.uint64), *self._hashes]))
        repeated = np.unique(everything[1:][everything[1:] == everything[:-1]])
        if not len(repeated):
            return []
        shown, files = repeated[:NAMED], defaultdict(list)
        for path, hashes in zip(self._paths, self._hashes):
            if np.isin(hashes, shown).any():
                for key, value in zip(*_hash_keys(open_shard(path))):
                    if value in shown:
                        files[key].append(path.name)
        named = '; '.join(f'{key!r} in {", ".join(sorted(set(names)))}' for key, names in sorted(files.items()))
        more = ', ...' if len(repeated) > NAMED else ''
        return [f'{format_count(len(repeated), "key", "comes")} more than once; the rows are kept apart by input shard '
                f'and place: {named}{more}']


def _hash_keys(shard: TokenShard) -> tuple[list[str], np.ndarray]:
    """Return the keys of the first views of a shard, and 64 bits of their hashes."""
    first = shard.column('view').to_numpy(zero_copy_only=False) == 0
    keys = shard.column('key').filter(first).to_pylist()
    digests = b''.join(hashlib.blake2b(key.encode('utf-8', 'surrogatepass'), digest_size=8).digest() for key in keys)
    return keys, np.frombuffer(digests, np.uint64)
