"""How fast data come: WebDataset shards beside open_clip's own pipeline, folders beside torchvision's ImageFolder, in alternation.

Each contender reads, decodes and resizes to 256 (a random crop of 90 to 100 % of the area, bicubic, antialiased) the same files in one process, so
that images a second are images a second and core. open_clip and torchvision make floats of [-1, 1]; dtbox hands on bytes, which the
model's device turns into floats.
"""
import io
import os
import statistics
import tarfile
import time
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from dtbox.datasets import CursorBatchSampler, ImageFolder, Shards, collate
from dtbox.errors import InputError, need_package

SIZE = 256
PHOTOS = ('astronaut.png', 'coffee.png', 'chelsea.png', 'rocket.jpg')
"""Photographs that scikit-image ships."""


def write_photos(folder, count, shards=4, seed=0):
    """Write JPEG crops of photographs as shards and as class folders.

    Args:
        folder: new folder; gets `shards/` and `folder/`.
        count: pictures.
        shards: tar files.
        seed: of the crops.
    """
    data = os.path.join(os.path.dirname(need_package('skimage', 'test', 'this benchmark').__file__), 'data')
    photos = [Image.open(os.path.join(data, name)).convert('RGB') for name in PHOTOS if os.path.isfile(os.path.join(data, name))]
    if not photos:
        raise InputError(f'scikit-image ships none of {", ".join(PHOTOS)} here; give shards of your own: --urls.')
    rng = np.random.default_rng(seed)
    for part in ('shards', 'folder/a', 'folder/b'):
        os.makedirs(os.path.join(folder, part))
    for s in range(shards):
        with tarfile.open(os.path.join(folder, 'shards', f'{s:03d}.tar'), 'w') as tar:
            for i in range(s * count // shards, (s + 1) * count // shards):
                content = _crop(photos[i % len(photos)], rng)
                with open(os.path.join(folder, 'folder', 'ab'[i % 2], f'{i:06d}.jpg'), 'wb') as f:
                    f.write(content)
                for suffix, body in (('jpg', content), ('txt', f'picture {i}'.encode())):
                    info = tarfile.TarInfo(f'{i:06d}.{suffix}')
                    info.size = len(body)
                    tar.addfile(info, io.BytesIO(body))


def _crop(photo, rng):
    width, height = (int(rng.integers(int(0.75 * n), n + 1)) for n in photo.size)
    left, top = int(rng.integers(photo.width - width + 1)), int(rng.integers(photo.height - height + 1))
    out = io.BytesIO()
    photo.crop((left, top, left + width, top + height)).save(out, 'JPEG', quality=90)
    return out.getvalue()


PIPELINE = [dict(type='RandomResizedCrop', size=SIZE, scale=(0.9, 1.0)), dict(type='PackImage')]


def ours(dataset, batch_size, workers):
    """Return a callable that gives a new iterator over batches of a dtbox data set."""
    def start():
        sampler = CursorBatchSampler(len(dataset), batch_size, last='carry', order=getattr(dataset, 'order', None))
        return iter(DataLoader(dataset, batch_sampler=sampler, num_workers=workers, collate_fn=collate))
    return start


def open_clips(urls, count, batch_size, workers):
    """Return the same of open_clip's pipeline for training."""
    from open_clip import image_transform
    from open_clip_train.data import get_wds_dataset
    transform = image_transform(SIZE, is_train=True, mean=(0.5,) * 3, std=(0.5,) * 3)
    args = SimpleNamespace(train_data=urls, val_data=None, dataset_resampled=False, train_num_samples=count, train_data_upsampling_factors=None,
                           seed=0, workers=workers, world_size=1, batch_size=batch_size)

    def start():
        return iter(get_wds_dataset(args, transform, is_train=True, tokenizer=lambda text: [text]).dataloader)
    return start


def torchvisions(folder, batch_size, workers):
    """Return the same of torchvision's ImageFolder."""
    from torchvision import datasets, transforms
    transform = transforms.Compose([transforms.RandomResizedCrop(SIZE, (0.9, 1.0), interpolation=transforms.InterpolationMode.BICUBIC),
                                    transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])

    def start():
        return iter(DataLoader(datasets.ImageFolder(folder, transform), batch_size, shuffle=True, num_workers=workers))
    return start


def rate(start, batches, batch_size):
    """Return images a second over some batches, the first one (start of workers, filling of buffers) not counted."""
    it = start()
    next(it)
    begun = time.perf_counter()
    for _ in range(batches):
        next(it)
    return batches * batch_size / (time.perf_counter() - begun)


def measure(urls, folder, count, rounds=5, batches=8, batch_size=16, workers=0, say=print):
    """Let the contenders take turns.

    Args:
        urls: shards, as `Shards` and open_clip both take them (a brace range).
        folder: of class folders with pictures.
        count: pictures in the shards; a contender reads (batches + 1) * batch_size of them a round.
        rounds, batches, batch_size, workers: of the measurement.
        say: called with lines of text.

    Returns:
        dict of `rates` (name -> list of images a second) and `ratios` (name -> median over rounds of ours over theirs).
    """
    if (batches + 1) * batch_size > count:
        raise InputError(f'{batches + 1} batches of {batch_size} need {(batches + 1) * batch_size} pictures, there are {count}.', '--count')
    pairs = {'shards': (ours(Shards(urls, PIPELINE), batch_size, workers), open_clips(urls, count, batch_size, workers)),
             'folder': (ours(ImageFolder(folder, pipeline=PIPELINE, check=False, holdout=0.01), batch_size, workers),
                        torchvisions(folder, batch_size, workers))}
    names = {'shards': 'open_clip', 'folder': 'torchvision'}
    rates, ratios = {}, {}
    for what, (mine, theirs) in pairs.items():
        for r in range(rounds):
            for name, start in (('dtbox', mine), (names[what], theirs))[::1 if r % 2 else -1]:
                rates.setdefault(f'{what}, {name}', []).append(rate(start, batches, batch_size))
        a, b = rates[f'{what}, dtbox'], rates[f'{what}, {names[what]}']
        ratios[what] = statistics.median(x / y for x, y in zip(a, b))
        say(f'{what}: dtbox {statistics.median(a):.0f}, {names[what]} {statistics.median(b):.0f} images/s, ratio {ratios[what]:.2f} '
            f'({min(x / y for x, y in zip(a, b)):.2f} to {max(x / y for x, y in zip(a, b)):.2f} over {rounds} rounds)')
    return dict(rates=rates, ratios=ratios, threads=torch.get_num_threads())
