"""Kill `dtbox encode` at random moments, start it again, and compare its files with those of a run that nobody killed.

    python tests/kill_encode.py [--count 100] [--engine ray] [--seed 0] [--run RUN --source SRC]

By turns a worker gets SIGKILL, the driver, or everything that the driver has started, at a moment that is drawn from
the time that a whole run takes. A killed driver is started again, on one to three workers, and may be killed again. In
the end names and SHA-256 of all token shards must be those of the uninterrupted run, with no unfinished file beside.
Prints a line a kill; exit code 1 where something differs.
"""
from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dtbox.counts import format_count
from dtbox.processes import end_with_parent
from tests.shard_data import write_set
from tests.tokens.kit import hashes

TARGETS = ('worker', 'driver', 'everything')


def start(run: str, src: str, out: str, workers: int, engine: str) -> subprocess.Popen:
    """Start `dtbox encode` as a process of its own group."""
    words = ['encode', run, src, out, '--workers', str(workers), '--batch', '8', '--engine', engine]
    parent = os.getpid()
    with open(f'{out}.log', 'wb') as log:
        return subprocess.Popen([sys.executable, '-m', 'dtbox', *words], stdout=log, stderr=subprocess.STDOUT,
                                start_new_session=True, preexec_fn=lambda: end_with_parent(parent))


def list_children(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that these have, children first."""
    found: list[int] = []
    for task in Path(f'/proc/{pid}/task').glob('*/children'):
        try:
            children = [int(word) for word in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [*list_children(child), child]
    return found


def is_worker(pid: int, engine: str) -> bool:
    """Whether a process encodes: a local worker, or an actor of Ray."""
    try:
        words = Path(f'/proc/{pid}/cmdline').read_bytes().replace(b'\0', b' ').decode(errors='replace')
    except OSError:
        return False
    return 'dtbox.tokens.engines.worker' in words if engine == 'local' else words.startswith('ray::Actor')


def strike(target: str, driver: int, engine: str, draw: random.Random) -> list[int]:
    """Send SIGKILL; returns the processes that got it."""
    below = list_children(driver)
    workers = [pid for pid in below if is_worker(pid, engine)]
    worker = [draw.choice(workers)] if workers else []
    chosen = dict(worker=worker, driver=[driver], everything=[driver, *below])[target]
    for pid in chosen:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return chosen


def finish(process: subprocess.Popen, out: str) -> tuple[int, str]:
    """Wait for the driver of a folder; returns its exit code and what it printed."""
    code = process.wait()
    return code, Path(f'{out}.log').read_text(errors='replace')


def wait_for_worker(process: subprocess.Popen, engine: str, seconds: float = 120) -> None:
    """Wait until a driver has a worker, or has ended."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        if any(is_worker(pid, engine) for pid in list_children(process.pid)):
            return
        time.sleep(0.02)


def try_one(number: int, run: str, src: str, folder: str, length: float, engine: str,
            draw: random.Random) -> tuple[str, str]:
    """Kill and start again until a run ends by itself; returns (folder of its files, what was done)."""
    out, told = os.path.join(folder, f'killed-{number}'), []
    for strikes in range(draw.randint(1, 3)):
        target = TARGETS[(number + strikes) % 3]
        process = start(run, src, out, draw.randint(1, 3), engine)
        wait_for_worker(process, engine)
        seconds = draw.uniform(0, length)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            hit = strike(target, process.pid, engine, draw)
            told.append(f'{target} ({format_count(len(hit), "process")}) after {seconds:.2f} s')
        code, text = finish(process, out)
        expected = (0,) if target == 'worker' or code == 0 else (-signal.SIGKILL,)
        if code not in expected:
            return out, f'{"; ".join(told)}: exit code {code}: {text[-800:]}'
    code, text = finish(start(run, src, out, draw.randint(1, 3), engine), out)
    return out, '; '.join(told) if code == 0 else f'{"; ".join(told)}: exit code {code}: {text[-800:]}'


def main() -> int:
    """Run the kills; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--count', type=int, default=100)
    parser.add_argument('--engine', choices=('local', 'ray'), default='local')
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(10 ** 6))
    parser.add_argument('--run', default='dtbox://dualtoken-twemoji')
    parser.add_argument('--source', help='default: six small shards that the script writes')
    args = parser.parse_args()
    print(f'seed {args.seed}', flush=True)
    draw, bad = random.Random(args.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ['XDG_CACHE_HOME'] = os.path.join(folder, 'cache')
        src = args.source or write_set(Path(folder) / 'tars', [40, 25, 60, 33, 48, 10])
        whole = os.path.join(folder, 'whole')
        process = start(args.run, src, whole, 1, args.engine)
        wait_for_worker(process, args.engine)
        begun = time.monotonic()
        code, text = finish(process, whole)
        length, expected = time.monotonic() - begun, hashes(whole) if code == 0 else {}
        print(f'uninterrupted: exit code {code}, {format_count(len(expected), "file")}, {length:.1f} s', flush=True)
        if not expected:
            print(text)
            return 1
        for number in range(args.count):
            out, told = try_one(number, args.run, src, folder, length, args.engine, draw)
            same = os.path.isdir(out) and hashes(out) == expected
            bad += not same
            word = 'same' if same else 'DIFFERENT'
            print(f'{number + 1:3d} {word}  {told or "it ended before the kill"}', flush=True)
            shutil.rmtree(out, ignore_errors=True)
    print(f'{format_count(args.count - bad, "run")} of {args.count} ended with the same files')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
