"""Token shards for tests of searches, from codes and embeddings that a test writes down."""
import hashlib

import numpy as np

from dtbox.token_shards.fingerprint import Fingerprint
from dtbox.token_shards.format import ShardMeta, Stream
from dtbox.token_shards.writing import Row, write_shard

FINGERPRINT = Fingerprint('w' * 16, 'c', 'p', 'float32', 'cpu', 'batch=1')


def make_rows(codes, first=0, embeddings=None, hashes=None, keys=None, views=1):
    """Rows of images with codes: stream -> [M, N, Q]; None in `hashes` for an image that could not be read."""
    count = len(next(iter(codes.values())))
    rows = []
    for i in range(count):
        own = hashlib.blake2b(f'{first}-{i // views}'.encode(), digest_size=16).digest()
        rows.append(Row(
            key=keys[i] if keys else f'image_{first + i // views}', index=i // views, view=i % views,
            texts=[f'text {i}'],
            image_hash=(hashes[i] or b'') if hashes else own, width=4, height=4,
            codes={name: value[i] for name, value in codes.items()},
            embedding=None if embeddings is None else np.asarray(embeddings[i], np.float16)))
    return rows


def write_shards(folder, shards, size=64, meta=None, embedding=None):
    """Write shards: source -> rows, all of the streams of the first row with codes."""
    if meta is None:
        codes = next(row.codes for rows in shards.values() for row in rows if row.codes)
        streams = tuple(Stream(name, *value.shape, size) for name, value in codes.items())
        meta = ShardMeta(FINGERPRINT, streams, embedding=embedding)
    folder.mkdir(exist_ok=True)
    for source, rows in shards.items():
        write_shard(folder, source, rows, meta)
    return folder
