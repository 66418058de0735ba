"""The model of `scale` against real steps of a few gloo processes on this machine: bytes and seconds."""
from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.sizing.communication import Network, list_kinds
from dtbox.sizing.describe import describe
from dtbox.sizing.scale import measure_windows, predict_step
from dtbox.sizing.scale_ranks import Trained, load_config_of, time_transfers, train

SIZES = tuple(4 * 8 ** n for n in range(2, 8)) + (2 ** 24,)
"""Bytes of the timed all-reduces."""


def fit_network(sizes: Sequence[int], seconds: Sequence[float], world: int) -> tuple[Network, float]:
    """Return the Network of one node that fits measured all-reduces best, and the worst ratio of the two.

    The fit minimises relative squared errors.
    """
    times = torch.tensor(seconds, dtype=torch.float64)
    columns = torch.stack([1 / times, torch.tensor(sizes, dtype=torch.float64) / times], 1)
    ones = torch.ones(len(sizes), 1, dtype=torch.float64)
    constant, slope = (max(v, 1e-12) for v in torch.linalg.lstsq(columns, ones).solution.flatten().tolist())
    network = Network(world, 2 * (world - 1) / world / slope, 1.0, constant / (2 * (world - 1)))
    ratios = [network.seconds('all_reduce', size, world) / t for size, t in zip(sizes, seconds)]
    return network, max(max(r, 1 / r) for r in ratios)


@dataclass
class CheckResult:
    """Result of `check`.

    Attributes:
        name, batch, cores: of the config; images a process; cores of this machine.
        worlds: numbers of processes, 1 first.
        seconds: world -> seconds of each step, of the slowest process.
        apart: world -> seconds of each step of as many processes that train at the same time, each by itself.
        ranks: world -> Trained of the first process.
        same: whether all processes sent the same in all steps, restart rows aside.
        transfers: world -> median seconds of an all-reduce of each of SIZES.
        fractions: of computing during which messages travel, see `scale.predict_step`.
        flops: of a step of one process.
    """
    name: str
    batch: int
    cores: int
    worlds: tuple
    seconds: dict
    apart: dict
    ranks: dict
    same: bool
    transfers: dict
    fractions: dict
    flops: float


def check(ranks: Callable, source: tuple, batch: int, steps: int, worlds: Sequence[int] = (1, 2, 4),
          rounds: int = 2) -> CheckResult:
    """Train a few steps in 1, 2 and 4 processes of one thread, and time their all-reduces.

    Args:
        ranks: function world, timeout -> group with `run(function, *args)`, such as `dtbox.testing.rank_group.Ranks`.
        source, batch, steps: see `train`.
        worlds: numbers of processes, 1 first.
        rounds: how often each is started, in turn: a machine that slows down slows down all.

    Returns:
        CheckResult.
    """
    if steps < 1 or batch < 1 or worlds[0] != 1:
        raise InputError(f'{format_count(steps, "step")} of {format_count(batch, "image")}, processes {worlds}; '
                         'expected at least 1 step and image, and one process first.')
    description = describe(load_config_of(source, batch))
    fractions = {name: flops / description.step_flops() for name, flops in measure_windows(description).items()}
    seconds, apart, timed, first, plain = ({w: [] for w in worlds} for _ in range(5))
    for _ in range(rounds):
        for world in worlds:
            with ranks(world, timeout=900.0) as group:
                trained = group.run(train, source, batch, steps)
                if world > 1:
                    timed[world].append([max(t) for t in zip(*group.run(time_transfers, SIZES, 20))])
            seconds[world] += [max(t) for t in zip(*(one.seconds for one in trained))]
            first[world] = trained[0]
            plain[world] += [{k: v for k, v in s.items() if k != 'restart rows'} for one in trained for s in one.sent]
            apart[world] += _train_apart(ranks, world, source, batch, steps) if world > 1 else seconds[1][-steps:]
    same = all(one == group[0] for group in plain.values() for one in group)
    timed = {w: [statistics.median(t) for t in zip(*rows)] for w, rows in timed.items() if rows}
    return CheckResult(os.path.basename(os.path.normpath(source[0])), batch, len(os.sched_getaffinity(0)),
                       tuple(worlds), seconds, apart, first, same,
                   timed, fractions, batch * description.step_flops())


def _train_apart(ranks, world, source, batch, steps):
    """Return the seconds of all steps of `world` groups of one process that train at the same time."""
    def alone(_):
        with ranks(1, timeout=900.0) as group:
            return group.run(train, source, batch, steps)[0].seconds
    with ThreadPoolExecutor(world) as pool:
        return [t for seconds in pool.map(alone, range(world)) for t in seconds]


