"""Small folders of token shards for tests."""
import hashlib

import numpy as np

from dtbox.layout import CodeLayout, Grid, StreamLayout
from dtbox.token_shards.fingerprint import Fingerprint
from dtbox.token_shards.format import ShardMeta, make_streams
from dtbox.token_shards.writing import Row, write_shard

LAYOUT = CodeLayout((StreamLayout('pixel', Grid(2, 2), (300, 200)), StreamLayout('semantic', Grid(2, 2), (70_000,))))
"""Two streams: two depths of uint16, one depth of uint32."""


def make_meta(layout=LAYOUT, weights='0' * 16, **fields):
    """Return the description of shards."""
    named = dict(dict(config='c', pipeline='p', dtype='float32', device='cpu', batch='batch=4'), **fields)
    return ShardMeta(Fingerprint(weights, **named), make_streams(layout), layout.to_dict())


def make_codes(meta, number, view=0):
    """Return stream -> codes [N,Q] of an image: random, and always the same."""
    rng = np.random.default_rng((number, view))
    return {s.name: np.stack([rng.integers(0, size, s.positions) for size in s.limits], -1) for s in meta.streams}


def make_row(meta, number, view=0, codes=None, **fields):
    """Return a row of image `number` as it is made by default."""
    codes = make_codes(meta, number, view) if codes is None else codes
    named = dict(image_hash=hashlib.blake2b(str(number).encode(), digest_size=16).digest(), width=8, height=8,
                 view=view, texts=[f'image {number}', f'picture {number}'])
    return Row(**{**dict(key=f'k{number}', index=number % 100), **named, **fields},
               codes=None if fields.get('status') == 'broken' else codes)


def write_tokens(folder, shards=2, size=5, views=1, meta=None, broken=(), **fields):
    """Write shards `s0`, `s1`, ... of images 0, 1, 2, ... each, numbers 100 * shard + place; returns the folder.

    Args:
        shards, size, views: numbers of shards, of images of each, of views of an image.
        meta: description.
        broken: numbers of images without codes.
        fields: of all rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    meta = meta or make_meta()
    for shard in range(shards) if isinstance(shards, int) else shards:
        rows = [make_row(meta, 100 * shard + i, view, **fields, **(
                dict(status='broken', error='cut short') if 100 * shard + i in broken else {}))
                for i in range(size) for view in range(views)]
        write_shard(folder, f's{shard}', rows, meta)
    return folder
