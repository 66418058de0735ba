"""Small token shards: two streams, broken images, a key that repeats."""
from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from dtbox.token_shards.fingerprint import Fingerprint
from dtbox.token_shards.format import ShardMeta, Stream
from dtbox.token_shards.writing import Row, write_shard

FINGERPRINT = Fingerprint('weights', 'config', 'pipeline', 'float32', 'cpu', 'batch=32,padded')
PIXEL = Stream('pixel', 4, 2, 512)
META = ShardMeta(FINGERPRINT, (PIXEL, Stream('semantic', 4, 1, 70000)), dict(streams=[]), versions=dict(numpy='1'))


def draw_codes(index, streams=META.streams):
    """Stream -> codes [N, Q] that depend on the index alone."""
    rng = np.random.default_rng(index)
    return {stream.name: rng.integers(0, stream.limits, (stream.positions, stream.depth)) for stream in streams}


def make_rows(count=10, broken=(3,), repeats=(), meta=META, first=0):
    """Rows of the images `first`, `first` + 1, ... of a data set, those of one input shard. Those of `repeats` have the
    key of image 0."""
    rows = []
    for index in range(count):
        number = first + index
        common = dict(key=f'key{0 if number in repeats else number}', index=index,
                      image_hash=hashlib.blake2b(b'%d' % number, digest_size=16).digest())
        if number in broken:
            rows.append(Row(**common, status='broken', error='it is cut short'))
            continue
        vector = None if meta.embedding is None else np.full(meta.embedding, number / 8, np.float32)
        rows.append(Row(**common, width=32, height=24, crop=(1, 2, 20, 21), flip=number % 2 == 0,
                        texts=[f'text {number}'], codes=draw_codes(number, meta.streams), embedding=vector))
    return rows


def write_folder(folder, sources=3, meta=META, **options):
    """Write the shards `train-0`, `train-1`, ... of ten images each; returns their paths."""
    folder.mkdir(exist_ok=True)
    return [write_shard(folder, f'train-{number}', make_rows(first=10 * number, broken=(10 * number + 3,), meta=meta,
                                                             **options), meta) for number in range(sources)]


def other_fingerprint(**changes):
    """The fingerprint with other fields."""
    return replace(FINGERPRINT, **changes)
