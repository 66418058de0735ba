"""What a benchmark of a language model costs beside bare generation: the same questions through the protocol, and
through a loop that does nothing else than answer them.

    python tools/benchmarks/replies.py RUN [--questions 512] [--rounds 5] [--max-tokens 16]

The loop reads the images, encodes and generates; the protocol also words and renders the questions, scores the replies
and writes them. A third way starts from images in memory. The ways take turns in one process; the table gives medians
of CPU time and ratios of the same round. Six questions in a row are about one image, as in POPE. On a busy machine the
ratios scatter; the last line is from within single runs of the protocol: all of it over what reading, encoding and
generation take of it.
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from typing import Any, Callable
from unittest import mock

import numpy as np
import torch
from measuring import check_counts
from PIL import Image

from dtbox.apis.loading import open_config
from dtbox.apis.opening import open_task
from dtbox.cli.guard import main_guard
from dtbox.datasets.benchmarks import POPEQuestions
from dtbox.mllm.contexts import take_context
from dtbox.mllm.text_generation import reply
from dtbox.protocols import asking, load_protocol
from dtbox.protocols.find import find_protocol
from dtbox.training.code_cache import CodeCache

BATCH = 64


def write_questions(folder: str, count: int) -> None:
    """Write a POPE file of `count` questions about images of 640 x 480 pixels, six about each."""
    rng = np.random.default_rng(0)
    os.makedirs(os.path.join(folder, 'val2014'))
    rows = []
    for i in range(count):
        name = f'{i // 6}.jpg'
        if i % 6 == 0:
            pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((640, 480)).save(os.path.join(folder, 'val2014', name))
        rows.append(dict(question_id=i, image=name, text='Is there a dog in the image?' + ' Really?' * (i % 4),
                         label=('yes', 'no')[i % 2]))
    with open(os.path.join(folder, 'coco_pope_random.json'), 'w') as f:
        f.writelines(json.dumps(row) + '\n' for row in rows)


def make_ways(task: Any, folder: str, max_tokens: int) -> dict[str, Callable[[], Any]]:
    """Return name -> way of answering the questions of a folder."""
    protocol: Any = load_protocol(find_protocol('pope'), {
        'protocol.decoding.max_tokens': max_tokens, 'protocol.prompt': '{question} Answer with yes or no.'})
    height, width = task.tokenizer.model.image_size
    steps = [dict(type='ResizeCrop', size=height if height == width else (height, width), mode='squash'),
             dict(type='PackImage')]
    more: dict[str, Any] = dict(data_root=folder, categories=['random'], pipeline=steps)
    data = POPEQuestions(**more, prompt=protocol.prompt)
    parts = [range(first, min(first + BATCH, len(data))) for first in range(0, len(data), BATCH)]
    batches = [data.collate([data[i] for i in part]) for part in parts]
    prompts = [[task.model.sequence.render_prompt(one) for one in batch.conversations] for batch in batches]
    names = [[data.questions[i].image for i in part] for part in parts]

    def answer(read: bool) -> None:
        codes = CodeCache(task.tokenizer)
        for part, batch, rendered, images in zip(parts, batches, prompts, names):
            batch = data.collate([data[i] for i in part]) if read else batch
            distinct = list(dict.fromkeys(images))
            found = codes(batch.images[[images.index(name) for name in distinct]])
            places = [distinct.index(name) for name in images]
            shown = task.model.expand({name: value[places] for name, value in found.items()})
            reply(task.model, [take_context(one, shown) for one in rendered], max_tokens, task.evaluation.batch)

    def ask() -> None:
        loader = dict(dataset=dict(more, type='POPEQuestions'), batch_size=BATCH, num_workers=0)
        codes, out = CodeCache(task.tokenizer), os.path.join(folder, 'out')
        asking.ask_benchmark(task, protocol, loader, codes, out, lambda line: None)
    return {'images in memory': lambda: answer(False), 'bare generation': lambda: answer(True), 'protocol': ask}


def measure_rest(ask: Callable[[], Any], rounds: int) -> list[float]:
    """Return for each round the CPU time of the protocol over that of reading, encoding and generation in it."""
    spent: list[float] = []

    def timed(function: Callable) -> Callable:
        def call(*args: Any, **more: Any) -> Any:
            start = time.process_time()
            result = function(*args, **more)
            spent.append(time.process_time() - start)
            return result
        return call
    ratios = []
    with mock.patch.object(asking, 'reply', timed(asking.reply)), \
            mock.patch.object(asking.Asking, '_encode', timed(asking.Asking._encode)), \
            mock.patch.object(POPEQuestions, '__getitem__', timed(POPEQuestions.__getitem__)):
        for _ in range(rounds):
            spent.clear()
            start = time.process_time()
            ask()
            ratios.append((time.process_time() - start) / sum(spent))
    return ratios


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n\n')[0])
    parser.add_argument('run', help='run folder of a language model')
    parser.add_argument('--questions', type=int, default=512, help='%(default)s')
    parser.add_argument('--rounds', type=int, default=5, help='%(default)s')
    parser.add_argument('--max-tokens', type=int, default=16, help='most text ids of a reply (%(default)s)')
    args = parser.parse_args(argv)
    check_counts(questions=args.questions, rounds=args.rounds, max_tokens=args.max_tokens)
    task = open_task(*open_config(args.run)).model
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        write_questions(folder, args.questions)
        ways = make_ways(task, folder, args.max_tokens)
        rest = measure_rest(ways['protocol'], args.rounds + 1)[1:]  # the first warms up
        for number in range(-1, args.rounds):
            for name in list(ways)[number % 3:] + list(ways)[:number % 3]:
                start = time.process_time()
                ways[name]()
                if number >= 0:  # the first round warms up
                    seconds.setdefault(name, []).append(time.process_time() - start)
    print(f'{torch.get_num_threads()} thread(s), {args.questions} questions, {args.rounds} rounds\n')
    for name in ways:
        print(f'| {name} | {1000 * statistics.median(seconds[name]) / args.questions:.2f} ms of CPU time a question |')
    for under in ('bare generation', 'images in memory'):
        ratios = [a / b for a, b in zip(seconds['protocol'], seconds[under])]
        print(f'protocol / {under}: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})')
    print(f'protocol / reading, encoding and generation within it: {statistics.median(rest):.3f} ({min(rest):.3f} to '
          f'{max(rest):.3f})')


if __name__ == '__main__':
    sys.exit(main())
