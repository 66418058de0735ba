"""Kill runs in chosen moments, resume them, and compare their ends with those of runs that nobody killed.

    python tests/kill_runs.py [CONFIG ...] [--kills 3] [--seed 0]

A CONFIG is the name of a recipe (default: every recipe of `configs/` and `configs/paper/`), which runs at its `tiny`
size on small data that the script makes, or a config file, which runs as it is. A run has six iterations, an evaluation
after the third and the last, and writes a checkpoint after each.

The moments take turns: a step, an evaluation, the write of a checkpoint. So do SIGKILL, SIGTERM and SIGINT. Within a
moment the place is drawn: a thread sends the signal some milliseconds after a step or a batch of an evaluation has
begun; in a write it comes between two records of the file, or between the last one and the renaming. The same run is
then resumed. Its checkpoint, scores, history and config must be those of the whole run, and no unfinished file may
stay. Prints a line a kill and a table; exit code 1 where something differs.
"""
from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch

from dtbox.config import load_config, set_option
from dtbox.errors import InputError, Stopped
from dtbox.files import LEFTOVER
from dtbox.training import checkpoint
from dtbox.training.runner import Runner
from tests.recipe_data import give_data
from tests.training import test_paper_runs as paper
from tests.training.test_resume import same

OPTIONS = {'max_iters': 6, 'train_cfg.val_interval': 3, 'hooks.checkpoint.interval': 1, 'hooks.images': None}
MOMENTS = ('step', 'evaluation', 'write')
SIGNALS = ('SIGKILL', 'SIGTERM', 'SIGINT')
FOLDERS = ('configs', 'configs/paper')


class Kill(NamedTuple):
    """When a run gets which signal.

    Attributes:
        moment: one of MOMENTS.
        signal: one of SIGNALS.
        count: how many steps, batches of evaluations or checkpoints come before.
        seconds: from the beginning of the step or batch.
        record: how many writes to the file come before, in a `write`.
    """
    moment: str
    signal: str
    count: int
    seconds: float
    record: int


