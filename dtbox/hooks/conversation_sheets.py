"""What a multimodal language model draws and says: sheets of held-out samples in the run folder."""
from __future__ import annotations

import bisect
from typing import Any, Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner

from dtbox import distributed
from dtbox.conversations import ConversationBatch
from dtbox.counts import format_count
from dtbox.drawing.sample_sheet import Sample, draw_samples
from dtbox.drawing.sheets import to_uint8
from dtbox.evaluation.replies import CAPTION, is_right
from dtbox.hooks.images import choose, undisturbed
from dtbox.mllm_output import MLLMOutput, Reply
from dtbox.registry import HOOKS
from dtbox.runs import RunFolder
from dtbox.values import Count, Positive, check_values

TILE = 128
"""Pixels of an image that stands beside drawings, where it is enlarged."""
NOTHING = '(nothing)'
"""Stands for an empty reply."""


@HOOKS.register_module()
class ConversationSheets(Hook):
    """Draw `drawings.png` (a real image, then drawings, below them the prompt and what the model calls its drawing) and
    `replies.png` (an image, below it its caption, answers by kind of question, and right answers beside wrong ones)
    into the run folder.

    The same held-out samples each time; random states and weights are as before.

    Args:
        interval: iterations between two sheets in `images/`; 0 draws at the end only.
        count: samples of each held-out set.
    """
    priority = 'LOWEST'

    def __init__(self, interval: Count = 0, count: Positive = 24) -> None:
        check_values(ConversationSheets, locals())
        self.interval, self.count = interval, count

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        """Draw sheets where they are due."""
        done = runner.iter_done
        if self.interval and done % self.interval == 0 and done < runner.max_iters:
            run = RunFolder(runner.work_dir)
            self._draw(runner, run.image_sheet(done, 'drawings'), run.image_sheet(done, 'replies'))

    def after_train(self, runner: Runner) -> None:
        """Draw the last sheets."""
        run = RunFolder(runner.work_dir)
        self._draw(runner, run.drawings, run.replies)

    def _draw(self, runner: Runner, drawings: str, replies: str) -> None:
        if runner.val_loop is not None:
            with runner.task.whole():
                if distributed.get_rank() == 0:
                    self._draw_whole(runner, drawings, replies)

    def _draw_whole(self, runner: Runner, drawings: str, replies: str) -> None:
        dataset = runner.val_loop.dataloader.dataset
        drawn: list[Sample] = []
        told: list[Sample] = []
        ways: dict[str, None] = {}
        for indices in _group_by_set(dataset, choose(dataset, each=self.count)):
            batch = runner.val_loop.dataloader.collate_fn([dataset[i] for i in indices])
            with undisturbed(runner.task):
                output = runner.task.predict(batch)
            drawn += show_drawings(output)
            ways.update(dict.fromkeys(output.drawings))
            told += show_replies(output, batch)
        after = f'{RunFolder(runner.work_dir).name} after {format_count(runner.iter_done, "iteration")}'
        if drawn:
            shown = f'real image, drawings ({", ".join(ways)})'
            draw_samples(drawn, drawings, f'{after}: {shown}; the prompt, and what the model calls its drawing', TILE)
        if told:
            title = f'{after}: caption and answers; where they are wrong, right ones follow in brackets'
            draw_samples(told, replies, title)


def _group_by_set(dataset: Any, indices: Sequence[int]) -> list[list[int]]:
    """Return indices by held-out set and dataset of a mixture, since samples of one set are of one kind."""
    groups: dict[tuple[int, str], list[int]] = {}
    for i in indices:
        number = bisect.bisect_right(getattr(dataset, 'boundaries', []), i)
        groups.setdefault((number, dataset.sets[i] if hasattr(dataset, 'sets') else ''), []).append(i)
    return list(groups.values())


def show_drawings(output: MLLMOutput) -> list[Sample]:
    """Return a Sample for each prompt: the real image and the first drawing of each way of sampling; the prompt, and
    the caption of the first drawing. Samples without a prompt have no drawing."""
    samples: list[Sample] = []
    for row, prompt in enumerate(output.prompts or []):
        if not prompt:
            continue
        tiles = [output.images[row].cpu(), *(images[row, 0].cpu() for images in output.drawings.values())]
        own = [f'is called: {reply.reply or NOTHING}' for reply in output.replies[row]][:1]
        samples.append(Sample([to_uint8(tile[None])[0] for tile in tiles], [prompt, *own]))
    return samples


def show_replies(output: MLLMOutput, batch: ConversationBatch) -> list[Sample]:
    """Return a Sample for each conversation that was asked: its image, its caption, and a line for each answer, after
    the kind of its question. A conversation without an image shows its questions in place of the kinds."""
    samples: list[Sample] = []
    for row in range(len(batch)):
        if output.prompts and output.prompts[row]:
            continue
        replies = output.replies[row]
        wrong = [k for k, reply in enumerate(replies) if not is_right(reply)]
        shown = not output.images[row].isnan().any()
        texts = [describe_reply(reply, k in wrong, shown) for k, reply in enumerate(replies)]
        if texts:
            images = [to_uint8(output.images[row][None])[0]] if shown else []
            samples.append(Sample(images, texts, wrong))
    return samples


def describe_reply(reply: Reply, wrong: bool, has_image: bool = True) -> str:
    """Return a reply as a line: 'faces right: yes [no]'; a caption stands by itself; without an image the question
    stands before it."""
    kind = '' if reply.kind == CAPTION else f'{reply.kind.replace("_", " ")}: '
    before = kind if has_image else f'{reply.question} '
    return f'{before}{reply.reply or NOTHING}' + (f' [{reply.truth}]' if wrong else '')
