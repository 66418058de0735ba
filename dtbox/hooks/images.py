"""What a run looks like: reconstructions during training; reconstructions, codebooks and loss curves at its end."""
from __future__ import annotations

import contextlib
import os
import random
from typing import Any, Callable, Iterator

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from dtbox import distributed
from dtbox.counts import format_count
from dtbox.datasets import collate
from dtbox.drawing.codebook_usage import Codebook, draw_codebooks
from dtbox.drawing.curves import draw_curves
from dtbox.drawing.sheets import Group, draw_sheet, to_uint8
from dtbox.drawing.strips import write_strip
from dtbox.errors import Diverged
from dtbox.evaluation.functional import code_usage, psnr, seen_counts
from dtbox.evaluation.functional.image_quality import to_unit
from dtbox.registry import HOOKS
from dtbox.rows import read_rows
from dtbox.runs import RunFolder
from dtbox.structures import Batch
from dtbox.values import Count, Positive, check_values

STRIP = 16
"""Images in heldout.png, spread over the held-out sets; fewer where there are fewer."""


@HOOKS.register_module()
class Images(Hook):
    """Draw into the run folder.

    During training `images/iter_000500.png`: the same held-out images each time, above their reconstructions. After the
    final evaluation `reconstructions.png`, `codebooks.png` (where CodeUsage is among the metrics), `losses.png`, and
    `heldout.png`: `STRIP` held-out images above their reconstructions, pixel by pixel, from which reports put sheets of
    several runs together. A task that reconstructs no images or has no codebooks gets the rest.

    Drawing changes neither weights nor random states. A figure that fails is logged, and the run continues; it ends
    with an error that names them, once checkpoint and metrics are written.

    Args:
        interval: iterations between two sheets; 0 draws at the end only.
        count: images on such a sheet, spread over the held-out sets.
        per_set: images of each held-out set in reconstructions.png.
    """
    priority = 'LOWEST'

    def __init__(self, interval: Count, count: Positive = 8, per_set: Positive = 16) -> None:
        check_values(Images, locals())
        self.interval, self.count = interval, count
        self.per_set, self.reconstructs = per_set, False
        self.batch: Batch | None = None
        self.failed = {}

    def before_train(self, runner: Runner) -> None:
        """Find out whether there is something to reconstruct."""
        self.failed, self.batch = {}, None
        self.reconstructs = runner.task.reconstructs and runner.val_loop is not None
        if runner.task.reconstructs and not self.reconstructs and distributed.get_rank() == 0:
            runner.logger.info('No images of reconstructions: there are no held-out images.')

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        """Draw a sheet where one is due."""
        done = runner.iter_done
        if self.interval and done % self.interval == 0 and self.reconstructs and needs_rank(runner):
            self._try(runner, RunFolder(runner.work_dir).image_sheet(done), self._draw_some)

    def after_train(self, runner: Runner) -> None:
        """Draw what shows the whole run.

        Raises:
            Diverged: reconstructions are NaN or infinite.
            RuntimeError: figures could not be drawn; everything else of the run is complete.
        """
        run = RunFolder(runner.work_dir)
        if self.reconstructs and needs_rank(runner):
            self._try(runner, run.reconstructions, self._draw_many)
            self._try(runner, run.heldout_strip, write_heldout)
        if distributed.get_rank() != 0:
            return
        self._try(runner, run.codebooks_plot, draw_usage)
        self._try(runner, run.losses_plot, draw_history)
        diverged = [e for e in self.failed.values() if isinstance(e, Diverged)]
        if diverged:
            raise Diverged(f'the run in {runner.work_dir} has ended, and {diverged[0]} Its last updates have made it '
                           'diverge, and its checkpoint holds these weights. Lower the learning rate, or go on from '
                           'an earlier checkpoint (the hook Checkpoint keeps some with `keep_every`).')
        if self.failed:
            listing = '; '.join(f'{name} ({type(e).__name__}: {e})' for name, e in self.failed.items())
            raise RuntimeError(f'the run in {runner.work_dir} is complete, but figures could not be drawn: '
                               f'{listing}.') from next(iter(self.failed.values()))

    def _try(self, runner: Runner, path: str, draw: Callable[[Runner, str], None]) -> None:
        name = os.path.relpath(path, runner.work_dir)
        try:
            draw(runner, path)
            if distributed.get_rank() == 0 and runner.visualizer._vis_backends and os.path.isfile(path):
                label = name.split('/')[0].removesuffix('.png')
                runner.visualizer.add_image(label, read_png(path), step=runner.iter_done)
        except Exception as e:  # whatever a drawing library raises, it must not cost the run
            first, self.failed[name] = not self.failed, e
            runner.logger.warning(f'{name} could not be drawn ({type(e).__name__}: {e}); the run continues.',
                                  exc_info=e if first and not isinstance(e, Diverged) else None)

    def _draw_some(self, runner: Runner, path: str) -> None:
        if self.batch is None:
            dataset = runner.val_loop.dataloader.dataset
            self.batch = collate([dataset[i] for i in choose(dataset, total=self.count)])
        title = f'{_name(runner)}: held-out images after {format_count(runner.iter_done, "iteration")}'
        groups = reconstruct(runner, self.batch)
        if distributed.get_rank() == 0:
            draw_sheet(groups, path, title)

    def _draw_many(self, runner: Runner, path: str) -> None:
        dataset = runner.val_loop.dataloader.dataset
        batch = collate([dataset[i] for i in choose(dataset, each=self.per_set)])
        done = format_count(runner.iter_done, 'iteration')
        title = f'{_name(runner)}: reconstructions of held-out images after {done}'
        groups = reconstruct(runner, batch)
        if distributed.get_rank() == 0:
            draw_sheet(groups, path, title, note='PSNR below each image.', differences=True, tile=128)


