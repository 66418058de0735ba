"""Metric: streaming sums that add up over batches, sets and ranks.

A concrete metric describes its values in `info`, names what it `requires` and writes two methods: `update` adds the
sums of a batch, `values` turns sums into numbers. Missing inputs (no texts, no decoder, no teacher) are not an error:
the metric yields nothing and says why in `skipped`.

A metric also fits MMEngine's Evaluator: give `val_step` a list of one TokenizerOutput to return. MMEngine's sampler
pads the last batch of a rank with repeated samples unless `round_up=False`, and sums cannot take them out again.
"""
from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from dtbox import distributed
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.evaluation.context import REASONS, EvalContext, find_missing
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.samples import SampleScores
from dtbox.structures import Batch, TokenizerOutput

HOW = ("Write in the class, with `from dtbox.evaluation import MetricInfo`: info = [MetricInfo('my_score', 'my score', "
       "unit='dB', format='.2f', direction='higher', group='reconstruction')]")
"""How a metric describes itself, for messages."""


class Metric:
    """Base of every metric.

    Args:
        prefix: put in front of the names of the values (`prefix/psnr`), to tell two metrics of one class apart.

    Attributes:
        info: list of MetricInfo: what its values are. Tables, reports and grids know nothing else of a metric.
        requires: dotted names of what it cannot do without: fields of TokenizerOutput (`teacher.tokens`,
            `features.semantic`), of the Batch (`batch.texts`) and of the EvalContext (`context.classes`).
        uses: dotted names of what else it reads where it is there.
        merges: whether the sums of several sets make sense as one (the column `all`).
        dumps: whether it writes the images that it measures, where the context names a folder for them.
        state: name -> float64 sums; additive.
        reasons: why images were left out -> how many.
        scores: SampleScores, what `keep` noted of single samples.
    """
    info: Sequence[MetricInfo] = ()
    requires: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    merges = True
    dumps = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if not isinstance(cls.info, (list, tuple)) or not all(isinstance(info, MetricInfo) for info in cls.info):
            raise InputError(f'`info` of the metric {cls.__name__} is {cls.info!r}; '
                             f'expected a list of MetricInfo. {HOW}')

    def __init__(self, prefix: str = '') -> None:
        self.prefix = prefix
        self.context = EvalContext()
        self.dataset_meta = None
        self.reset()

    @property
    def label(self) -> str:
        """Name of the metric itself, for messages."""
        return f'{self.prefix}/{type(self).__name__}' if self.prefix else type(self).__name__

    @property
    def count(self) -> int:
        """Number of images that were measured so far."""
        return int(self.state.get('images', 0))

    def infos(self) -> list[MetricInfo]:
        """Return the infos of its values as they are named, its prefix with them.

        Raises:
            InputError: the class has no `info`.
        """
        if not self.info:
            raise InputError(f'the metric {type(self).__name__} does not say what its values are: '
                             f'it has no `info`. {HOW}')
        return [info.prefixed(self.prefix) for info in self.info]

    def check_files(self) -> None:
        """Raise `InputError` where a file that the settings name does not exist: called before anything is measured."""

    def setup(self, context: EvalContext) -> None:
        """Take the EvalContext before a pass; computes nothing that may turn out not to be needed."""
        self.context = context

    def reset(self) -> None:
        """Forget what was seen."""
        self.state: dict[str, Tensor] = {}
        self.reasons: Counter[str] = Counter()
        self.scores = SampleScores()
        self.synced = False

    def fresh(self) -> Metric:
        """Return an empty copy that shares settings and context."""
        other = copy.copy(self)
        other.reset()
        return other

    def available(self, outputs: TokenizerOutput, batch: Batch) -> Literal[True] | str:
        """Return True, or the reason why this batch cannot be measured."""
        name = find_missing(self.requires, outputs, batch, self.context)
        return True if name is None else REASONS.get(name, f'the outputs carry no `{name}`')

    @torch.no_grad()
    def process(self, data_batch: Batch, outputs: TokenizerOutput | list[TokenizerOutput] | tuple[TokenizerOutput]
                ) -> None:
        """Add a batch.

        Args:
            data_batch: a Batch; only its texts, labels and keys are read, never its images (uint8 or not).
            outputs: the TokenizerOutput of that batch, or a list of it alone (MMEngine's Evaluator).
        """
        if isinstance(outputs, (list, tuple)):
            outputs, = outputs
        if self.synced:
            raise RuntimeError(f'{self.label} has already been summed over ranks: call reset() before a new pass.')
        reason = self.available(outputs, data_batch)
        if reason is not True:
            self.leave_out(reason, len(outputs.images))
        else:
            self.add('images', torch.tensor(len(outputs.images)))
            self.update(data_batch, outputs)
        self.scores.pass_over(len(outputs.images))

    def update(self, batch: Batch, outputs: TokenizerOutput) -> None:
        """Add the sums of a batch that has all of `requires`."""
        raise NotImplementedError(f'{type(self).__name__} must write update(batch, outputs).')

    def values(self) -> dict[str, float]:
        """Return name -> number from the sums of at least one batch."""
        raise NotImplementedError(f'{type(self).__name__} must write values().')

    def add(self, name: str, value: Tensor) -> None:
        """Add a tensor, dense or sparse, to the float64 sum `name`."""
        value = value.detach().cpu().double()
        total = self.state[name] + value if name in self.state else value
        self.state[name] = total.coalesce() if total.is_sparse else total

    def keep(self, name: str, values: Tensor, index: Tensor | None = None) -> None:
        """Keep one number [M] for each sample of the batch that `update` sees, or for its samples `index` [M].

        It costs no more than the floats.
        """
        self.scores.keep(name, values, index)

    def leave_out(self, reason: str, images: int) -> None:
        """Note why some images, or one side of them, could not be measured."""
        self.reasons[reason] += int(images)

    def classed(self, batch: Batch) -> Tensor:
        """Return the positions [M] of the samples that have a class, and note the others as left out."""
        positions = (batch.labels.detach().cpu() >= 0).nonzero().flatten()
        if len(positions) < len(batch):
            self.leave_out('images without a class', len(batch) - len(positions))
        return positions

    def merge(self, other: Metric) -> Metric:
        """Add what another metric of the same class saw, and return self."""
        if type(other) is not type(self):
            raise InputError(f'cannot merge {other.label} into {self.label}: only metrics of one class add up.')
        for name, value in other.state.items():
            self.add(name, value)
        self.reasons.update(other.reasons)
        self.scores.add(other.scores)
        return self

    def sync(self) -> None:
        """Sum over ranks, once, at the end.

        Every rank must take part; a rank that saw nothing learns the shapes from the others.
        """
        if self.synced:
            return
        layout = {k: (*v.shape, *(['sparse'] if v.is_sparse else [])) for k, v in self.state.items()}
        gathered = distributed.gather_objects((layout, dict(self.reasons), self.scores))
        shapes: dict[str, tuple] = {}
        for layout, *_ in gathered:
            for name, shape in layout.items():
                if shapes.setdefault(name, shape) != shape:
                    raise InputError(f'{self.label}: the sums `{name}` have shape {list(shape)} on one rank and '
                                     f'{list(shapes[name])} on another. Ranks must evaluate the same model.')
        self.state = {name: distributed.sum_tensor(self.state[name] if name in self.state else _zeros(shapes[name]))
                      for name in sorted(shapes)}
        self.reasons = sum((Counter(reasons) for _, reasons, _ in gathered), Counter())
        self.scores = SampleScores()
        for *_, scores in gathered:
            self.scores.add(scores)
        self.synced = True

    def compute(self) -> dict[str, float]:
        """Return name -> float; empty where nothing could be measured (`skipped` says why)."""
        if not self.count:
            return {}
        return {f'{self.prefix}/{k}' if self.prefix else k: float(v) for k, v in self.values().items()}

    def samples(self) -> dict[str, np.ndarray]:
        """Return name -> float64 [n] of what was kept of each of the n samples, NaN where nothing was.

        Ask after `sync`.
        """
        return {f'{self.prefix}/{k}' if self.prefix else k: v for k, v in self.scores.arrays().items()}

    def queries(self) -> dict[str, tuple[list[str], dict[str, np.ndarray]]]:
        """Return group -> (keys of its M rows, name -> float64 [M]) of what has rows of its own, such as queries.

        Ask after `sync`.
        """
        return {}

    @property
    def skipped(self) -> str:
        """Why values are missing or images were left out, as one sentence; '' where all was measured.

        Ask after `compute`.
        """
        if not self.count:
            return '; '.join(sorted(self.reasons))
        return '; '.join(f'{reason} ({format_count(n, "image")})' for reason, n in sorted(self.reasons.items()))

    def evaluate(self, size: int | None = None) -> dict[str, float]:
        """MMEngine's moment: sum over ranks, compute, start anew. `size` is ignored, since sums know no padding."""
        self.sync()
        values = self.compute()
        if self.skipped:
            print_log(f'{self.label}: {self.skipped}.', logger='current')
        self.reset()
        return values


def _zeros(shape: tuple) -> Tensor:
    if shape and shape[-1] == 'sparse':
        return torch.sparse_coo_tensor(size=shape[:-1], dtype=torch.float64, check_invariants=False).coalesce()
    return torch.zeros(shape, dtype=torch.float64)
