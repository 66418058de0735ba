"""What resolution costs: one model over images of several sizes, by resized position tables and by tiles; table and
plot."""
from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from dtbox import distributed
from dtbox.apis.loading import open_config
from dtbox.apis.opening import open_task
from dtbox.apis.tiles import reconstruct_tiled
from dtbox.datasets import EvalSampler
from dtbox.drawing.resolution_plot import draw_resolution
from dtbox.errors import InputError
from dtbox.evaluation import Infos, MetricInfo, Results, SetEvaluator
from dtbox.evaluation.names import ALL, is_stderr
from dtbox.evaluation.pixels import L1, LPIPS, PSNR, SSIM
from dtbox.files import write_atomic
from dtbox.markup import escape_markdown
from dtbox.memory import Peak
from dtbox.protocols.base import Protocol
from dtbox.protocols.subject import Subject
from dtbox.registry import PROTOCOLS
from dtbox.structures import TokenizerOutput
from dtbox.training.dataloaders import build_val_dataloader

WAYS = ('resize', 'tiles')
BESIDE = ('size', 'way', 'images')
"""What a row holds beside scores and costs."""


def expand_by_size(infos: Iterable[MetricInfo]) -> list[MetricInfo]:
    """Return the infos of values of each way and size: `psnr` -> `psnr/{way}/{size}`."""
    return [replace(info, name=f'{info.name}/{{way}}/{{size}}', headline=0) for info in infos]