def needs_rank(runner: Runner) -> bool:
    """Return whether this rank runs the model for a figure: rank 0 draws, and all ranks join a pass of weights that
    FSDP2 has divided."""
    return distributed.get_rank() == 0 or runner.task.shards is not None


def choose(dataset: Any, total: int | None = None, each: int | None = None) -> list[int]:
    """Choose images, always the same of a dataset, evenly spaced within each of its sets.

    Args:
        dataset: has a length; where it has `sets` (set of each sample, in order), every set is represented.
        total: how many in all (one of each set at least); or
        each: how many of each set.

    Returns:
        list of indices, set by set.
    """
    members = {}
    for i, name in enumerate(getattr(dataset, 'sets', None) or [''] * len(dataset)):
        members.setdefault(name, []).append(i)
    chosen = []
    for number, indices in enumerate(members.values()):
        count = each or max(1, total // len(members) + (number < total % len(members)))
        count = min(count, len(indices))
        chosen += [indices[i * len(indices) // count] for i in range(count)]
    return chosen


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put `model` into evaluation mode for a block, without gradient; modes and random states are put back after it."""
    modes = [(module, module.training) for module in model.modules()]
    python, numpy = random.getstate(), np.random.get_state()
    try:
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices), torch.no_grad():
            model.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        random.setstate(python)
        np.random.set_state(numpy)


def reconstruct(runner: Runner, batch: Batch) -> list[Group]:
    """Run a Batch through the task of a runner; return its images and reconstructions as a `Group` for each set.
    `Diverged` where a reconstruction is not finite."""
    task = runner.task
    with undisturbed(task), task.autocast():
        prepared = task.prepare(batch)
        images, reconstructions = prepared.images, task.reconstruct(prepared)
    if not reconstructions.isfinite().all():
        raise Diverged('reconstructions of held-out images hold NaN or infinite values.')
    scores = psnr(to_unit(images), to_unit(reconstructions)).cpu()
    images, reconstructions = to_uint8(images), to_uint8(reconstructions)
    names = batch.sets or ['held-out images'] * len(batch)
    groups = []
    for name in dict.fromkeys(names):
        index = [i for i, n in enumerate(names) if n == name]
        mean = float(scores[index].mean())
        title = f'{name}: mean PSNR of {format_count(len(index), "image")} {mean:.2f} dB'
        labels = [f'{scores[i]:.1f} dB' for i in index]
        groups.append(Group(title, images[index], reconstructions[index], labels))
    return groups


def write_heldout(runner: Runner, path: str) -> None:
    """Write heldout.png: the same images of a data set each time (see `choose`), named by set and key."""
    dataset = runner.val_loop.dataloader.dataset
    batch = collate([dataset[i] for i in choose(dataset, total=STRIP)])
    groups = reconstruct(runner, batch)
    if distributed.get_rank() != 0:
        return
    sets, keys = batch.sets or [''] * len(batch), batch.keys or [f'image {i}' for i in range(len(batch))]
    # in the order of the groups
    names = [(part, key) for part in dict.fromkeys(sets) for other, key in zip(sets, keys) if other == part]
    images, reconstructions = ([getattr(g, side) for g in groups] for side in ('inputs', 'reconstructions'))
    write_strip(np.concatenate(images), np.concatenate(reconstructions), path, names)


def draw_usage(runner: Runner, path: str) -> None:
    """Draw codebooks.png from the last evaluation's CodeUsage; a log line where there is none."""
    evaluator = runner.val_loop.evaluator if runner.val_loop is not None else None
    metric = evaluator.find('CodeUsage') if evaluator is not None else None
    histograms = metric.histograms() if metric is not None else {}
    if not histograms:
        if runner.task.quantizers:
            runner.logger.info('No figure of the codebooks: CodeUsage is not among the metrics, or there are no '
                               'held-out images.')
        return
    panels = []
    for name, depths in histograms.items():
        for depth, histogram in enumerate(depths):
            usage = code_usage(histogram)
            panels.append(Codebook(name, depth if len(depths) > 1 else None, seen_counts(histogram).numpy(),
                                   len(histogram), usage['usage'], usage['perplexity'], int(usage['dead'])))
    images = evaluator.results().counts['all']
    draw_codebooks(panels, path, f'{_name(runner)}: use of the codes on {images:,} held-out images')


def draw_history(runner: Runner, path: str) -> None:
    """Draw losses.png from history.jsonl; nothing where that is empty."""
    rows = read_rows(RunFolder(runner.work_dir).history)
    if rows:
        draw_curves(rows, path, f'{_name(runner)}: loss terms before their weights; the total is their weighted sum')


def read_png(path: str) -> np.ndarray:
    """Read a PNG as a uint8 array [H, W, 3]."""
    from PIL import Image
    with Image.open(path) as image:
        return np.asarray(image.convert('RGB'))


def _name(runner: Runner) -> str:
    return RunFolder(runner.work_dir).name
