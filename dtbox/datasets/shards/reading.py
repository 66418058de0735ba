"""WebDataset-style shards: tar files whose members KEY.jpg, KEY.cls, KEY.txt, ... make one sample a KEY.

Source of the layout: https://github.com/webdataset/webdataset. Members of a sample follow one another.
"""
from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dtbox.datasets.left_out import get_suffix
from dtbox.errors import InputError


def list_shards(folder: str | Path, part: str) -> list[Path]:
    """Return the shards PART-*.tar of a folder, sorted by name; [] where there are none."""
    return sorted(path for path in Path(folder).glob(f'{part}-*.tar') if path.is_file())


def read_shards(paths: Iterable[str | Path], suffixes: Sequence[str],
                others: Counter[str] | None = None) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Read samples, shard after shard, in the order of their members.

    Args:
        paths: tar files.
        suffixes: of the members to read, such as 'jpg'.
        others: counts the members of other suffixes ('.json', or 'no suffix'), which are passed over.

    Yields:
        (key, dict suffix -> bytes): the key is SHARD/KEY without suffixes, such as 'train-000/000017'.

    Raises:
        InputError: a file that is not a whole tar file, or a key that comes again.
    """
    others = Counter() if others is None else others
    for path in map(Path, paths):
        seen = set()
        for name, parts in _samples(path, suffixes, others):
            key = f'{path.stem}/{name}'
            if key in seen:
                raise InputError(f'shard {path} holds the sample {name} twice. Members of one sample must follow one '
                                 'another, each suffix once; write the shard again.')
            seen.add(key)
            yield key, parts


def _samples(path, suffixes, others):
    """Yield (name, dict suffix -> bytes) of one shard."""
    name, parts = None, {}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                stem, suffix = split_name(member.name)
                if not member.isfile() or suffix not in suffixes:
                    others[get_suffix(f'member.{suffix}' if suffix else 'member')] += not member.isdir()
                    continue
                if stem != name or suffix in parts:
                    if parts:
                        yield name, parts
                    name, parts = stem, {}
                parts[suffix] = tar.extractfile(member).read()
    except (tarfile.TarError, OSError, EOFError) as e:
        raise InputError(f'shard {path} cannot be read ({e}): broken or truncated. Fetch or write it again.') from e
    if parts:
        yield name, parts


def split_name(member: str) -> tuple[str, str]:
    """Return (path up to the first dot of the file name, the rest in lower case): 'a/b.cls' -> ('a/b', 'cls')."""
    folder, slash, file = member.removeprefix('./').rpartition('/')
    stem, _, suffix = file.partition('.')
    return folder + slash + stem, suffix.lower()
