"""What MMEngine's wrapping costs: the Runner's loop against a bare PyTorch loop of the same model and data.

    python tools/benchmarks/training.py CONFIG [--iters N]

Both train a model of their own, built from the same parts with the same seed, on data loaded in the same way. Blocks of
iterations take turns, so that a machine that slows down slows down both.
"""
from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from typing import Callable

import torch
from mmengine.config import Config

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_config_options, add_tiny_option, read_config
from dtbox.config import resolve
from dtbox.errors import InputError
from dtbox.hooks.log import silence_console
from dtbox.training.build import build_parts
from dtbox.training.loops import TrainLoop
from dtbox.training.runner import Runner
from dtbox.training.tokenizer_objective import compute_adversarial_objective


class BareLoop:
    """A training loop as one would write it by hand: no hooks, schedules, logs, checks or optimizer wrappers.

    Args:
        cfg: resolved Config.
        device: torch device.
    """

    def __init__(self, cfg: Config, device: torch.device) -> None:
        parts = build_parts(cfg, int(cfg.get('seed', 0)))
        self.model, self.device = parts['model'].to(device), device
        self.model.init_weights()
        self.model.train()
        self.optimizers = {name: parts['optim'][name].optimizer for name in parts['optim'].keys()}
        self.clips = {name: dict(cfg.optim_wrapper[name].get('clip_grad') or {}) for name in self.optimizers}
        if any(cfg.optim_wrapper[name].get('accumulative_counts', 1) != 1 for name in self.optimizers):
            raise InputError('the benchmark compares whole steps; leave accumulative_counts at 1.', 'optim_wrapper')
        self.batches, self.iteration = iter(parts['train']), 0

    def step(self) -> None:
        """Run one iteration."""
        model, adversarial = self.model, self.model.adversarial
        batch = model.prepare(next(self.batches))
        active = adversarial is not None and adversarial.active(self.iteration)
        with model.autocast():
            outputs = model.run_losses_inputs(batch)
            if active:
                total = compute_adversarial_objective(model.criterion, adversarial, model.discriminator, outputs, batch,
                                                      model.tokenizer.decoder.last_layer, self.iteration,
                                                      batch_weight=1.0).scalar
            else:
                total = model.criterion(outputs, batch).total
        self._update('generator', total)
        model.tokenizer.commit()
        if active:
            with model.autocast():
                both = torch.cat([outputs.reconstructions.detach(), batch.images])
                on_reconstructions, on_images = model.discriminator(both).chunk(2)
                total = adversarial.discriminator_terms(on_images, on_reconstructions, self.iteration)[0]
            self._update('discriminator', total)
        self.iteration += 1

    def _update(self, name: str, total: torch.Tensor) -> None:
        optimizer = self.optimizers[name]
        total.backward()
        if self.clips[name]:
            torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g['params']], **self.clips[name])
        optimizer.step()
        optimizer.zero_grad()


class AlternatingLoop(TrainLoop):
    """Runs blocks of the Runner's iterations, hooks included, and of a bare loop's in turn; a first block of each warms
    up.

    Args:
        runner, dataloader: as MMEngine gives them.
        bare: BareLoop.
        blocks: timed blocks of each.
        size: iterations of a block.

    Attributes:
        times: seconds of each block, by 'dtbox' and 'bare'.
    """

    def __init__(self, runner: Runner, dataloader: object, bare: BareLoop, blocks: int, size: int) -> None:
        super().__init__(runner, dataloader, max_iters=(blocks + 1) * size + 1)  # in the last iteration hooks do more
        self.bare, self.blocks = bare, blocks
        self.size = size
        self.times = dict(dtbox=[], bare=[])

    def run(self) -> torch.nn.Module:
        """Take turns."""
        runner = self.runner
        runner.call_hook('before_train')
        silence_console(runner.logger)
        runner.model.train()
        batches = iter(self.dataloader)
        runner.call_hook('before_train_epoch')
        sides = dict(dtbox=lambda: self.run_iter(next(batches)), bare=self.bare.step)
        for block in range(-1, self.blocks):
            for name in sorted(sides, reverse=block % 2 == 0):  # the order alternates, too
                seconds = self._time(sides[name])
                if block >= 0:
                    self.times[name].append(seconds)
        return runner.model

    def _time(self, step: Callable) -> float:
        _wait(self.bare.device)
        start = time.perf_counter()
        for _ in range(self.size):
            step()
        _wait(self.bare.device)
        return time.perf_counter() - start


