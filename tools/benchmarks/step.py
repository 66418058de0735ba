"""One training step of DualToken against a direct implementation of its specification: time and peak memory.

    python tools/benchmarks/step.py [--stage 0 1] [--rounds N]

Each contender runs in a process of its own, in turn. `baseline` is the direct implementation (see
`dtbox/diagnostics/direct_step.py`); `baseline_kept` is the same, but keeps freed memory as the Runner does
(`dtbox.memory.keep_freed_memory`), which is one line in any training script.
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from typing import Callable

import torch
from measuring import check_counts, run_process

from dtbox.cli.guard import main_guard
from dtbox.diagnostics.direct_step import Baseline, build_recipe
from dtbox.memory import Peak, keep_freed_memory
from dtbox.registry import MODELS
from dtbox.structures import Batch
from dtbox.training.optim import build_optim_wrappers

CONTENDERS = ('baseline', 'baseline_kept', 'dtbox', 'cached')
WORK = 'import json, sys; from step import work; print(json.dumps(work(*json.loads(sys.argv[1]))))'


def work(contender: str, stage: int, lpips: str, cache: str, steps: int, batch: int) -> dict:
    """Do what a measuring process does: return dict(seconds: list, megabytes, first: terms of the first step)."""
    torch.manual_seed(0)
    model_cfg, optim_cfg = build_recipe(stage, lpips, cache if contender == 'cached' else None)
    direct = contender.startswith('baseline')
    if contender != 'baseline':
        keep_freed_memory()
    for side in optim_cfg.values() if direct else ():
        side['optimizer']['fused'] = False
    model = MODELS.build(model_cfg)
    optim = build_optim_wrappers(model.parts, optim_cfg)
    model.teacher.encoder.load_state_dict(model.tokenizer.encoders['trunk'].state_dict())
    model.train()
    rng = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (batch, 3, 256, 256), generator=rng, dtype=torch.uint8)
    baseline = Baseline(model, optim, stage) if direct else None

    def step() -> dict[str, float]:
        if direct:
            return baseline.step(images.float().div_(127.5).sub_(1.0))
        return {k: float(v) for k, v in model.train_step(Batch(images=images), optim).items()}
    seconds, first = [], None
    with Peak() as peak:
        for i in range(steps + 1):
            begun = time.perf_counter()
            terms = step()
            first = first or terms
            seconds += [time.perf_counter() - begun] if i else []
    shown = ('l2', 'lpips', 'semantic_pooled', 'total')
    return dict(seconds=seconds, megabytes=peak.megabytes, first={k: first[k] for k in shown})


def measure(folder: str, stage: int = 1, rounds: int = 3, steps: int = 2, batch: int = 2,
            say: Callable[[str], None] = print) -> dict[str, list[dict]]:
    """Measure all contenders, in turn.

    Args:
        folder: for the weights of VGG-16 (random: times do not depend on them) and the teacher's cache.
        stage: 0 or 1.
        rounds: processes of each contender.
        steps: timed steps of a process; one more warms up, and fills the cache where it is empty.
        batch: images.
        say: called with lines of progress.

    Returns:
        dict contender -> list of what `work` returns.
    """
    import torchvision
    lpips, cache = os.path.join(folder, 'vgg16.pth'), os.path.join(folder, 'teacher')
    torch.manual_seed(0)
    torch.save(torchvision.models.vgg16(weights=None).state_dict(), lpips)
    results = {name: [] for name in (CONTENDERS if stage else CONTENDERS[:-1])}
    for i in range(rounds):
        for name in results:
            result = run_process(name, WORK, json.dumps([name, stage, lpips, cache, steps, batch]))
            results[name].append(result)
            say(f'round {i + 1} of {rounds}, stage {stage}, {name}: {min(result["seconds"]):.2f} s, '
                f'{result["megabytes"]:,.0f} MB')
    return results


def show(stage: int, results: dict[str, list[dict]]) -> None:
    """Print medians of time and memory with their ratios to the baseline, and how far the losses of the first step
    differ."""
    seconds = {name: statistics.median(s for row in rows for s in row['seconds']) for name, rows in results.items()}
    memory = {name: statistics.median(row['megabytes'] for row in rows) for name, rows in results.items()}
    for name in results:
        differences = [abs(results[name][0]['first'][k] - v) for k, v in results['baseline'][0]['first'].items()]
        print(f'stage {stage}  {name:<13} {seconds[name]:7.2f} s ({seconds[name] / seconds["baseline"]:.2f} x)  '
              f'{memory[name]:8,.0f} MB ({memory[name] / memory["baseline"]:.2f} x)  losses of the first step differ '
              f'by at most {max(differences):.1e}')


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description='Time and peak memory of a training step of DualToken at base size (SigLIP 2 B/16, 256 pixels) '
                    'with random weights, beside a direct implementation of its specification, each in a process of '
                    'its own, in turn. Use an idle machine.')
    parser.add_argument('--stage', type=int, nargs='+', choices=[0, 1], default=[1, 0], help='stages to measure '
                                                                                             '(default: both)')
    parser.add_argument('--rounds', type=int, default=3, metavar='N', help='processes of each (default: 3)')
    parser.add_argument('--steps', type=int, default=2, metavar='N',
                        help='timed steps of a process; one more warms up (default: 2)')
    parser.add_argument('--batch', type=int, default=2, metavar='N', help='images (default: 2)')
    args = parser.parse_args(argv)
    check_counts(rounds=args.rounds, steps=args.steps, batch=args.batch)
    for stage in args.stage:
        with tempfile.TemporaryDirectory() as folder:
            show(stage, measure(folder, stage, args.rounds, args.steps, args.batch))


if __name__ == '__main__':
    main()