@PROTOCOLS.register_module()
class Resolution(Protocol):
    """One model at several sizes; leaves resolution.md and resolution.png.

    `resize` builds the model for the larger images, its learned position tables resized bicubically; `tiles`
    reconstructs overlapping tiles of the model's own size and blends them. The images are the held-out ones, prepared
    at
    each size: those must be at least as large, or enlarging is what is measured. Neither teacher nor texts: metrics
    here are of reconstructions.

    Args:
        metrics: as in Protocol.
        sizes: sides of the images in pixels.
        ways: of 'resize' and 'tiles'.
        overlap: of tiles, see `reconstruct_tiled`.
        limit: images at most, the first ones.
        batch: images at a time.
    """
    info = [MetricInfo('seconds/{way}/{size}', 'seconds per image', '', '.3g', 'lower', 'cost', order=1),
            MetricInfo('peak_mb/{way}/{size}', 'peak memory', 'MB', ',.0f', 'lower', 'cost', order=2)]
    info += expand_by_size(info for metric in (PSNR, SSIM, L1, LPIPS) for info in metric.info)

    def __init__(self, metrics: Sequence | dict = (), sizes: Sequence[int] = (256, 384, 512, 768, 1024),
                 ways: Sequence[str] = WAYS, overlap: float = 0.25, limit: int = 200, batch: int = 4) -> None:
        super().__init__(())
        self.about, self.overlap = metrics, overlap
        self.limit, self.batch = limit, batch
        self.sizes, self.ways = list(sizes), list(ways)
        unknown = [w for w in self.ways if w not in WAYS]
        if unknown or not self.ways or not self.sizes:
            raise InputError(f'`ways` is {ways!r} and `sizes` {sizes!r}; expected some of {", ".join(WAYS)}, and at '
                             'least one size.', 'ways')

    def infos(self) -> list[MetricInfo]:
        """See Protocol; those of its own metrics by size count before the built-in ones."""
        own = [info for metric in SetEvaluator(self.about).prototypes for info in metric.infos()]
        return [*expand_by_size(own), *self.info]

    def finish(self, subject: Subject, evaluator: SetEvaluator, results: Results, folder: str) -> list[str]:
        """See Protocol."""
        own, rows = subject.model.tokenizer.image_size, []
        for size in self.sizes:
            cfg = self._config(subject, size)
            for way in self.ways:
                if way == 'tiles' and size < max(own):
                    continue
                rows.append(dict(size=size, way=way, **self._measure(subject, cfg, size, way)))
        infos = Infos(self.infos())
        table = format_resolution_table(rows, infos)
        for row in rows:
            for name, value in row.items():
                if name not in BESIDE and value is not None:
                    results.sets[ALL][f'{name}/{row["way"]}/{row["size"]}'] = value
        results.counts[ALL] = rows[0]['images'] if rows else 0
        if distributed.get_rank() == 0:
            write_atomic(os.path.join(folder, 'resolution.md'), table + '\n')
            headings = {name: info.heading for name, info in list_columns(rows, infos).items()}
            draw_resolution(rows, headings, os.path.join(folder, 'resolution.png'),
                            f'One model of {own[0]} pixels at other sizes')
        return ['', *table.splitlines(), '', f'written to {os.path.join(folder, "resolution.md")} and resolution.png']

    def _config(self, subject: Subject, size: int) -> Config:
        """Return the resolved config with images (and model) of another size."""
        try:
            run, checkpoint, options, plugins = subject.opened
            return open_config(run, checkpoint, {**options, 'image_size': size}, plugins)[0]
        except InputError as e:
            raise InputError(f'the size of the images cannot be changed: {e} The config needs a variable `image_size` '
                             'to which the model and the data refer.') from e

    def _measure(self, subject: Subject, cfg: Config, size: int, way: str) -> dict[str, Any]:
        data = dict(cfg.val_dataloader if subject.data is None else subject.data(size))
        loader = build_val_dataloader(dict(data, batch_size=self.batch))
        count = min(self.limit, len(loader.dataset))
        sampler = EvalSampler(count, distributed.get_rank(), distributed.get_world_size())
        loader.sampler.indices = sampler.indices
        tokenizer = subject.model.tokenizer
        if way == 'resize':
            cfg.model.pop('teacher', None)
            tokenizer = open_task(cfg, subject.path, resize=True)[0].tokenizer
        run, scores = _reconstructor(tokenizer), SetEvaluator(self.about)
        scores.setup(subject.model.eval_context(loader.dataset))
        seen, seconds = 0, 0.0
        with Peak() as peak, torch.no_grad():
            for batch in loader:
                if not len(batch):
                    continue
                batch = subject.model.prepare(batch)
                begun = time.perf_counter()
                if way == 'resize':
                    reconstructions = run(batch.images)
                else:
                    reconstructions = reconstruct_tiled(batch.images, run, tokenizer.image_size, self.overlap)
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                seconds += time.perf_counter() - begun
                seen += len(batch)
                scores.update(batch, TokenizerOutput(images=batch.images, reconstructions=reconstructions))
        results = scores.results()
        values = {name: value for name, value in results.sets[ALL].items() if not is_stderr(name)}
        return dict(images=results.counts[ALL], **values, seconds=seconds / max(seen, 1), peak_mb=peak.megabytes)


def _reconstructor(tokenizer: Any) -> Callable[[Tensor], Tensor]:
    def run(images: Tensor) -> Tensor:
        return tokenizer.decode(tokenizer.encode(images, tokenizer.reads))
    return run


def list_columns(rows: list[dict], infos: Infos) -> dict[str, MetricInfo]:
    """Return the scores and costs of rows and what describes each: name -> MetricInfo."""
    names = [name for name in (rows[0] if rows else ()) if name not in BESIDE]
    return {name: infos.describe(f'{name}/{rows[0]["way"]}/{rows[0]["size"]}', has_set=False).info for name in names}


def format_resolution_table(rows: list[dict], infos: Infos) -> str:
    """Return the rows as Markdown: size, way, number of images, and each score and cost as its info says."""
    columns = list_columns(rows, infos)
    lines = ['| size | by | images | ' + ' | '.join(escape_markdown(info.heading) for info in columns.values()) + ' |',
             '|---:|---|---:|' + '---:|' * len(columns)]
    for row in rows:
        cells = ['–' if row.get(name) is None else format(row[name], info.format) for name, info in columns.items()]
        lines.append(f'| {row["size"]} | {row["way"]} | {row["images"]:,} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)
