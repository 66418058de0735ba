"""Where the samples of a shard lie: keys, and place and size of each member. Found once a shard by its headers alone,
then kept in a cache."""
from __future__ import annotations

import hashlib
import os
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dtbox.counts import format_count
from dtbox.datasets.folder_listing import SUFFIXES
from dtbox.datasets.left_out import get_suffix
from dtbox.datasets.shards.reading import split_name
from dtbox.errors import InputError, reason
from dtbox.files import replacing

VERSION = 4
PACKED = {b'\x1f\x8b': 'gzip', b'\x28\xb5\x2f\xfd': 'zstandard', b'\xfd7zX': 'xz', b'BZh': 'bzip2'}
BLOCK = 512
IMAGES = tuple(suffix[1:] for suffix in SUFFIXES)
"""Suffixes of images; of a sample that has several the first one counts."""
MOST = 20
"""Flaws of a shard that are listed one by one."""


@dataclass
class ShardIndex:
    """What a shard holds, by sample.

    Attributes:
        keys: names of the n samples, in the order of the file.
        starts: int64 [n + 1]; members of sample i are starts[i] to starts[i + 1].
        offsets, sizes: int64 [m], bytes in the file.
        kinds: int64 [m], positions in `suffixes`.
        suffixes: such as 'jpg' and 'txt'.
        flaws: sentences on what was left out.
        others: kind -> number of members that belong to no sample: links, and files without a suffix.
    """
    keys: np.ndarray
    starts: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    kinds: np.ndarray
    suffixes: list
    flaws: list = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)

    def __len__(self):
        return len(self.keys)

    def members(self, i: int) -> dict[str, tuple[int, int]]:
        """Return dict suffix -> (offset, size) of sample `i`."""
        return {self.suffixes[self.kinds[m]]: (int(self.offsets[m]), int(self.sizes[m]))
                for m in range(self.starts[i], self.starts[i + 1])}

    def only(self, suffixes: Sequence[str]) -> tuple[ShardIndex, list[str]]:
        """Return the index of the samples that have a member of one of `suffixes`, and the keys of the others."""
        wanted = np.isin(self.kinds, [k for k, s in enumerate(self.suffixes) if s in suffixes])
        has = np.maximum.reduceat(wanted, self.starts[:-1])
        return self.choose(has), self.keys[~has].tolist()

    def choose(self, which: np.ndarray) -> ShardIndex:
        """Return the index of the samples of a mask, bool [n]."""
        if which.all():
            return self
        members = np.repeat(which, np.diff(self.starts))
        starts = np.concatenate([[0], np.cumsum(np.diff(self.starts)[which])])
        return ShardIndex(self.keys[which], starts, self.offsets[members], self.sizes[members], self.kinds[members],
                          self.suffixes, self.flaws, self.others)

    def find_repeats(self) -> np.ndarray:
        """Return which samples have the key of a sample before them, bool [n]."""
        repeats = np.ones(len(self), dtype=bool)
        repeats[np.unique(self.keys, return_index=True)[1]] = False
        return repeats

    def count_unread(self, images: Sequence[str], others: Sequence[str]) -> Counter[str]:
        """Return suffix ('.json') -> number of members that are not read.

        Args:
            images: suffixes of images; of each sample the first one is read.
            others: suffixes of the other members that are read.
        """
        counts = Counter({f'.{s}': int(n) for s, n in zip(self.suffixes, np.bincount(self.kinds)) if s not in others})
        of = np.repeat(np.arange(len(self)), np.diff(self.starts))
        free = np.ones(len(self), dtype=bool)
        for suffix in (s for s in images if s in self.suffixes):
            samples = np.unique(of[self.kinds == self.suffixes.index(suffix)])
            counts[f'.{suffix}'] -= int(free[samples].sum())
            free[samples] = False
        return counts + Counter(self.others)


def load_shard_index(path: str, cache: str | None = None) -> ShardIndex:
    """Return the ShardIndex of a tar file, from the cache where the file is the same (place, size, time) as when it was
    put there.

    Args:
        path: of the tar file.
        cache: folder of the cache; None takes `find_cache_folder()`.

    Raises:
        InputError: no whole sample can be read from the file.
    """
    kept = os.path.join(cache or find_cache_folder(), f'{_fingerprint(path)}.npz')
    index = _read(kept)
    if index is None:
        index = scan(path)
        try:
            _write(index, kept)
        except OSError:
            pass  # the cache only saves time
    return index


def find_cache_folder() -> str:
    """Return the folder of the indices: dtbox/shards under $XDG_CACHE_HOME or ~/.cache."""
    return os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'dtbox', 'shards')


