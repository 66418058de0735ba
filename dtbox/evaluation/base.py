"""Metric: streaming sums that add up over batches, sets and ranks.

A concrete metric names what it `requires` and writes two methods: `update` adds the sums of a batch, `values` turns sums into
numbers. What is missing (no texts, no decoder, no teacher) is no error: the metric yields nothing and says why in `skipped`.

A metric also fits MMEngine's Evaluator: give `val_step` a list of one TokenizerOutput to return. MMEngine's sampler pads the last
batch of a rank with repeated samples unless `round_up=False`, and sums cannot take them out again.
"""
from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Optional, Tuple

import torch
from mmengine.logging import print_log

from dtbox import distributed
from dtbox.errors import InputError
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.samples import SampleScores

REASONS = {
    'reconstructions': 'no reconstructions: nothing was decoded',
    'codes': 'no codes',
    'pooled': 'no pooled embedding of the tokens: the model has no head, or it did not run',
    'teacher.tokens': 'no teacher tokens to compare with',
    'teacher.pooled': 'no pooled embedding of a teacher',
    'batch.texts': 'the data has no texts',
    'batch.labels': 'the data has no labels',
    'context.teacher': 'no teacher to embed the reconstructions',
    'context.classes': 'the data has no class names',
    'context.embed_text': 'no text tower to embed the class names',
    'context.vocabularies': 'the sizes of the codebooks are not known',
    'context.bank': 'there are no training pictures to learn from: give data with a training part',
    'batch.regions': 'the data has no regions (masks of objects)',
}
"""Why a metric is absent, by the name of what it misses."""
HOW = ("Write in the class, with `from dtbox.evaluation import MetricInfo`: info = [MetricInfo('my_score', 'my score', unit='dB', format='.2f', "
       "direction='higher', group='reconstruction')]")
"""How a metric describes itself, for messages."""


@dataclass(frozen=True)
class EvalContext:
    """What metrics may need beside batches and outputs; all of it optional.

    Attributes:
        classes: names of the classes for zero-shot, by label.
        embed_text: list of T strings -> embeddings [T, E], normalised.
        teacher: images [B, 3, H, W] in [-1, 1] -> the frozen teacher's pooled output [B, E], not normalised.
        vocabularies: name -> (Q, list of its Q codebook sizes).
        pool_regions: side (`tokens`, `teacher`) -> callable (last tokens of the side [B, P + N, D], B masks bool [M, H, W]) -> list of B
            embeddings [M, E], or None.
        bank: callable without arguments -> Bank of the training pictures, embedded once when a metric first asks.
        dump: folder for the images that metrics measure (see `dtbox.evaluation.dump`); None writes none.
    """
    classes: Optional[List[str]] = None
    embed_text: Optional[Callable] = None
    teacher: Optional[Callable] = None
    vocabularies: Dict[str, Tuple[int, List[int]]] = field(default_factory=dict)
    pool_regions: Dict[str, Optional[Callable]] = field(default_factory=dict)
    bank: Optional[Callable] = None
    dump: Optional[str] = None


