"""How fast data come: WebDataset shards beside open_clip's pipeline, folders beside torchvision's ImageFolder, in turn.

    python tools/benchmarks/data.py [--urls PATTERN --folder DIR]

Each contender reads, decodes and resizes to 256 (a random crop of 90 to 100 % of the area, bicubic, antialiased) the
same files in one process, so that images a second are images a second and core. open_clip and torchvision return floats
in [-1, 1]; dtbox returns bytes, which the model's device turns into floats.
"""
from __future__ import annotations

import argparse
import io
import os
import statistics
import tarfile
import tempfile
import time
from types import SimpleNamespace
from typing import Callable, Iterator

import numpy as np
import torch
from measuring import check_counts
from PIL import Image
from torch.utils.data import DataLoader

from dtbox.cli.guard import main_guard
from dtbox.datasets import CursorBatchSampler, ImageFolder, Shards, collate
from dtbox.errors import InputError, need_package

SIZE = 256
PHOTOS = ('astronaut.png', 'coffee.png', 'chelsea.png', 'rocket.jpg')
"""Photographs that scikit-image ships."""
Start = Callable[[], Iterator]
"""Gives a new iterator over batches."""


def write_photos(folder: str, count: int, shards: int = 4, seed: int = 0) -> None:
    """Write JPEG crops of photographs as shards and as class folders.

    Args:
        folder: new folder; gets `shards/` and `folder/`.
        count: images.
        shards: tar files.
        seed: of the crops.
    """
    data = os.path.join(os.path.dirname(need_package('skimage', 'test', 'this benchmark').__file__), 'data')
    paths = [os.path.join(data, name) for name in PHOTOS]
    photos = [Image.open(path).convert('RGB') for path in paths if os.path.isfile(path)]
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


def _crop(photo: Image.Image, rng: np.random.Generator) -> bytes:
    width, height = (int(rng.integers(int(0.75 * n), n + 1)) for n in photo.size)
    left, top = int(rng.integers(photo.width - width + 1)), int(rng.integers(photo.height - height + 1))
    out = io.BytesIO()
    photo.crop((left, top, left + width, top + height)).save(out, 'JPEG', quality=90)
    return out.getvalue()


PIPELINE = [dict(type='RandomResizedCrop', size=SIZE, scale=(0.9, 1.0)), dict(type='PackImage')]


def start_dtbox(dataset: object, batch_size: int, workers: int) -> Start:
    """Return a callable that gives a new iterator over batches of a dtbox data set."""
    def start():
        sampler = CursorBatchSampler(len(dataset), batch_size, last='carry', order=getattr(dataset, 'order', None))
        return iter(DataLoader(dataset, batch_sampler=sampler, num_workers=workers, collate_fn=collate))
    return start


def start_open_clip(urls: str, count: int, batch_size: int, workers: int) -> Start:
    """Return the same of open_clip's pipeline for training."""
    from open_clip import image_transform
    from open_clip_train.data import get_wds_dataset
    transform = image_transform(SIZE, is_train=True, mean=(0.5,) * 3, std=(0.5,) * 3)
    args = SimpleNamespace(train_data=urls, val_data=None, dataset_resampled=False, train_num_samples=count,
                           train_data_upsampling_factors=None, seed=0, workers=workers, world_size=1,
                           batch_size=batch_size)

    def start():
        return iter(get_wds_dataset(args, transform, is_train=True, tokenizer=lambda text: [text]).dataloader)
    return start


def start_torchvision(folder: str, batch_size: int, workers: int) -> Start:
    """Return the same of torchvision's ImageFolder."""
    from torchvision import datasets, transforms
    crop = transforms.RandomResizedCrop(SIZE, (0.9, 1.0), interpolation=transforms.InterpolationMode.BICUBIC)
    transform = transforms.Compose([crop, transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])

    def start():
        return iter(DataLoader(datasets.ImageFolder(folder, transform), batch_size, shuffle=True, num_workers=workers))
    return start


