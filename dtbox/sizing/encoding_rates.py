"""Measures, in a short run on this machine, what `encoding` needs: rates of decoding, model and writing, bytes of token
shards, seconds to look at one.
"""
from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dtbox.apis import reconstruction
from dtbox.counts import format_count
from dtbox.datasets.read import read_image
from dtbox.errors import InputError
from dtbox.token_shards.fingerprint import Fingerprint, name_device
from dtbox.token_shards.format import ShardMeta, make_streams
from dtbox.token_shards.manifest import write_manifest
from dtbox.token_shards.reading import is_done, list_shards
from dtbox.token_shards.writing import Row, write_shard

if TYPE_CHECKING:
    from dtbox.apis.tokenizer import Tokenizer

GENERATED = (500, 375)
"""Width and height of generated images: about those of ImageNet."""
QUALITY = 90
SAMPLES = 64
"""Image files that are decoded in turn."""
ROWS = 2048
"""Images of a shard that is written for the rate."""
TEXT = 'a caption of about forty characters each'
NAMES = 200
"""Empty shards that are listed and looked at."""


@dataclass(frozen=True)
class Measured:
    """Rates in images a second of one core or device, sizes in bytes, seconds.

    Attributes:
        decode, model, write: see `encoding.Rates`; None where it was given, and so not measured.
        image_bytes: of the image files that were decoded, on average; None where none were.
        row_bytes, shard_bytes: of a token shard, see `encoding.Files`; the codes are drawn uniformly, so that they do
            not compress: real codes take less.
        footer_seconds, name_seconds, manifest_bytes: see `encoding.Files`.
        device: that the model ran on; '' where its rate was given.
        images: what was decoded, for the list of assumptions.
    """
    decode: float | None
    model: float | None
    write: float | None
    image_bytes: float | None
    row_bytes: float
    shard_bytes: float
    footer_seconds: float
    name_seconds: float
    manifest_bytes: float
    device: str
    images: str


def repeat(step: Callable[[], Any], seconds: float) -> float:
    """Return how often a second `step` runs, over `seconds` after one call that does not count."""
    step()
    count, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds or not count:
        step()
        count += 1
    return count / spent