class Metric:
    """Base of every metric.

    Args:
        prefix: put in front of the names of the values (`prefix/psnr`), to tell two metrics of one class apart.

    Attributes:
        info: list of MetricInfo: what its values are. Tables, reports and grids know nothing else of a metric.
        requires: dotted names of what it cannot do without: fields of TokenizerOutput (`teacher.tokens`, `features.semantic`), of
            the Batch (`batch.texts`) and of the EvalContext (`context.classes`).
        uses: dotted names of what else it reads where it is there.
        dumps: whether it writes the images that it measures, where the context names a folder for them.
        merges: whether the sums of several sets make sense as one (the column `all`).
        state: name -> float64 sums; additive.
        reasons: why pictures were left out -> how many.
        scores: SampleScores, what `keep` noted of single samples.
    """
    info = ()
    requires = ()
    uses = ()
    merges = True
    dumps = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if not isinstance(cls.info, (list, tuple)) or not all(isinstance(info, MetricInfo) for info in cls.info):
            raise InputError(f'`info` of the metric {cls.__name__} is {cls.info!r}; expected a list of MetricInfo. {HOW}')

    def __init__(self, prefix=''):
        self.prefix = prefix
        self.context = EvalContext()
        self.dataset_meta = None
        self.reset()

    @property
    def label(self):
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
            raise InputError(f'the metric {type(self).__name__} does not say what its values are: it has no `info`. {HOW}')
        return [info.prefixed(self.prefix) for info in self.info]

    def setup(self, context):
        """Take the EvalContext before a pass; computes nothing that may turn out not to be needed."""
        self.context = context

    def reset(self):
        """Forget what was seen."""
        self.state, self.reasons, self.scores, self.synced = {}, Counter(), SampleScores(), False

    def fresh(self):
        """Return an empty copy that shares settings and context."""
        other = copy.copy(self)
        other.reset()
        return other

    def available(self, outputs, batch):
        """Return True, or the reason why this batch cannot be measured."""
        for name in self.requires:
            if _absent(_lookup(name, outputs, batch, self.context)):
                return REASONS.get(name, f'the outputs carry no `{name}`')
        return True

    @torch.no_grad()
    def process(self, data_batch, outputs):
        """Add a batch.

        Args:
            data_batch: a Batch; only its texts, labels and keys are read, never its images (uint8 or not).
            outputs: the TokenizerOutput of that batch, or a list of just it (MMEngine's Evaluator).
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

    def update(self, batch, outputs):
        """Add the sums of a batch, all of `requires` being there."""
        raise NotImplementedError(f'{type(self).__name__} must write update(batch, outputs).')

    def values(self):
        """Return name -> number from the sums of at least one batch."""
        raise NotImplementedError(f'{type(self).__name__} must write values().')

    def add(self, name, value):
        """Add a tensor, dense or sparse, to the float64 sum `name`."""
        value = value.detach().cpu().double()
        total = self.state[name] + value if name in self.state else value
        self.state[name] = total.coalesce() if total.is_sparse else total

    def keep(self, name, values, index=None):
        """Keep one number [M] for each sample of the batch that `update` sees, or for its samples `index` [M]; costs no more than the floats."""
        self.scores.keep(name, values, index)

    def leave_out(self, reason, pictures):
        """Note why some pictures, or one side of them, could not be measured."""
        self.reasons[reason] += int(pictures)

    def classed(self, batch):
        """Return the positions [M] of the samples that have a class, and note the others as left out."""
        classed = (batch.labels.detach().cpu() >= 0).nonzero().flatten()
        if len(classed) < len(batch):
            self.leave_out('pictures without a class', len(batch) - len(classed))
        return classed

    def merge(self, other):
        """Add what another metric of the same class saw, and return self."""
        if type(other) is not type(self):
            raise InputError(f'cannot merge {other.label} into {self.label}: only metrics of one class add up.')
        for name, value in other.state.items():
            self.add(name, value)
        self.reasons.update(other.reasons)
        self.scores.add(other.scores)
        return self

    def sync(self):
        """Sum over ranks, once, at the end. Every rank must take part; one that saw nothing learns the shapes from the others."""
        if self.synced:
            return
        layout = {k: (*v.shape, *(['sparse'] if v.is_sparse else [])) for k, v in self.state.items()}
        gathered = distributed.gather_objects((layout, dict(self.reasons), self.scores))
        shapes = {}
        for layout, *_ in gathered:
            for name, shape in layout.items():
                if shapes.setdefault(name, shape) != shape:
                    raise InputError(f'{self.label}: the sums `{name}` have shape {list(shape)} on one rank and '
                                     f'{list(shapes[name])} on another. Ranks must evaluate the same model.')
        self.state = {name: distributed.sum_tensor(self.state[name] if name in self.state else _zeros(shapes[name])) for name in sorted(shapes)}
        self.reasons, self.scores = sum((Counter(reasons) for _, reasons, _ in gathered), Counter()), SampleScores()
        for *_, scores in gathered:
            self.scores.add(scores)
        self.synced = True

    def compute(self):
        """Return name -> float; empty where nothing could be measured (`skipped` says why)."""
        if not self.state.get('images'):
            return {}
        return {f'{self.prefix}/{k}' if self.prefix else k: float(v) for k, v in self.values().items()}

    def samples(self):
        """Return name -> float64 [n] of what was kept of each of the n samples seen, NaN where nothing was; ask after `sync`."""
        return {f'{self.prefix}/{k}' if self.prefix else k: v for k, v in self.scores.arrays().items()}

    def queries(self):
        """Return group -> (keys of its M rows, dict name -> float64 [M]) of what has rows of its own, such as queries; ask after `sync`."""
        return {}

    @property
    def skipped(self):
        """Why values are missing or pictures were left out, as one sentence; '' where all was measured. Ask after `compute`."""
        if not self.state.get('images'):
            return '; '.join(sorted(self.reasons))
        return '; '.join(f'{reason} ({n} pictures)' for reason, n in sorted(self.reasons.items()))

    def evaluate(self, size=None):
        """MMEngine's moment: sum over ranks, compute, start anew. `size` is ignored, since sums know nothing of padding."""
        self.sync()
        values = self.compute()
        if self.skipped:
            print_log(f'{self.label}: {self.skipped}.', logger='current')
        self.reset()
        return values


def _lookup(name, outputs, batch, context):
    head, _, rest = name.partition('.')
    value, path = {'batch': (batch, rest), 'context': (context, rest)}.get(head, (outputs, name))
    for part in path.split('.'):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    return value


def _absent(value):
    return value is None or (isinstance(value, (dict, list, tuple)) and not value)


def _zeros(shape):
    if shape and shape[-1] == 'sparse':
        return torch.sparse_coo_tensor(size=shape[:-1], dtype=torch.float64, check_invariants=False).coalesce()
    return torch.zeros(shape, dtype=torch.float64)
