"""Which shards a pattern names: folders, globs, brace ranges and pipes."""
from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dtbox.counts import format_count
from dtbox.datasets.left_out import describe_suffixes, get_suffix
from dtbox.errors import InputError

PIPE = 'pipe:'
MOST = 1_000_000
"""Shards that one pattern may name."""


@dataclass(frozen=True)
class Place:
    """Where a shard is.

    Attributes:
        name: tells it from the others of its set; begins the keys of its samples.
        path: the file, or None where only a command can read it.
        command: shell command that writes the shard to its standard output, or None.
    """
    name: str
    path: str = None
    command: str = None

    def __str__(self):
        return self.path or PIPE + self.command


def list_places(urls: str | Sequence[str]) -> list[Place]:
    """Return the `Place` of every shard that `urls` names, in that order; those of a folder or glob are sorted.

    Args:
        urls: a string or a list of them. Each is a folder (its *.tar), a file, a glob (`data/cc12m-*.tar`), a brace
            range as in WebDataset (`data/{0000..2175}.tar`), or `pipe:COMMAND` whose output is a shard (`pipe:aws s3 cp
            s3://bucket/{000..127}.tar -`); `::` parts several in one string.

    Raises:
        InputError: nothing there, a shard that is named twice, or an address that needs a pipe.
    """
    given = [urls] if isinstance(urls, (str, os.PathLike)) else urls
    if not given or not isinstance(given, (list, tuple)) or not all(isinstance(u, (str, os.PathLike)) and os.fspath(u)
                                                                    for u in given):
        ways = ' Set it (shards=PATTERN heldout=PATTERN in the configs of dtbox), or choose other data (--data CONFIG).'
        raise InputError(f'the shards are {urls!r}; expected a pattern such as data/cc12m-{{0000..2175}}.tar, or a '
                         f'list of them.{ways if urls is None else ""}', 'urls')
    places = [place for url in given for part in _parts(os.fspath(url)) for place in _expand(part)]
    seen = set()
    for place in places:
        if str(place) in seen:
            raise InputError(f'the shard {place} is named twice; every sample of it would come twice.', 'urls')
        seen.add(str(place))
    return _named(places)


def describe_beside(urls: str | Sequence[str]) -> list[str]:
    """Return sentences on what lies beside the shards in the folders that `urls` names, and is no shard."""
    given = [urls] if isinstance(urls, (str, os.PathLike)) else urls
    counts: Counter[str] = Counter()
    for folder in (os.path.expanduser(part) for url in given for part in _parts(os.fspath(url))):
        if os.path.isdir(folder):
            with os.scandir(folder) as entries:
                counts.update('folder' if e.is_dir() else get_suffix(e.name) for e in entries
                              if not (e.is_file() and e.name.endswith('.tar') or e.name.startswith('.')))
    folders = counts.pop('folder', 0)
    return [*describe_suffixes(counts, 'shards (.tar)'),
            *([f'{format_count(folders, "folder", "is")} left out: beside the shards'] if folders else [])]


def _parts(url):
    return [url] if url.startswith(PIPE) else url.split('::')


def _expand(url):
    from braceexpand import UnbalancedBracesError, braceexpand
    ranges = [abs(int(b) - int(a)) for a, b in re.findall(r'\{(-?\d{1,30})\.\.(-?\d{1,30})', url)]
    try:
        names = [url] if '{' not in url or max(ranges, default=0) > MOST else list(islice(braceexpand(url), MOST + 1))
    except UnbalancedBracesError as e:
        raise InputError(f'the braces of {url!r} do not pair ({e}); a range is written {{0000..2175}}.', 'urls') from e
    if len(names) > MOST or max(ranges, default=0) > MOST:
        raise InputError(f'{url!r:.100} names more than {MOST:,} shards.', 'urls')
    for name in names:
        if name.startswith(PIPE):
            yield Place(name='', command=name[len(PIPE):].strip())
        elif '://' in name:
            raise InputError(f'{name} is not a local file. Let a command read it: pipe:curl -sfL {name} (or pipe:aws '
                             f's3 cp {name} -).', 'urls')
        else:
            yield from (Place(name='', path=path) for path in _files(os.path.expanduser(name)))


def _files(name):
    if os.path.isdir(name):
        paths = sorted(str(p) for p in Path(name).glob('*.tar') if p.is_file())
        if not paths:
            raise InputError(f'the folder {name} holds no *.tar files.', 'urls')
        return paths
    if os.path.exists(name):
        return [name]
    if glob.has_magic(name):
        paths = sorted(p for p in glob.glob(name, recursive=True) if os.path.isfile(p))
        if not paths:
            raise InputError(f'no file matches {name}. Check the path; in a config a relative one starts where the '
                             'command runs.', 'urls')
        return paths
    raise InputError(f'the shard {name} does not exist. Check the path and the range; a glob (*.tar) takes what is '
                     'there.', 'urls')


def _named(places):
    """Name shards by their stems; by longer and longer parts of their paths where stems are not enough."""
    sources = [Path(p.path) if p.path else Path(_target(p.command)) for p in places]
    longest = max((len(s.parts) for s in sources), default=1)
    for depth in range(1, longest + 1):
        names = ['/'.join(s.with_suffix('').parts[-depth:]) for s in sources]
        if len(set(names)) == len(names):
            break
    else:
        names = [f'{i:06d}' for i in range(len(places))]
    return [Place(name, p.path, p.command) for name, p in zip(names, places)]


def _target(command):
    """Return the word of a command that looks like a shard."""
    words = command.split()
    return next((w for w in words if w.endswith('.tar')), words[-1] if words else 'pipe')