def make_bytes_table(trained: Trained) -> list[list[str]]:
    """Return what the last step of a process sent beside the model's count: lists of texts, the head first."""
    lines = [['what is sent in a step', 'calls', 'calls, model', 'bytes', 'bytes, model', 'difference']]
    sent, known = trained.sent[-1], list_kinds()
    for kind in known:
        sizes = kind.sizes(trained.facts)
        calls, size = sent.get(kind.name, (0, 0))
        if sizes or calls:
            want = trained.restarted[-1] if kind.most else sum(sizes)
            lines.append([kind.name, f'{calls:,}', f'{"up to " if kind.most else ""}{len(sizes):,}', f'{size:,}',
                          f'{want:,}{f" (at most {sum(sizes):,})" if kind.most else ""}', f'{size - want:,}'])
    names = [kind.name for kind in known]
    return lines + [[name, f'{calls:,}', '0', f'{size:,}', '0', f'{size:,}'] for name, (calls, size) in sent.items()
                    if name not in names]


def predict_sending(result: CheckResult, world: int, hidden: bool = False) -> float:
    """Predict the seconds in which `world` processes send and compute nothing.

    Args:
        result: CheckResult.
        world: number of processes.
        hidden: whether gradients travel during computing for free; where all cores compute, they do not.
    """
    if world == 1:
        return 0.0
    network, _ = fit_network(SIZES, result.transfers[world], world)
    one = result.ranks[world]
    rows = statistics.mean(one.restarted)
    sends = [(kind, [rows] if kind.most else kind.sizes(one.facts)) for kind in list_kinds() if not kind.most or rows]
    return predict_step(statistics.median(result.seconds[1]), result.fractions if hidden else {}, sends, network,
                        world)[1]


def make_steps_table(result: CheckResult) -> list[list[str]]:
    """Return predicted and measured steps as a list of lists of texts, the head first."""
    lines = [['processes', 'computing, from 1 process [ms]', 'sending [ms]', 'predicted [ms]', 'measured [ms]',
              'measured / predicted', 'computing, processes apart [ms]', 'predicted [ms]', 'measured / predicted',
              'images/s']]
    for world in result.worlds:
        one, apart, measured = (statistics.median(s)
                                for s in (result.seconds[1], result.apart[world], result.seconds[world]))
        computing, sent = one * max(1.0, world / result.cores), predict_sending(result, world)
        values = [1e3 * t for t in (computing, sent, computing + sent, measured)]
        ratios = [f'{measured / (t + sent):.2f}' if world > 1 else '' for t in (computing, apart)]
        lines.append([str(world), *(f'{v:,.1f}' for v in values), ratios[0], f'{1e3 * apart:,.1f}',
                      f'{1e3 * (apart + sent):,.1f}', ratios[1], f'{world * result.batch / measured:,.1f}'])
    return lines


def format_check(result: CheckResult, table: Callable[[list[list[str]]], str]) -> str:
    """Return a CheckResult as text; `table` turns lists of texts into a table."""
    one = statistics.median(result.seconds[1])
    blocks = [f'{result.name} at {format_count(result.batch, "image")} a process, one thread each, '
              f'{format_count(result.cores, "core")}, gloo, '
              f'torch {torch.__version__}; medians of {format_count(len(result.seconds[1]), "step")}, the '
              'discriminator in all of '
              f'them. One process takes {1e3 * one:,.0f} ms a step (fastest {1e3 * min(result.seconds[1]):,.0f}, '
              f'slowest {1e3 * max(result.seconds[1]):,.0f}): {result.flops / one / 1e9:,.1f} GFLOP/s of counted '
              'FLOPs.']
    for world in result.worlds[1:]:
        blocks += [f'Sent by each of {format_count(world, "process")}, counted and by the model: the last step of the '
                   'first process, '
                   'restart rows with as many codes as really restarted.', table(make_bytes_table(result.ranks[world]))]
    blocks.append('All processes sent the same in all steps, restart rows aside.' if result.same
                  else 'NOT all processes sent the same in all steps.')
    worlds = result.worlds[1:]
    times = [[f'{size:,} bytes', *(f'{1e3 * result.transfers[w][i]:.3f}' for w in worlds)]
             for i, size in enumerate(SIZES)]
    blocks.append(table([['an all-reduce', *(f'{w} processes [ms]' for w in worlds)], *times]))
    for world in worlds:
        network, worst = fit_network(SIZES, result.transfers[world], world)
        blocks.append(f'Fitted ring of {format_count(world, "process")}: {network.inside / 1e9:.2f} GB/s, '
                      f'{1e6 * network.latency:,.0f} us a hop; at worst a factor of {worst:.2f} from a measured time.')
    hidden = ', '.join(f'{1e3 * predict_sending(result, w, True):,.1f} ms of {w} processes' for w in worlds)
    blocks += ['Steps, predicted from the step of one process and these rings:', table(make_steps_table(result)),
               f'Computing is taken to last max(1, processes / {result.cores}) times the step of one process; or, in '
               'the second prediction, as long as that of as many processes that train at the same time, each by '
               'itself: so they share caches and memory bandwidth, too. Nothing is hidden, since every core computes '
               f'and sending needs cores as well (hidden as on GPUs, sending would be {hidden}). Waiting for the '
               'slowest process and other programs on this machine are in neither.']
    return '\n\n'.join(blocks)