def measure_rate(start: Start, batches: int, batch_size: int) -> float:
    """Return images a second over some batches, the first one (start of workers, filling of buffers) not counted."""
    it = start()
    next(it)
    begun = time.perf_counter()
    for _ in range(batches):
        next(it)
    return batches * batch_size / (time.perf_counter() - begun)


def measure(urls: str, folder: str, count: int, rounds: int = 5, batches: int = 8, batch_size: int = 16,
            workers: int = 0, say: Callable[[str], None] = print) -> dict:
    """Let the contenders take turns.

    Args:
        urls: shards, as `Shards` and open_clip both take them (a brace range).
        folder: of class folders with images.
        count: images in the shards; a contender reads (batches + 1) * batch_size of them a round.
        rounds, batches, batch_size, workers: of the measurement.
        say: called with lines of text.

    Returns:
        dict of `rates` (name -> list of images a second) and `ratios` (name -> median over rounds of ours over theirs).
    """
    if (batches + 1) * batch_size > count:
        raise InputError(f'{batches + 1} batches of {batch_size} need {(batches + 1) * batch_size} images, there are '
                         f'{count}.',
                         '--count')
    images = ImageFolder(folder, pipeline=PIPELINE, check=False, holdout=0.01)
    pairs = {'shards': (start_dtbox(Shards(urls, PIPELINE), batch_size, workers),
                        start_open_clip(urls, count, batch_size, workers)),
             'folder': (start_dtbox(images, batch_size, workers), start_torchvision(folder, batch_size, workers))}
    names = {'shards': 'open_clip', 'folder': 'torchvision'}
    rates, ratios = {}, {}
    for what, (mine, theirs) in pairs.items():
        for r in range(rounds):
            for name, start in (('dtbox', mine), (names[what], theirs))[::1 if r % 2 else -1]:
                rates.setdefault(f'{what}, {name}', []).append(measure_rate(start, batches, batch_size))
        a, b = rates[f'{what}, dtbox'], rates[f'{what}, {names[what]}']
        ratios[what] = statistics.median(x / y for x, y in zip(a, b))
        each = [x / y for x, y in zip(a, b)]
        say(f'{what}: dtbox {statistics.median(a):.0f}, {names[what]} {statistics.median(b):.0f} images/s, ratio '
            f'{ratios[what]:.2f} ({min(each):.2f} to {max(each):.2f} over {rounds} rounds)')
    return dict(rates=rates, ratios=ratios, threads=torch.get_num_threads())


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="Images a second, read, decoded and resized to 256: WebDataset shards beside open_clip's pipeline, "
                    "folders beside torchvision's ImageFolder. Use an idle machine. Needs the extra `test`.")
    parser.add_argument('--count', type=int, default=512, metavar='N',
                        help='photographs to write, or that the shards hold (default: 512)')
    parser.add_argument('--urls', metavar='PATTERN',
                        help='shards of your own with captions (.txt), such as data/{000..007}.tar; with --folder')
    parser.add_argument('--folder', metavar='DIR', help='class folders of your own')
    parser.add_argument('--rounds', type=int, default=5, metavar='N', help='turns of each contender (default: 5)')
    parser.add_argument('--batches', type=int, default=8, metavar='N', help='timed batches of 16 a turn (default: 8)')
    parser.add_argument('--workers', type=int, default=0, metavar='N',
                        help='worker processes (default: 0: this process alone, so that a rate is one a core)')
    args = parser.parse_args(argv)
    if bool(args.urls) != bool(args.folder):
        raise InputError('--urls and --folder go together.')
    check_counts(count=args.count, rounds=args.rounds, batches=args.batches)
    if args.workers < 0:
        raise InputError(f'{args.workers} came; expected at least 0.', '--workers')
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        urls, folder = args.urls, args.folder
        if urls is None:
            write_photos(place, args.count)
            urls, folder = os.path.join(place, 'shards', '{000..003}.tar'), os.path.join(place, 'folder')
        measure(urls, folder, args.count, args.rounds, args.batches, workers=args.workers)


if __name__ == '__main__':
    main()