def scan(path: str) -> ShardIndex:
    """Read the headers of a tar file.

    Samples that are cut short are left out and named in `flaws`. Members that come again under the key of an earlier
    sample, and a second image among those of one sample, are a sample of their own (`find_repeats`).

    Raises:
        InputError: not a tar file, compressed, empty, or without a whole sample.
    """
    groups = []
    flaws = []
    others = Counter()
    try:
        size = os.path.getsize(path)
        with open(path, 'rb') as file:
            _check_packing(path, file.read(8))
            file.seek(0)
            end = _collect(file, size, groups, flaws, others)
            _check_end(file, size, end, flaws)
    except (tarfile.TarError, EOFError) as e:
        raise InputError(f'the shard {path} is not a tar file ({reason(e)}); it has {size:,} bytes. Fetch or write it '
                         'again.') from e
    except OSError as e:
        raise InputError(f'the shard {path} cannot be read ({e.strerror or e}).') from e
    if not groups:
        what = f': {flaws[0]}' if flaws else ': it is empty' if not size or end == 0 else ''
        raise InputError(f'the shard {path} holds no whole sample{what}. Members are named KEY.jpg, KEY.txt, ...; '
                         'fetch or write it again.')
    suffixes = sorted({suffix for _, members in groups for suffix in members})
    number = {suffix: i for i, suffix in enumerate(suffixes)}
    rows = [(*place, number[suffix]) for _, members in groups for suffix, place in members.items()]
    offsets, sizes, kinds = (np.array(column, dtype=np.int64) for column in zip(*rows))
    starts = np.concatenate([[0], np.cumsum([len(members) for _, members in groups])]).astype(np.int64)
    told = flaws[:MOST] + ([f'and {len(flaws) - MOST} more'] if len(flaws) > MOST else [])
    return ShardIndex(np.array([key for key, _ in groups]), starts, offsets, sizes, kinds, suffixes, told,
                      dict(others))


def _collect(file, size, groups, flaws, others):
    """Fill `groups` with (key, dict suffix -> (offset, size)), and count other members; returns where the last whole
    member ends."""
    key = None
    members = {}
    end = 0

    def close():
        if members:
            groups.append((key, members))
    with tarfile.open(fileobj=file, mode='r:') as tar:
        try:
            for member in tar:
                tar.members = []  # tarfile would keep them all
                stem, suffix = split_name(member.name)
                if member.size < 0:
                    raise tarfile.ReadError(f'{member.name!r:.80} has a negative size')
                counts = member.isfile() and suffix and not stem.endswith('/') and stem
                if counts and (stem != key or suffix in members and suffix in IMAGES):
                    close()
                    key, members = stem, {}
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError('unexpected end of data')
                end = member.offset_data + -(-member.size // BLOCK) * BLOCK
                if not counts:
                    hidden = member.isfile() and suffix  # `._a.jpg` of a Mac
                    kind = 'link' if member.issym() or member.islnk() else get_suffix(stem)
                    others[kind] += not member.isdir() and not hidden
                    continue
                if suffix in members:
                    flaws.append(f'the sample {key} has two members .{suffix}; the later one is left out')
                    continue
                members[suffix] = (member.offset_data, member.size)
        except tarfile.ReadError as e:
            if not groups:
                raise
            flaws.append(f'the file ends in the middle of the sample {key} ({e}): truncated; '
                         f'before that, {format_count(len(groups), "sample", "is")} whole')
            return end
    close()
    return end


def _check_end(file, size, end, flaws):
    """A tar file ends with blocks of zeros; one that was cut between two members looks whole but for that."""
    file.seek(end)
    block = file.read(BLOCK)
    if not any('truncated' in flaw for flaw in flaws) and (len(block) < BLOCK or block.strip(b'\0')):
        flaws.append(f'the file ends after {size:,} bytes without the mark of its end: perhaps truncated between two '
                     'samples')


def _check_packing(path, head):
    kind = next((name for magic, name in PACKED.items() if head.startswith(magic)), None)
    if kind:
        raise InputError(f'the shard {path} is compressed ({kind}), so that single samples cannot be index in it. '
                         'Decompress it, or let a command do it: '
                         f'pipe:{dict(gzip="gzip -dc", zstandard="zstd -dc", xz="xz -dc", bzip2="bzip2 -dc")[kind]} '
                         f'{path}')


def _fingerprint(path):
    stat = os.stat(path)
    text = f'{VERSION}\0{os.path.realpath(path)}\0{stat.st_size}\0{stat.st_mtime_ns}'
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read(path):
    try:
        with np.load(path, allow_pickle=False) as f:
            return ShardIndex(f['keys'], f['starts'], f['offsets'], f['sizes'], f['kinds'], f['suffixes'].tolist(),
                              f['flaws'].tolist(), dict(zip(f['others'].tolist(), f['other_counts'].tolist())))
    except Exception:  # not there, or spoilt: it is made again
        return None


def _write(index, path):
    with replacing(path) as temporary:
        np.savez(temporary, keys=index.keys, starts=index.starts, offsets=index.offsets, sizes=index.sizes,
                 kinds=index.kinds, suffixes=np.array(index.suffixes, dtype=np.str_),
                 flaws=np.array(index.flaws, dtype=np.str_), others=np.array(list(index.others), dtype=np.str_),
                 other_counts=np.array(list(index.others.values()), dtype=np.int64))
