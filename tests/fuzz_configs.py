"""Mutate the shipped configs, and see that each mutation trains or is refused in one sentence before the run.

    python tests/fuzz_configs.py [CONFIG ...] [--count 300] [--train] [--seed 0]

A CONFIG is a file; without any, all recipes under configs/, each at its `tiny` size. Every recipe is mutated `count`
times with a fixed seed: a value is replaced by an odd one, a key is deleted or misspelt, two neighbours change places,
a `type` is unknown. A mutation goes up to the end of the checks before the run; with `--train` two iterations follow,
with the evaluation (of a few images) and the figures. Prints a table; exit code 1 where one ended in a traceback, or in
an error after the run folder was touched, or where a recipe as it is does not train. Takes half a minute of CPU time a
recipe, with `--train` five.
"""
from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import logging
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

from mmengine.config import Config
from PIL import Image

from dtbox.cli.guard import is_memory_short
from dtbox.config import load_config, resolve_checked
from dtbox.errors import Diverged, InputError
from tests.recipe_data import give_data

VALUES: list[Any] = ['abc', '', '2', 0, -1, 1, 7, 1.5, 1e-30, float('nan'), float('inf'), 2 ** 40, None, True, False,
                     [], {}, [1, 'a'], {'a': 1}, {'type': 'Nonsense'}, (0, 0)]
KINDS = ('replace', 'replace', 'replace', 'replace', 'delete', 'misspell', 'swap', 'type')
LEFT_OUT = ('tiny', 'plugins', '_base_', 'data_root', 'captions_root', 'shards', 'heldout')
"""Top-level keys that are not mutated: what a training does not read, and where the data are."""
LIMIT, MEMORY = 120, 8 << 30
"""Seconds of CPU time and bytes that a mutation may take."""


class Result(NamedTuple):
    """How a mutation ended: 'trained' (or ready to), 'refused', 'diverged', 'late' (an error after the run folder was
    touched), 'traceback' or 'hangs'; and what it said."""
    end: str
    said: str = ''


def list_recipes() -> list[Path]:
    """Return the recipes of the repository."""
    return sorted([*Path('configs').glob('*.py'), *Path('configs/paper').glob('*.py')])


def load_recipe(path: Path, data: Path) -> Config:
    """Return a recipe at its tiny size, references not resolved, that reads generated pictures where it names its own.

    Args:
        path: config file.
        data: folder for the pictures.
    """
    return give_data(load_config(path, tiny=True), data)


# ---- mutations ------------------------------------------------------------------------------------------------------


