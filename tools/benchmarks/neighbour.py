"""What a busy process on the same machine costs a run, and what it costs alone that waiting threads sleep.

    python tools/benchmarks/neighbour.py [--work training encoding grid] [--policies default dtbox passive 10000]

OpenMP's threads wait for each other many times in an iteration. A thread that spins answers at once and takes a core
meanwhile, of which a neighbour would have made use. Policies:

- default: what OpenMP does unless told otherwise (libgomp spins 300,000 times, some milliseconds);
- dtbox: what `import dtbox` sets, and its watch of the cores (`dtbox/waiting.py`);
- passive: OMP_WAIT_POLICY=PASSIVE, which sleeps at once;
- a number: GOMP_SPINCOUNT.

For each kind of work a process (of a grid: one of one thread for each core) is started with every policy. They take
turns, alone and beside a process that computes without end, so that a machine that slows down slows down all.
"""
from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from typing import Callable

POLICIES = ('default', 'dtbox')
SETTINGS = {'default': {'GOMP_SPINCOUNT': '300000'}, 'dtbox': {}, 'passive': {'OMP_WAIT_POLICY': 'PASSIVE'}}
KINDS = {'training': 3, 'encoding': 10, 'encoding_128': 3, 'grid': 2}
"""Kind of work -> iterations of a turn."""
ENCODED = {'encoding': 32, 'encoding_128': 128}
"""Images of a batch: the fewer, the larger the share of waiting."""
CONFIG = 'dualtoken_rq'
SETTLING = 1.5
"""Seconds before each turn: the watch counts twice a second, and the turns of others are neighbours, too."""
BUSY = 'import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(100000))'


# ---- the processes that are timed -----------------------------------------------------------------------------------


def make_training_step() -> Callable[[int], None]:
    """Return a function that trains the main recipe for an iteration."""
    from dtbox.config import load_config, resolve
    from dtbox.registry import WRAPPERS
    from dtbox.training.build import build_parts
    parts = build_parts(resolve(load_config(CONFIG)), 0)
    task, optimizers = parts['model'], parts['optim']
    task.init_weights()
    task.train()
    WRAPPERS.build(dict(type='DDP')).wrap(task, optimizers)
    for name, part in task.parts.items():
        optimizers[name].initialize_count_status(part, 0, 10 ** 6)
    stream = iter(parts['train'])
    batches = [next(stream) for _ in range(6)]
    return lambda i: task.train_step(batches[i % len(batches)], optimizers)


def make_encoding_step(count: int) -> Callable[[int], None]:
    """Return a function that encodes `count` images with the tokenizer of the main recipe."""
    import torch

    from dtbox.config import load_config, resolve
    from dtbox.registry import MODELS
    tokenizer = MODELS.build(resolve(load_config(CONFIG)).model).tokenizer.eval()
    images = torch.rand(count, 3, *tokenizer.image_size) * 2 - 1

    def step(i):
        with torch.no_grad():
            tokenizer.encode(images)
    return step


def serve(kind: str) -> None:
    """Time as many iterations as each line of stdin asks for."""
    from dtbox.waiting import watch_neighbours  # dtbox before torch: it says how threads wait
    step = make_encoding_step(ENCODED[kind]) if kind in ENCODED else make_training_step()
    watch_neighbours()
    for i in range(3):
        step(i)
    print('ready', flush=True)
    for line in sys.stdin:
        begun, computed = time.perf_counter(), time.process_time()
        for i in range(int(line)):
            step(i)
        print(json.dumps([time.perf_counter() - begun, time.process_time() - computed]), flush=True)


# ---- the process that measures --------------------------------------------------------------------------------------


class Workers:
    """Processes of one kind of work with one policy, which work at the same time.

    Args:
        kind: of KINDS.
        policy: of SETTINGS, or a number of spins.
    """

    def __init__(self, kind: str, policy: str) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith(('OMP_', 'GOMP_', 'KMP_'))}
        env.update(SETTINGS.get(policy) or ({} if policy == 'dtbox' else {'GOMP_SPINCOUNT': policy}))
        count = os.cpu_count() if kind == 'grid' else 1
        if kind == 'grid':
            env['OMP_NUM_THREADS'] = '1'
        words = [sys.executable, '-W', 'ignore', __file__, '--serve', kind]
        self.processes = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
                          for _ in range(count)]
        for process in self.processes:
            if not any(line.strip() == 'ready' for line in process.stdout):
                raise SystemExit(f'the process of {kind} with {policy} has ended.')

    def run(self, iterations: int) -> tuple[float, float]:
        """Let all work; returns (wall, CPU) seconds an iteration, of the slowest and of all together."""
        for process in self.processes:
            process.stdin.write(f'{iterations}\n')
            process.stdin.flush()
        times = [json.loads(process.stdout.readline()) for process in self.processes]
        return max(t for t, _ in times) / iterations, sum(c for _, c in times) / iterations

    def stop(self) -> None:
        """End them."""
        for process in self.processes:
            process.kill()


def measure(kind: str, policies: list[str], rounds: int, busy: subprocess.Popen) -> None:
    """Time one kind of work and print a line a policy."""
    workers = {}
    times = {(policy, beside): [] for policy in policies for beside in (False, True)}
    try:
        for policy in policies:
            workers[policy] = Workers(kind, policy)
        for number in range(rounds):
            for beside in (False, True):
                os.kill(busy.pid, signal.SIGCONT if beside else signal.SIGSTOP)
                for policy in policies if number % 2 else policies[::-1]:
                    time.sleep(SETTLING)
                    times[policy, beside].append(workers[policy].run(KINDS[kind]))
            os.kill(busy.pid, signal.SIGSTOP)
    finally:
        for group in workers.values():
            group.stop()
    first = [seconds for seconds, _ in times[policies[0], False]]
    for policy in policies:
        alone, beside = ([t for t, _ in times[policy, state]] for state in (False, True))
        against = statistics.median(a / b for a, b in zip(alone, first))
        crowded = statistics.median(a / b for a, b in zip(beside, first))
        computed = statistics.median(c for _, c in times[policy, True])
        print(f'{kind:9} {policy:8} alone {statistics.median(alone):7.4f} s = {against:5.3f} x {policies[0]} alone;  '
              f'beside a busy process {statistics.median(beside):7.4f} s = {crowded:5.2f} x {policies[0]} alone, '
              f'{computed:.3f} s of CPU', flush=True)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work', nargs='+', choices=list(KINDS), default=list(KINDS))
    parser.add_argument('--policies', nargs='+', default=list(POLICIES), metavar='POLICY')
    parser.add_argument('--rounds', type=int, default=8, metavar='N', help='turns of each policy (default: 8)')
    parser.add_argument('--serve', choices=list(KINDS), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.serve:
        serve(args.serve)
        return
    busy = subprocess.Popen([sys.executable, '-c', BUSY])
    os.kill(busy.pid, signal.SIGSTOP)
    try:
        for kind in args.work:
            measure(kind, args.policies, args.rounds, busy)
    finally:
        busy.kill()


if __name__ == '__main__':
    main()
