"""Drawing with a multimodal language model: caches against recomputing everything, guidance against none, and whether
memory grows.

    python tools/benchmarks/drawing.py RUN [--prompts 8] [--rounds 3] [--drawings 1000]

Ways take turns in one process, in changing order; the table gives medians and ratios of the same round. The loop
without caches runs the whole prefix through the language model for every place, conditional and unconditional rows one
after the other, and the depth heads from their first step for every code: what a first implementation does.
"""
from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from typing import Any, Callable

import torch
from measuring import check_counts
from torch import Tensor

from dtbox.cli.guard import main_guard
from dtbox.mllm.contexts import Context, join_contexts
from dtbox.mllm.image_generation import generate_images
from dtbox.sampling import Guidance, SamplingRule, draw, draw_uniforms
from dtbox.sequence_batch import allowed_mask

SCALE = 2.0


def open_model(run: str) -> Any:
    """Return the MultimodalLM of a run, in evaluation mode."""
    from dtbox.apis.loading import load
    return load(run).model.eval()


@torch.inference_mode()
def draw_without_caches(model: Any, contexts: list[Context], rule: SamplingRule, scale: float,
                        generators: list[torch.Generator]) -> dict[str, Tensor]:
    """Draw as `generate_images`, everything computed anew for each code; for heads whose steps are places."""
    none = [Context.of_text(model.sequence.unconditional_prompt())] * len(contexts)
    done: list[dict[str, Tensor]] = []
    for _ in range(model.places):
        codes: dict[str, list[Tensor]] = {name: [] for name in model.visual_head.names}
        states = [_compute_state(model, _extend(model, rows, done))
                  for rows in ((contexts, none) if scale != 1 else (contexts,))]
        for name in model.visual_head.names:
            for depth in range(len(model.tables.sizes[name])):
                known = _fill(model, codes, len(contexts))
                logits = [model.visual_head.logits(state, known)[name][depth] for state in states]
                guided = logits[0] if scale == 1 else logits[1] + scale * (logits[0] - logits[1])
                codes[name].append(draw(guided, rule.resolve(name, depth), draw_uniforms(generators, 1)[:, 0]))
        done.append({name: torch.stack(values, -1) for name, values in codes.items()})
    return {name: torch.stack([place[name] for place in done], 1) for name in model.visual_head.names}


def _extend(model: Any, contexts: list[Context], done: list[dict[str, Tensor]]) -> list[Context]:
    """Contexts with the places that are drawn, which are an image of their own, cut short."""
    if not done:
        return contexts
    whole = {name: torch.stack([place[name] for place in done], 1) for name in done[0]}
    pad = {name: torch.nn.functional.pad(value, (0, 0, 0, model.places - len(done))) for name, value in whole.items()}
    longer = []
    for row, context in enumerate(contexts):
        image = context.add_image({name: value[row] for name, value in pad.items()}, model.sequence.tokens.image)
        stop = len(context) + len(done)
        longer.append(Context(image.ids[:stop], image.visual[:stop], image.codes))
    return longer


def _compute_state(model: Any, contexts: list[Context]) -> Tensor:
    """Return the state [B,H] at the end of each context."""
    batch = join_contexts(model, contexts)
    return model.lm(model.embed(batch), batch.position, allowed_mask(batch))[:, -1]


def _fill(model: Any, codes: dict[str, list[Tensor]], rows: int) -> dict[str, Tensor]:
    """Return the codes of a place [B,Q] so far, zeros in the place of those to come."""
    filled = {}
    for name, values in codes.items():
        missing = len(model.tables.sizes[name]) - len(values)
        filled[name] = torch.stack([*values, *[torch.zeros(rows, dtype=torch.int64)] * missing], -1)
    return filled


def measure(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return way -> seconds of each round; the ways take turns after one call to warm up."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        names = list(ways)[number % len(ways):] + list(ways)[:number % len(ways)]
        for name in names:
            start = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def measure_memory(make: Callable[[], Any], drawings: int, batch: int) -> dict[str, float]:
    """Return the peak of memory in MB after a tenth of the drawings and after all of them."""
    peaks = {}
    for done in range(0, drawings, batch):
        make()
        peaks.setdefault('after a tenth' if done + batch >= drawings // 10 else 'start', _peak())
    return dict(peaks, **{f'after {drawings:,}': _peak()})


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n\n')[0])
    parser.add_argument('run', help='run folder, or another place that dtbox.load opens')
    parser.add_argument('--prompts', type=int, default=8, help='drawings of a batch (%(default)s)')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--drawings', type=int, default=1000, help='over which memory is watched (%(default)s)')
    args = parser.parse_args(argv)
    check_counts(prompts=args.prompts, rounds=args.rounds, drawings=args.drawings)
    model, rule = open_model(args.run), SamplingRule(temperature=0.7)
    words = ['red heart', 'blue book', 'man running', 'woman: dark skin tone', 'flag of France', 'green apple', 'sun',
             'cat with tears of joy']
    contexts = [Context.of_text(model.sequence.prompt_for_drawing(words[i % len(words)])) for i in range(args.prompts)]

    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(i) for i in range(args.prompts)]
    ways = {'cached': lambda: generate_images(model, contexts, rule, None, generators()),
            'cached, guided': lambda: generate_images(model, contexts, rule, Guidance(SCALE), generators()),
            'recomputed, guided': lambda: draw_without_caches(model, contexts, rule, SCALE, generators())}
    seconds = measure(ways, args.rounds)
    print(f'{torch.get_num_threads()} thread(s), {args.prompts} drawings a batch, {model.places} places, '
          f'{args.rounds} rounds\n\n| way | seconds a drawing |\n|---|---|')
    for name, values in seconds.items():
        print(f'| {name} | {statistics.median(values) / args.prompts:.3f} |')
    for over, under in (('recomputed, guided', 'cached, guided'), ('cached, guided', 'cached')):
        ratios = [a / b for a, b in zip(seconds[over], seconds[under])]
        print(f'\n{over} / {under}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})', end='')
    peaks = measure_memory(ways['cached, guided'], args.drawings, args.prompts)
    print('\n\npeak of memory in MB: ' + json.dumps(peaks))


if __name__ == '__main__':
    sys.exit(main())
