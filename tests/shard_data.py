"""Small WebDataset shards for tests."""
import io
import json
import tarfile

import numpy as np
from PIL import Image


def image(number, size=(40, 30), kind='JPEG'):
    """Bytes of an image whose colours tell its number."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[..., 0] = number % 256
    pixels[..., 1] = np.arange(size[0]) * 5 % 256
    pixels[..., 2] = number * 7 % 256
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **(dict(quality=95) if kind == 'JPEG' else {}))
    return out.getvalue()


def add(tar, name, content):
    """Add a member."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def write_shard(path, numbers, json_captions=False, **more):
    """Write a shard with samples 000007.jpg, .txt (or .json with `caption`), .cls; returns its path as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w') as tar:
        for n in numbers:
            add(tar, f'{n:06d}.jpg', image(n))
            if json_captions:
                add(tar, f'{n:06d}.json', json.dumps(dict(caption=[f'image {n}', f'number {n}'], width=40)).encode())
            else:
                add(tar, f'{n:06d}.txt', f'image {n}'.encode())
            add(tar, f'{n:06d}.cls', str(n % 3).encode())
            for suffix, content in more.items():
                add(tar, f'{n:06d}.{suffix}', content)
    return str(path)


def write_set(folder, counts):
    """Write shards s-0.tar, s-1.tar, ... with so many samples each; returns the folder as text."""
    start = 0
    for i, count in enumerate(counts):
        write_shard(folder / f's-{i}.tar', range(start, start + count))
        start += count
    return str(folder)
