"""The codes of single images by their keys, for data that name images."""
from __future__ import annotations

import os
import posixpath
import weakref

import numpy as np

from dtbox.errors import InputError
from dtbox.image_codes import ImageCodes
from dtbox.token_shards.cache import TokenCache


class _Table:
    """Key -> first row of its image, and the keys of several images."""

    def __init__(self, cache: TokenCache) -> None:
        self.rows: dict[str, int] = {}
        self.repeated: set[str] = set()
        index = cache.numbers('index')
        shard = np.asarray(np.searchsorted(cache.ends, np.arange(len(cache)), side='right'))
        new = np.ones(len(index), bool)  # not another view of the image in the row before
        new[1:] = (index[1:] != index[:-1]) | (shard[1:] != shard[:-1])
        for row, (key, first) in enumerate(zip(cache.keys(), new)):
            if self.rows.setdefault(key, row) != row and first:
                self.repeated.add(key)


_TABLES: weakref.WeakValueDictionary[tuple, _Table] = weakref.WeakValueDictionary()
"""Tables in use, by folder and seals: several files of conversations share the one of their images."""


class KeyedCodes:
    """The first view of each image of a folder of token shards, by the key of the image. Keys take about 150 bytes of
    memory each.

    Args:
        folder: of the token shards.
        cache: as of `TokenCache`.

    Raises:
        InputError: as of `TokenCache`.
    """

    def __init__(self, folder: str | os.PathLike, cache: str | os.PathLike | None = None) -> None:
        self.cache = TokenCache(folder, cache)
        known = (str(self.cache.folder), *(shard.seal for shard in self.cache.shards))
        self.table = _TABLES.get(known) or _TABLES.setdefault(known, _Table(self.cache))

    def find(self, path: str) -> int:
        """Return the row of an image.

        Args:
            path: its key, or a path that leads there ('./a/../b.png' is 'b.png').

        Raises:
            InputError: no such key, or one that several images have.
        """
        key = posixpath.normpath(path.replace('\\', '/'))
        if key not in self.table.rows:
            raise InputError(f'the image {path} has no codes in {self.cache.folder}: it was not encoded, or is broken. '
                             'Keys are paths from the folder that was encoded; encode it, or leave it out.')
        if key in self.table.repeated:
            raise InputError(f'several images of {self.cache.folder} have the key {key}. Encode one folder with one '
                             'file of each name.')
        return self.table.rows[key]

    def read(self, path: str) -> ImageCodes:
        """Return the codes of an image; arguments and errors as of `find`."""
        row, meta = self.find(path), self.cache.meta
        return ImageCodes({stream.name: self.cache.read(stream.name, [row])[0] for stream in meta.streams},
                          meta.fingerprint.weights, str(self.cache.folder))
