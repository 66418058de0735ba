"""What the benchmarks share: a measurement in a process of its own, calls that take turns, the check of counts."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from dtbox.errors import InputError
from dtbox.packaged import IMPORT_ROOT

HERE = os.path.dirname(os.path.abspath(__file__))


def run_process(name: str, code: str, *args: str) -> dict:
    """Run Python code in a process of its own, which finds dtbox and this folder; return the JSON of its last line.

    Args:
        name: what is measured, for errors.
        code: prints JSON as its last line; `sys.argv[1:]` are `args`.
    """
    paths = [HERE, IMPORT_ROOT, os.environ.get('PYTHONPATH')]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths)))
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, *args], capture_output=True, text=True,
                          check=False, env=env)
    if done.returncode:
        raise InputError(f'the measuring process of {name} ended with {done.returncode}: {done.stderr.strip()[-300:]}')
    return json.loads(done.stdout.strip().splitlines()[-1])


def time_in_turns(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time calls that take turns, in an order that changes from round to round, so that a machine that slows down slows
    down all.

    Args:
        calls: name -> call; it has run once, to warm up.
        rounds: that count.

    Returns:
        name -> seconds of every round.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in sorted(calls, reverse=number % 2 == 1):
            begun = time.perf_counter()
            calls[name]()
            times[name].append(time.perf_counter() - begun)
    return times


def check_counts(**counts: int) -> None:
    """Raise `InputError` where an option's count is below 1."""
    for name, count in counts.items():
        if count < 1:
            raise InputError(f'{count} came; expected at least 1.', f'--{name}')