def generate_images(folder: Path) -> list[str]:
    """Write `SAMPLES` JPEG files of smooth noise; they are as large as photographs of that size, roughly."""
    from PIL import Image
    generator = np.random.default_rng(0)
    width, height = GENERATED
    paths = []
    for number in range(SAMPLES):
        image = Image.fromarray(generator.integers(0, 256, (height // 6, width // 6, 3), np.uint8))
        image = np.asarray(image.resize(GENERATED, Image.Resampling.BICUBIC), np.int16)
        image = (image + generator.integers(-8, 9, image.shape)).clip(0, 255).astype(np.uint8)
        paths.append(str(folder / f'{number}.jpg'))
        Image.fromarray(image).save(paths[-1], quality=QUALITY)
    return paths


def measure_decoding(tokenizer: Tokenizer, paths: Sequence[str], seconds: float) -> float:
    """Return images a second that one core reads, decodes and prepares as the tokenizer wants them."""
    files = cycle(paths)

    def step() -> None:
        results = dict(image=read_image(next(files)))
        for transform in tokenizer.pipeline:
            results = transform(results)
    return repeat(step, seconds)


def measure_model(tokenizer: Tokenizer, batch: int, seconds: float) -> float:
    """Return images a second that the model encodes, in batches on its device; one thread on a CPU."""
    images = (torch.rand(batch, 3, *tokenizer.image_size) * 2 - 1).to(tokenizer.device, tokenizer.dtype)
    threads = torch.get_num_threads()

    def step() -> None:
        with torch.no_grad():
            tokenizer.model.encode(images)
        if tokenizer.device.type == 'cuda':
            torch.cuda.synchronize(tokenizer.device)
    try:
        torch.set_num_threads(1)
        return batch * repeat(step, seconds)
    finally:
        torch.set_num_threads(threads)


def make_rows(meta: ShardMeta, count: int, texts: Sequence[str] = (TEXT,)) -> list[Row]:
    """Return rows of images with codes drawn uniformly from their codebooks."""
    generator = np.random.default_rng(0)
    codes = {stream.name: np.stack([generator.integers(0, limit, (count, stream.positions), np.uint64)
                                    for limit in stream.limits], -1).astype(stream.dtype) for stream in meta.streams}
    embeddings = generator.normal(size=(count, meta.embedding)) if meta.embedding else [None] * count
    return [Row(f'image_{i:09d}', i, generator.bytes(16), *GENERATED, (0, 0, 375, 375), texts=list(texts),
                codes={name: value[i] for name, value in codes.items()}, embedding=embeddings[i])
            for i in range(count)]


def measure_writing(meta: ShardMeta, folder: Path, seconds: float) -> tuple[float, float, float]:
    """Return (images a second that are written, bytes of a row, bytes of a shard without rows)."""
    rows = make_rows(meta, ROWS)
    rate = ROWS * repeat(lambda: write_shard(folder, 'rows', rows, meta), seconds)
    full = os.path.getsize(write_shard(folder, 'rows', rows, meta))
    empty = os.path.getsize(write_shard(folder, 'none', [], meta))
    return rate, (full - empty) / ROWS, empty


def measure_looking(meta: ShardMeta, folder: Path) -> tuple[float, float, float]:
    """Return (seconds to see that a shard is whole, seconds to list a name of a folder, bytes in MANIFEST.json), each
    for one shard."""
    folder.mkdir()
    content = Path(write_shard(folder, 'shard', [], meta)).read_bytes()
    for number in range(NAMES):
        (folder / f'shard-{number:08x}-{meta.fingerprint.digest[:8]}.parquet').write_bytes(content)
    paths = list_shards(folder)
    begun = time.perf_counter()
    if not all(map(is_done, paths)):
        raise InputError(f'shards that were written to {folder} are not whole; the disk may be full or broken.')
    looked = time.perf_counter()
    for _ in range(20):
        list_shards(folder)
    listed = time.perf_counter()
    size = os.path.getsize(write_manifest(folder))
    return (looked - begun) / len(paths), (listed - looked) / 20 / len(paths), size / len(paths)


def describe_shards(tokenizer: Tokenizer, embedding: int | None = None) -> ShardMeta:
    """Return the description of token shards as the tokenizer makes them, without a fingerprint."""
    return ShardMeta(Fingerprint('', '', '', '', '', ''), make_streams(tokenizer.layout), tokenizer.layout.to_dict(),
                     embedding=embedding)


def measure(tokenizer: Tokenizer, source: str | None, given: Sequence[str], batch: int = 32, seconds: float = 2.0,
            embedding: int | None = None) -> Measured:
    """Measure what is not given.

    Args:
        tokenizer: with any weights.
        source: folder of images that are decoded; None generates some.
        given: of 'decode', 'model', 'write': what is not measured.
        batch: images of a batch of the model.
        seconds: of each measurement.
        embedding: width of the embeddings of the shards; None for none.

    Raises:
        InputError: a folder without images, a tokenizer without codes, pyarrow is missing.
    """
    meta = describe_shards(tokenizer, embedding)
    with tempfile.TemporaryDirectory(prefix='dtbox_rates_') as temporary:
        folder = Path(temporary)
        decode = model = image_bytes = None
        images = 'none'
        if 'decode' not in given:
            paths = generate_images(folder) if source is None else find_images(source)
            image_bytes = float(np.mean([os.path.getsize(path) for path in paths]))
            images = (f'{len(paths)} generated JPEG files of {GENERATED[0]} x {GENERATED[1]} pixels, quality {QUALITY}'
                      if source is None else f"{format_count(len(paths), 'image')} of {source}")
            decode = measure_decoding(tokenizer, paths, seconds)
        if 'model' not in given:
            model = measure_model(tokenizer, batch, seconds)
        write, row_bytes, shard_bytes = measure_writing(meta, folder, 0.0 if 'write' in given else seconds)
        looking = measure_looking(meta, folder / 'names')
    device = '' if model is None else name_device(tokenizer.device)
    return Measured(decode, model, None if 'write' in given else write, image_bytes, row_bytes, shard_bytes,
                    *looking, device, images)


def find_images(source: str) -> list[str]:
    """Return at most `SAMPLES` image files of a folder, evenly spaced.

    Raises:
        InputError: a folder without images.
    """
    paths = []
    for path, error in reconstruction.find_images([source]):
        if error is not None:
            raise error
        paths.append(path)
    return [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, SAMPLES).astype(int))]
