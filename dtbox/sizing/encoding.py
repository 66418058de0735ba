"""What it takes to tokenize a data set: images a second, days, disk, files and cost, from the rates of one worker.

A worker on a CPU is one core, which decodes an image file, runs the model and writes the codes one after the other. A
worker on a GPU is that GPU with some cores: these decode and write while the GPU computes, so the slower side counts.
Input shards are given to workers one at a time; at the end some workers wait for the last shards.

Legend: d, m, w images a second of decoding, model and writing.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

from dtbox.counts import format_count
from dtbox.errors import InputError

LIST_PAGE = 1000
"""Names in an answer to a LIST request of an object store (S3's ListObjectsV2 and those like it)."""
LIST_SECONDS = 0.1
"""Assumed seconds of a LIST request; the next one needs its answer, so they follow one another."""
MINUTE = 60.0
DIRECTORY = 10_000_000
"""Names from which on an ext4 folder may be full (a tree of two levels without the feature `large_dir`)."""
MANIFEST_BYTES = 100e6
"""Size from which on MANIFEST.json, which is written as a whole, takes seconds to write and to parse."""
FAN_OUT = 1000
"""Folders of one level above the folders of shards."""


@dataclass(frozen=True)
class Rates:
    """Images a second of one worker.

    Attributes:
        decode: of one core: read, decode and resize an image file.
        model: of the device: image tensors to codes.
        write: of one core: codes to a token shard on the disk.
        cores: beside a GPU; 0 where the worker is one core without a GPU.
    """
    decode: float
    model: float
    write: float
    cores: int = 0

    def __post_init__(self) -> None:
        if not all(math.isfinite(rate) and rate > 0 for rate in (self.decode, self.model, self.write)):
            raise InputError(f'the rates are {self.decode:g}, {self.model:g} and {self.write:g} images a second; '
                             'expected numbers above 0.')
        if self.cores < 0:
            raise InputError(f"a GPU has {format_count(self.cores, 'core')} beside it; expected at least 1.",
                             '--cores-per-gpu')

    @property
    def around(self) -> float:
        """Images a second that the cores of a worker decode and write, without the model."""
        return max(1, self.cores) / (1 / self.decode + 1 / self.write)

    @property
    def worker(self) -> float:
        """Images a second of one worker."""
        return min(self.model, self.around) if self.cores else 1 / (1 / self.around + 1 / self.model)

    @property
    def bottleneck(self) -> str:
        """What a worker spends most of its time on: 'decode', 'model' or 'write'."""
        if self.cores and self.model <= self.around:
            return 'model'
        steps = dict(decode=self.decode, write=self.write) if self.cores else dict(
            decode=self.decode, model=self.model, write=self.write)
        return min(steps, key=lambda name: steps[name])


@dataclass(frozen=True)
class Files:
    """How images and codes lie on disks.

    Attributes:
        image_bytes: of an image file, on average.
        row_bytes: of an image in a token shard.
        shard_bytes: of a token shard without images.
        shard_images: images of an input shard, and of a token shard.
        footer_seconds: to look at a token shard when a job starts, resumes or checks.
        name_seconds: to list one name of a folder.
        manifest_bytes: of a token shard in MANIFEST.json.
        most: token shards of one folder.
    """
    image_bytes: float
    row_bytes: float
    shard_bytes: float
    shard_images: int
    footer_seconds: float
    name_seconds: float
    manifest_bytes: float
    most: int = 100_000

    def __post_init__(self) -> None:
        for name, value in (('--shard-images', self.shard_images), ('--files-per-folder', self.most)):
            if value < 1:
                raise InputError(f'{value} came; expected at least 1.', name)

    def count(self, images: int) -> int:
        """Return the number of token shards of so many images."""
        return -(-images // self.shard_images)

    def size(self, images: int) -> float:
        """Return the bytes of the token shards of so many images."""
        return images * self.row_bytes + self.count(images) * self.shard_bytes

    def look_seconds(self, files: int) -> float:
        """Return the seconds in which one process lists a folder and looks at the footer of each shard."""
        return files * (self.name_seconds + self.footer_seconds)

    def levels(self, files: int) -> int:
        """Return the levels of folders: 1 where all shards fit in one folder, then one more for each factor of
        `FAN_OUT`."""
        levels, room = 1, self.most
        while room < files:
            levels, room = levels + 1, room * FAN_OUT
        return levels


@dataclass(frozen=True)
class Plan:
    """So many images on so many workers.

    Attributes:
        images, workers: their numbers.
        files: number of token shards.
        busy: workers that have a shard to do at all.
        seconds: of the whole job.
        rate: images a second of all workers.
        bytes: of the token shards.
        read_rate: bytes of images a second that all workers read.
        lost: seconds of work that a killed worker repeats at most.
        cost: in the unit of the price, or None.
    """
    images: int
    workers: int
    files: int
    busy: int
    seconds: float
    rate: float
    bytes: float
    read_rate: float
    lost: float
    cost: float | None

    @property
    def days(self) -> float:
        """Days of the whole job."""
        return self.seconds / 86400


def plan_job(images: int, workers: int, rates: Rates, files: Files, efficiency: float = 1.0,
             price: float | None = None) -> Plan:
    """Predict a job.

    Args:
        images: of the data set.
        workers: cores, or GPUs with their cores.
        rates: of one worker alone.
        files: how images and codes lie on disks.
        efficiency: rate of a worker among the others over its rate alone.
        price: of a worker for an hour, in any unit; None counts no cost. Workers are paid until the job ends.

    Raises:
        InputError: numbers below 1, an efficiency outside (0, 1], a negative price.
    """
    for name, value in (('--images', images), ('--workers', workers)):
        if value < 1:
            raise InputError(f'{value} came; expected at least 1.', name)
    if not 0 < efficiency <= 1:
        raise InputError(f'{efficiency:g} came; expected a fraction above 0 and at most 1.', '--efficiency')
    if price is not None and not 0 <= price < math.inf:
        raise InputError(f'{price:g} came; expected a price of at least 0.', '--cost-per-hour')
    rate, count = rates.worker * efficiency, files.count(images)
    whole, rest = divmod(images, files.shard_images)
    turns, over = divmod(whole, workers)
    seconds = (turns * files.shard_images + (files.shard_images if over else rest)) / rate
    lost = (files.shard_images if whole else rest) / rate
    cost = None if price is None else workers * seconds / 3600 * price
    return Plan(images, workers, count, min(workers, count), seconds, images / seconds, files.size(images),
                images / seconds * files.image_bytes, lost, cost)


@dataclass(frozen=True)
class Limit:
    """Something that breaks.

    Attributes:
        name: what.
        files: number of token shards from which on it does.
        why: a sentence.
    """
    name: str
    files: float
    why: str


def list_limits(files: Files) -> list[Limit]:
    """Return what breaks as the number of token shards grows, the first to break first."""
    look = files.look_seconds(1)
    limits = [
        Limit('one folder of shards', files.most,
              f'--files-per-folder: {format_count(files.most, "shard")}, which start, resume and are checked in less '
              'than a minute; beyond, more than one level of folders.'),
        Limit('start, resume and check', MINUTE / look,
              f'one process lists and looks at {1 / look:,.0f} footers a second; beyond, that takes more than a '
              'minute. Measured on this disk; a network disk adds its latency to each footer.'),
        Limit('object store listings', MINUTE / LIST_SECONDS * LIST_PAGE,
              f'LIST answers {LIST_PAGE:,} names a request, one request after the other, {LIST_SECONDS:g} s each '
              '(assumed); beyond, that takes more than a minute.'),
        Limit('MANIFEST.json', MANIFEST_BYTES / files.manifest_bytes,
              f'{files.manifest_bytes:,.0f} bytes a shard, written as a whole: {MANIFEST_BYTES / 1e6:,.0f} MB there.'),
        Limit('names of a folder', DIRECTORY,
              'a folder of ext4 without `large_dir` takes about 10 million names; loose image files reach that first: '
              'keep them in tar shards.')]
    return sorted(limits, key=lambda limit: limit.files)
