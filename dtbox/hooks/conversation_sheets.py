"""What a multimodal language model draws and says: sheets of held-out samples in the run folder."""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from dtbox import distributed
from dtbox.conversations import ConversationBatch
from dtbox.drawing.sample_sheet import draw_samples
from dtbox.drawing.sheets import to_uint8
from dtbox.hooks.images import choose, undisturbed
from dtbox.mllm_output import MLLMOutput
from dtbox.registry import HOOKS
from dtbox.runs import RunFolder
from dtbox.values import Count, Positive, check_values

Sample = tuple[np.ndarray, Sequence[str]]


@HOOKS.register_module()
class ConversationSheets(Hook):
    """Draw `drawings.png` (a real image, then drawings, below them the prompt and what the model calls its drawing) and
    `replies.png` (an image, below it questions, replies and right answers) into the run folder.

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
        for indices in _group_by_set(dataset, choose(dataset, each=self.count)):
            batch = runner.val_loop.dataloader.collate_fn([dataset[i] for i in indices])
            with undisturbed(runner.task):
                output = runner.task.predict(batch)
            drawn += show_drawings(output)
            told += show_replies(output, batch)
        after = f'{RunFolder(runner.work_dir).name} after {runner.iter_done:,} iterations'
        if drawn:
            draw_samples(drawn, drawings, f'{after}: real image, drawings; the prompt and the model\'s caption', 256)
        if told:
            draw_samples(told, replies, f'{after}: replies (right answers in brackets where they differ)', 192)


def _group_by_set(dataset: Any, indices: Sequence[int]) -> list[list[int]]:
    """Return indices by held-out set, since samples of one set are of one kind."""
    groups: dict[str, list[int]] = {}
    for i in indices:
        groups.setdefault(dataset.sets[i], []).append(i)
    return list(groups.values())


def show_drawings(output: MLLMOutput) -> list[Sample]:
    """Return a tile for each drawn sample: the real image and the first drawing of each way of sampling, side by side;
    the prompt, and the caption of the first drawing."""
    samples: list[Sample] = []
    for row, prompt in enumerate(output.prompts or []):
        tiles = [output.images[row].cpu(), *(images[row, 0].cpu() for images in output.drawings.values())]
        own = [reply.reply for reply in output.replies[row]][:1]
        pixels = np.concatenate([to_uint8(tile[None])[0] for tile in tiles], 1)
        samples.append((pixels, [prompt, *(f'is called: {text}' for text in own)]))
    return samples


def show_replies(output: MLLMOutput, batch: ConversationBatch) -> list[Sample]:
    """Return a tile for each sample that was asked: the image, and a line for each reply."""
    samples: list[Sample] = []
    for row in range(len(batch)):
        if output.prompts and output.prompts[row]:
            continue
        lines = [reply.reply if reply.reply == reply.truth else f'{reply.reply or "(nothing)"} [{reply.truth}]'
                 for reply in output.replies[row]]
        if lines:
            samples.append((to_uint8(output.images[row][None])[0], lines))
    return samples
