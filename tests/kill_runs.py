"""Kill a run at random moments, resume it, and compare its end with that of a run that nobody killed.

    python tests/kill_runs.py CONFIG ... [--kills 3] [--seed 0]

A CONFIG is the name of a recipe, at its `tiny` size, or a file, as it is.

Each run is killed once in a step, once in an evaluation and once while a checkpoint is written, and by SIGKILL, SIGTERM
or SIGINT in turn. Prints a line a recipe: how many ended equal, bit for bit. Exit code 1 where one did not. Takes about
five minutes a recipe of the emoji, whose evaluations take longest.
"""
from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

OPTIONS = ['train_cfg.max_iters=12', 'train_cfg.val_interval=4', 'hooks.checkpoint.interval=1',
           'hooks.images.interval=0', 'train_dataloader.num_workers=0']
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]


def start(config: str, folder: Path, resume: bool) -> subprocess.Popen:
    """Start `dtbox train`; returns the process."""
    words = [sys.executable, '-m', 'dtbox', 'train', config, *([] if config.endswith('.py') else ['--tiny']),
             '--work-dir', str(folder), *(['--resume'] if resume else []), '--cfg-options', *OPTIONS]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                            env=dict(os.environ, OMP_NUM_THREADS='1'))


def finish(process: subprocess.Popen) -> None:
    """Wait for a run; raises RuntimeError with what it said unless it ended well."""
    said = process.communicate()[1]
    if process.returncode:
        raise RuntimeError(f'exit code {process.returncode}: {said[-500:]}')


def wait_for(moment: str, folder: Path, draw: random.Random, process: subprocess.Popen) -> None:
    """Wait until a run is in a moment: 'step', 'evaluation' or 'write'; returns early where the run has ended."""
    history = folder / 'history.jsonl'
    while process.poll() is None:
        if moment == 'write' and list(folder.glob('.checkpoint.*.part.pth')):
            return
        if moment == 'step' and history.exists():
            time.sleep(draw.uniform(0, 1.0))
            return
        if moment == 'evaluation' and (folder / 'checkpoint.pth').exists():
            try:
                done = torch.load(folder / 'checkpoint.pth', weights_only=True, mmap=True)['iteration']
            except (RuntimeError, OSError, EOFError):
                done = 0
            if done in (4, 8, 12):
                time.sleep(draw.uniform(0, 0.5))
                return
        time.sleep(0.002)


def same(a: object, b: object) -> bool:
    """Whether two checkpoints are equal, bit for bit, all the way down; times and versions apart."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return a == b or (a != a and b != b)


def check(config: str, kills: int, draw: random.Random) -> int:
    """Run a recipe whole and `kills` times killed; returns how many ended equal."""
    with tempfile.TemporaryDirectory() as place:
        finish(start(config, Path(place) / 'whole', False))
        whole = torch.load(Path(place) / 'whole' / 'checkpoint.pth', weights_only=True)
        equal = 0
        for i in range(kills):
            folder = Path(place) / f'killed{i}'
            process = start(config, folder, False)
            wait_for(('step', 'evaluation', 'write')[i % 3], folder, draw, process)
            process.send_signal(SIGNALS[(i // 3 + i) % 3])
            process.communicate()
            finish(start(config, folder, True))
            equal += same(whole, torch.load(folder / 'checkpoint.pth', weights_only=True))
        return equal


def main() -> int:
    """Check the recipes of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', metavar='CONFIG')
    parser.add_argument('--kills', type=int, default=3)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    bad = 0
    for config in args.configs:
        try:
            equal = check(config, args.kills, random.Random(args.seed))
        except RuntimeError as e:
            equal = f'error, {e}'
        print(f'{config}: {equal} of {args.kills} equal', flush=True)
        bad += equal != args.kills
    return int(bad > 0)


if __name__ == '__main__':
    sys.exit(main())