@dataclass(frozen=True)
class Costs:
    """Results of the benchmark.

    Attributes:
        dtbox, bare: milliseconds an iteration, one number for each block.
        size: iterations of a block.
        adversarial: iterations of the timed ones of each side in which the discriminator took part.
    """
    dtbox: list[float]
    bare: list[float]
    size: int
    adversarial: int

    @property
    def ratio(self) -> float:
        """All time with the Runner over all time without: work that hooks do now and then counts in full."""
        return sum(self.dtbox) / sum(self.bare)

    @property
    def error(self) -> float:
        """Standard error of the ratio, from the spread of neighbouring pairs; NaN for a single pair."""
        ratios = [a / b for a, b in zip(self.dtbox, self.bare)]
        return statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else float('nan')

    def __str__(self) -> str:
        count = len(self.bare)
        return (f'Runner with hooks  {statistics.mean(self.dtbox):8.2f} ms an iteration\n'
                f'bare loop          {statistics.mean(self.bare):8.2f} ms an iteration\n'
                f'ratio              {self.ratio:8.3f} +- {self.error:.3f}\n'
                f'means of {count} blocks of {self.size} iterations each, in turn; the discriminator took part in '
                f'{self.adversarial} of {count * self.size}')


def measure(cfg: Config, iterations: int, size: int = 1) -> Costs:
    """Time the Runner's loop against a bare one.

    Args:
        cfg: Config, references not resolved.
        iterations: timed iterations of each, in blocks.
        size: iterations of a block; periodic work of hooks counts in a block's time.

    Returns:
        Costs.
    """
    if iterations < size or size < 1:
        raise InputError(f'{iterations} iterations do not fill one block of {size}; ask for at least {max(size, 1)}.')
    blocks = iterations // size
    with tempfile.TemporaryDirectory() as folder:
        loop = alternate(cfg, blocks, size, folder)
    adversarial = loop.bare.model.adversarial
    active = sum(adversarial is not None and adversarial.active(i) for i in range(size, (blocks + 1) * size))
    per = {name: [1000 * t / size for t in times] for name, times in loop.times.items()}
    return Costs(per['dtbox'], per['bare'], size, active)


def alternate(cfg: Config, blocks: int, size: int, folder: str) -> AlternatingLoop:
    """Run both loops in turn, the Runner's in a run folder `folder`; returns the AlternatingLoop."""
    runner = Runner.from_config(cfg, work_dir=folder)
    bare = BareLoop(resolve(cfg), runner.task.device)
    runner._train_loop = loop = AlternatingLoop(runner, runner.train_dataloader, bare, blocks, size)
    runner.train()
    return loop


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description='Print what the Runner and its hooks cost over a bare loop. Use an idle machine; set '
                    'gan.adversarial.start=0 to time steps with a discriminator.')
    parser.add_argument('config', metavar='CONFIG', help='config file or its name, or a run folder')
    parser.add_argument('--iters', type=int, default=100, metavar='N', help='timed iterations of each loop (default: '
                                                                            '100)')
    parser.add_argument('--block', type=int, default=1, metavar='N',
                        help='iterations that one loop runs before the other has its turn (default: 1)')
    add_tiny_option(parser)
    add_config_options(parser)
    args = parser.parse_args(argv)
    print(measure(read_config(args), args.iters, args.block))


if __name__ == '__main__':
    main()