def draw_kill(number: int, draw: random.Random) -> Kill:
    """Return the `number`-th kill: moments and signals take turns, the place in them is drawn."""
    moment = MOMENTS[number % 3]
    most = dict(step=6, evaluation=4, write=3)[moment]  # where gradients accumulate, there are fewer writes than steps
    return Kill(moment, SIGNALS[(number // 3 + number) % 3], draw.randrange(most),
                draw.uniform(0, 0.2), draw.randrange(300))


# ---- the process that is killed -------------------------------------------------------------------------------------


class Trap:
    """Sends this process the signal of a Kill.

    Args:
        kill: when and which.
    """

    def __init__(self, kill: Kill) -> None:
        self.kill = kill
        self.seen, self.sent = 0, False

    def set(self, runner: Runner) -> None:
        """Wait in a run for the moment."""
        if self.kill.moment == 'write':
            torch.save = self._watch_save(torch.save)
        else:
            name = 'train_step' if self.kill.moment == 'step' else 'predict'
            setattr(runner.task, name, self._watch(getattr(runner.task, name)))

    def _send(self) -> None:
        self.sent = True
        os.kill(os.getpid(), getattr(signal, self.kill.signal))

    def _is_due(self) -> bool:
        self.seen += 1
        return self.seen == self.kill.count + 1

    def _watch(self, function):
        def watched(*args, **kwargs):
            if self._is_due():
                threading.Timer(self.kill.seconds, self._send).start()
            return function(*args, **kwargs)
        return watched

    def _watch_save(self, save):
        def watched(value, file):
            if not self._is_due():
                return save(value, file)
            save(value, Counted(file, self.kill.record, self._send))
            if not self.sent:  # it had fewer records: just before the file is renamed
                self._send()
        return watched


class Counted:
    """A file that calls `then` before one of its writes."""

    def __init__(self, file, left, then):
        self.file, self.left = file, left
        self.then = then

    def write(self, data):
        """Write, and count."""
        if self.left == 0:
            self.file.flush()
            self.then()
        self.left -= 1
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


def make_config(name: str, root: Path):
    """Return the config of a recipe at its tiny size with small data below `root`, or that of a file."""
    if name.endswith('.py'):
        return load_config(name)
    if name in paper.RUNS:
        cfg = paper.config(name, root)
    else:
        cfg = give_data(load_config(name, tiny=True), root / 'data')
    # rows of an interval in which a run is resumed average what came after
    rows = {f'hooks.{hook}.interval': 1 for hook in ('log', 'codebook_health') if cfg.hooks.get(hook)}
    for key, value in {**OPTIONS, **rows}.items():
        set_option(cfg, key, value)
    return cfg


def train(name: str, root: Path, folder: Path, resume: bool, kill: Kill | None, console: Path) -> None:
    """Train a run in this process, which gets the signal of `kill`. What it prints goes to the file `console`."""
    out = os.open(console, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1), os.dup2(out, 2)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        runner = Runner.from_config(make_config(name, root), work_dir=str(folder), resume=resume)
        if kill is not None:
            Trap(kill).set(runner)
        runner.train()
    except (Stopped, KeyboardInterrupt):
        os._exit(3)
    except InputError as e:
        print(e, file=sys.stderr)
        os._exit(2)


# ---- the process that kills -----------------------------------------------------------------------------------------


class Killer:
    """Trains, kills and compares runs in processes of their own.

    Args:
        place: folder for data and consoles.
        method: how processes start: 'forkserver', or 'fork' where this one has one thread.
    """

    def __init__(self, place: Path, method: str = 'forkserver') -> None:
        self.place = place
        self.console = place / 'console.txt'
        self.context = multiprocessing.get_context(method)
        if method == 'forkserver':  # everything is imported once
            self.context.set_forkserver_preload(['tests.kill_runs', 'dtbox.hooks', 'lpips', 'open_clip', 'torchvision'])

    def run(self, name: str, folder: Path, resume: bool = False, kill: Kill | None = None) -> int:
        """Train a run in a process of its own; returns its exit code, that of a signal negative."""
        process = self.context.Process(target=train, args=(name, self.place, folder, resume, kill, self.console))
        process.start()
        process.join()
        return process.exitcode

    def check(self, name: str, kill: Kill, whole: Path, cut: Path) -> str:
        """Kill a run, resume it and compare its end; returns '' where all is equal, or what is not."""
        code = self.run(name, cut, kill=kill)
        if code not in (0, 3, -getattr(signal, kill.signal)):
            return f'the killed run ended with code {code}: {self.console.read_text()[-300:]}'
        if code == 0 and kill.signal == 'SIGKILL':
            return 'the signal came after the end of the run'
        if code and (code := self.run(name, cut, resume=True)):
            return f'the resumed run ended with code {code}: {self.console.read_text()[-300:]}'
        return compare(whole, cut)


def compare(whole: Path, cut: Path) -> str:
    """Return what differs between the ends of two runs, '' where nothing does."""
    try:
        same(checkpoint.load(whole), checkpoint.load(cut))
    except AssertionError as e:
        return f'checkpoint: {str(e)[:300]}'
    for file in ('metrics.json', 'config.py', 'codebooks.jsonl', 'history.jsonl'):
        a, b = (read(folder / file) for folder in (whole, cut))
        if a != b:
            return f'{file} differs'
    left = [path.name for path in cut.iterdir() if LEFTOVER.fullmatch(path.name)]
    return f'left behind: {", ".join(left)}' if left else ''


def read(path: Path):
    """Return what a file of a run says; of rows, all but how long they took."""
    if not path.exists():
        return None
    if path.suffix == '.jsonl':
        return [{k: v for k, v in json.loads(line).items() if k != 'seconds'} for line in path.open()]
    return path.read_text()


def list_recipes() -> list[str]:
    """Return the names of every shipped recipe."""
    return [path.stem for folder in FOLDERS for path in sorted(Path(folder).glob('*.py'))]


def main(argv: list[str] | None = None) -> int:
    """Check the recipes of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='*', metavar='CONFIG')
    parser.add_argument('--kills', type=int, default=3)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    logging.disable(logging.INFO)
    total, equal = Counter(), Counter()
    with tempfile.TemporaryDirectory() as place:
        killer = Killer(Path(place))
        paper.write_data(Path(place))
        for number, name in enumerate(args.configs or list_recipes()):
            draw, whole = random.Random(f'{args.seed} {name}'), Path(place) / f'{number}'
            if code := killer.run(name, whole):
                print(f'{name}: the whole run ended with code {code}: {killer.console.read_text()[-500:]}', flush=True)
                total[name, 'whole'] += 1
                continue
            for i in range(args.kills):
                begun, kill = time.monotonic(), draw_kill(i if args.kills > 3 else i + 3 * number, draw)
                told = killer.check(name, kill, whole, Path(place) / f'{number}_{i}')
                place_in = f'after {kill.count}' + (f', record {kill.record}' if kill.moment == 'write'
                                                    else f', {kill.seconds * 1000:.0f} ms')
                print(f'{name}: {kill.signal} in {kill.moment} ({place_in}): {told or "equal"} '
                      f'[{time.monotonic() - begun:.0f} s]', flush=True)
                total[kill.moment, kill.signal] += 1
                equal[kill.moment, kill.signal] += not told
    print(f'{"":12}' + ''.join(f'{name:>12}' for name in SIGNALS))
    for moment in MOMENTS:
        cells = (f'{equal[moment, name]} of {total[moment, name]}' for name in SIGNALS)
        print(f'{moment:12}' + ''.join(f'{cell:>12}' for cell in cells))
    print(f'{sum(equal.values())} of {sum(total.values())} equal')
    return int(equal != total)


if __name__ == '__main__':
    sys.exit(main())