def list_places(node: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the path of everything in a config."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in pairs:
        if path or key not in LEFT_OUT:
            yield (*path, key)
            yield from list_places(value, (*path, key))


def mutate(cfg: Config, draw: random.Random) -> tuple[str, Config]:
    """Return (what was changed, mutated copy of a config)."""
    values = _thaw(cfg._cfg_dict.to_dict())
    while True:
        kind, path = draw.choice(KINDS), draw.choice(list(list_places(values)))
        parent, key = values, path[-1]
        for part in path[:-1]:
            parent = parent[part]
        change = CHANGES[kind](parent, key, draw)
        if change:
            mutated = Config(values, filename=cfg.filename, format_python_code=False)
            return f'{".".join(map(str, path))}: {change}', mutated


def _thaw(node: Any) -> Any:
    """Return a copy in which tuples are lists, which can be changed."""
    if isinstance(node, dict):
        return {key: _thaw(value) for key, value in node.items()}
    return [_thaw(value) for value in node] if isinstance(node, (list, tuple)) else node


def _replace(parent: Any, key: Any, draw: random.Random) -> str:
    old, parent[key] = parent[key], copy.deepcopy(draw.choice(VALUES))
    return f'{str(old)[:40]!r} -> {parent[key]!r}'


def _delete(parent: Any, key: Any, draw: random.Random) -> str:
    parent.pop(key)
    return 'deleted'


def _misspell(parent: Any, key: Any, draw: random.Random) -> str:
    if not isinstance(parent, dict) or not isinstance(key, str) or len(key) < 3:
        return ''
    at = draw.randrange(1, len(key) - 1)
    wrong = key[:at] + key[at + 1] + key[at] + key[at + 2:]
    if wrong in parent:
        return ''
    parent[wrong] = parent.pop(key)
    return f'misspelt {wrong}'


def _swap(parent: Any, key: Any, draw: random.Random) -> str:
    others = [k for k in (parent if isinstance(parent, dict) else range(len(parent))) if k != key and k not in LEFT_OUT]
    if not others:
        return ''
    other = draw.choice(others)
    parent[key], parent[other] = parent[other], parent[key]
    return f'changes places with {other}'


def _rename(parent: Any, key: Any, draw: random.Random) -> str:
    if key != 'type':
        return ''
    parent[key] = draw.choice(['Nonsense', f'{parent[key]}x', 'torch.nn.Linear', 'L2Loss', 'PSNR', 'AdamW'])
    return f'type {parent[key]}'


CHANGES: dict[str, Callable[[Any, Any, random.Random], str]] = dict(
    replace=_replace, delete=_delete, misspell=_misspell, swap=_swap, type=_rename)


# ---- trying them ----------------------------------------------------------------------------------------------------


def try_checks(cfg: Config) -> Result:
    """Go through all checks before a run."""
    from dtbox.training import startup
    return _watch(lambda: startup.prepare_run(resolve_checked(cfg), cfg, None, False), lambda: False)


def try_run(cfg: Config) -> Result:
    """Train two iterations in a folder of its own, evaluate a few images, and draw."""
    from dtbox.training.runner import Runner

    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / 'run'

        def train() -> None:
            runner = Runner.from_config(cfg, work_dir=str(folder))
            runner.train_loop._max_iters = min(2, runner.train_loop.max_iters)
            sampler = runner.val_loop and runner.val_loop.dataloader.sampler
            if hasattr(sampler, 'indices'):  # a language model's is short at its tiny size
                sampler.indices = sampler.indices[:24]
            runner.train()
        return _watch(train, folder.exists)


def _watch(work: Callable[[], Any], touched: Callable[[], bool]) -> Result:
    def ring(signum: int, frame: Any) -> None:
        raise TimeoutError(f'more than {LIMIT} s')
    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    try:
        work()
        return Result('trained')
    except InputError as e:
        return Result('late' if touched() else 'refused', str(e))
    except Diverged as e:
        return Result('diverged', str(e))
    except TimeoutError as e:
        return Result('hangs', traceback.format_exc() + str(e))
    except Exception as e:
        if is_memory_short(e):  # the published size in place of the tiny one: what a training needs is not refused
            return Result('refused', str(e))
        return Result('traceback', traceback.format_exc())
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def without_downloads() -> Iterator[None]:
    """Let LPIPS be a small random network, where the published weights are not at hand."""
    import dtbox.losses.lpips as module

    def make(net: str, weights: Any, who: str) -> Any:
        import lpips
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            network = lpips.LPIPS(net='squeeze', pretrained=False, pnet_rand=True, verbose=False)
        return network.eval().requires_grad_(False)
    before, module.open_network = module.open_network, make
    try:
        yield
    finally:
        module.open_network = before


@contextlib.contextmanager
def without_rendering() -> Iterator[None]:
    """Let figures be made, but save one grey pixel of each, since rendering takes most of the time of a tiny run."""
    from matplotlib.figure import Figure

    def save(self: Figure, path: Any, **kwargs: Any) -> None:
        Image.new('RGB', (1, 1)).save(path, 'png')
    before, Figure.savefig = Figure.savefig, save
    try:
        yield
    finally:
        Figure.savefig = before


def fuzz(cfg: Config, count: int, seed: int, run: Callable[[Config], Result]) -> Iterator[tuple[str, Result]]:
    """Try `count` mutations of a config; yields (what was changed, Result) of each."""
    draw = random.Random(f'{seed} {Path(cfg.filename).stem}')
    for _ in range(count):
        change, mutated = mutate(cfg, draw)
        yield change, run(mutated)


def main() -> int:
    """Fuzz, print the table, return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n\n')[0])
    parser.add_argument('configs', nargs='*', type=Path)
    parser.add_argument('--count', type=int, default=300)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--train', action='store_true')
    parser.add_argument('--show', choices=('trained', 'refused', 'all'), help='print these ends, too')
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable(logging.INFO)
    ends = ('trained', 'refused', 'diverged', 'late', 'traceback', 'hangs')
    total: collections.Counter[str] = collections.Counter()
    lines = ['| config | ' + ' | '.join(ends) + ' | CPU s |', '|---' * (len(ends) + 2) + '|']
    with tempfile.TemporaryDirectory() as data, without_downloads(), without_rendering():
        for path in args.configs or list_recipes():
            start = time.process_time()
            counts: collections.Counter[str] = collections.Counter()
            run = try_run if args.train else try_checks
            if (whole := run(load_recipe(path, Path(data)))).end != 'trained':
                raise SystemExit(f'{path} itself is {whole.end}: {whole.said}')
            for change, (end, said) in fuzz(load_recipe(path, Path(data)), args.count, args.seed, run):
                counts[end] += 1
                if end in ends[3:] or args.show in (end, 'all'):
                    print(f'{path.stem}: {change}\n    {end}: {said}', flush=True)
            total += counts
            lines.append(f'| {path.stem} | ' + ' | '.join(str(counts[end]) for end in ends)
                         + f' | {time.process_time() - start:.0f} |')
            print(lines[-1], file=sys.stderr, flush=True)
    print('\n'.join([*lines, '| all | ' + ' | '.join(str(total[end]) for end in ends) + ' | |']))
    return int(any(total[end] for end in ends[3:]))


if __name__ == '__main__':
    sys.exit(main())
