"""Start, resume and check of `dtbox encode` with very many input shards, each without images.

    python tools/benchmarks/many_shards.py [--shards 100000] [--folder DIR]

The input shards are tars without samples. Their token shards are written as `write_shard` writes them: one is, and the
others are the same bytes with another name of the input shard and a new seal, which is compared with `write_shard` for
some. Prints seconds as it goes, and exits with 1 where a step takes more than a minute.
"""
from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measuring import check_counts

from dtbox.cli.guard import main_guard
from dtbox.errors import InputError
from dtbox.token_shards.fingerprint import Fingerprint
from dtbox.token_shards.format import ShardMeta, Stream, shard_name
from dtbox.token_shards.manifest import write_manifest
from dtbox.token_shards.seal import BLANK, SEAL_KEY, find_value, put_seal
from dtbox.token_shards.writing import Row, write_shard
from dtbox.tokens.catalog import Catalog
from dtbox.tokens.checking import check_folder
from dtbox.tokens.plan import make_plan
from dtbox.tokens.sources import find_source

MOST = 60.0
LINKS = 30000
"""Names of one file: file systems allow 65,000 and fewer."""
COMPARED = 20
WRITES = 10
META = ShardMeta(Fingerprint('w' * 16, 'c' * 64, 'p' * 64, 'float32', 'cpu', 'batch=32,padded,threads=1,aligned=64'),
                 (Stream('pixel', 64, 4, 1024), Stream('semantic', 64, 4, 1024)), versions=dict(torch='2.9.0'))


def write_sources(folder: Path, count: int) -> None:
    """Write tars without samples: hard links, as their content is the same."""
    folder.mkdir()
    for number in range(count):
        path = folder / f'part-{number:08d}.tar'
        if number % LINKS == 0:
            path.write_bytes(bytes(10240))
            first = path
        else:
            os.link(first, path)


def write_shards(folder: Path, names: Sequence[str]) -> None:
    """Write a token shard without rows for each name of an input shard; all names are of one length."""
    folder.mkdir()
    path = write_shard(folder, names[0], [], META)
    content = bytearray(path.read_bytes())
    start, stop = find_value(bytes(content), SEAL_KEY)
    content[start:stop] = BLANK.encode()
    for name in names[1:]:
        path = folder / shard_name(name, META.fingerprint)
        path.write_bytes(content.replace(names[0].encode(), name.encode()))
        put_seal(path)
    with tempfile.TemporaryDirectory() as other:
        for name in names[1::max(1, len(names) // COMPARED)]:
            written = write_shard(other, name, [], META)
            if written.read_bytes() != (folder / written.name).read_bytes():
                raise InputError(f'{written.name} is not what write_shard writes; the benchmark has to be mended.')


def time_steps(folder: Path, count: int) -> dict[str, float]:
    """Time the steps, print them, and return step -> seconds."""
    source, out = folder / 'source', folder / 'out'
    empty = folder / 'empty'
    seconds: dict[str, float] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        begun, computed = time.perf_counter(), time.process_time()
        result = step()
        seconds[name] = time.perf_counter() - begun
        print(f'{name:32} {seconds[name]:8.2f} s, {time.process_time() - computed:8.2f} s of a core', flush=True)
        return result

    write_sources(source, count)
    empty.mkdir()
    todo = timed('start: list the input, plan', lambda: make_plan(find_source(str(source)), empty, META.fingerprint))
    names = [shard.name for shard in todo.todo]
    timed('(make the token shards)', lambda: write_shards(out, names))
    os.remove(out / shard_name(names[-1], META.fingerprint))
    left = timed('resume: find what lacks', lambda: make_plan(find_source(str(source)), out, META.fingerprint))
    if [shard.name for shard in left.todo] != names[-1:]:
        raise InputError(f'{len(left.todo):,} shards are to be done; expected the one that was removed.')
    checked = timed('check-tokens', lambda: check_folder(out))
    if checked.findings or len(checked.images) != count - 1:
        raise InputError(f'{len(checked.images):,} shards are sound, of {count - 1:,}; the benchmark has to be mended.')
    timed('MANIFEST.json', lambda: write_manifest(out))
    timed('open all for a search', lambda: Catalog(out))
    timed(f'write {WRITES} shards more', lambda: [
        write_shard(out, f'more-{i}', [Row('key', 0, status='broken')], META) for i in range(WRITES)])
    return seconds


@main_guard
def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns 1 where a step takes more than `MOST` seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--shards', type=int, default=100_000, metavar='N', help='default: 100000')
    parser.add_argument('--folder', metavar='DIR', help='where the files are made (default: a temporary folder)')
    args = parser.parse_args(argv)
    check_counts(shards=args.shards)
    with tempfile.TemporaryDirectory(prefix='many_shards_', dir=args.folder) as folder:
        seconds = time_steps(Path(folder), args.shards)
    late = [name for name, value in seconds.items() if value > MOST and not name.startswith('(')]
    if late:
        print(f'more than {MOST:g} s: {", ".join(late)}', file=sys.stderr)
    return 1 if late else 0


if __name__ == '__main__':
    raise SystemExit(main())
