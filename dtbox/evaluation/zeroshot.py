"""Zero-shot classification by class names, for the teacher's embeddings and for the tokens', side by side."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError
from dtbox.evaluation.base import Metric
from dtbox.evaluation.context import REASONS, EvalContext
from dtbox.evaluation.functional import topk_places
from dtbox.evaluation.functional.ranking import TIE
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.names import SIDES
from dtbox.evaluation.retrieval import collect_side_embeddings
from dtbox.registry import METRICS
from dtbox.structures import Batch, TokenizerOutput
from dtbox.values import Positive


@METRICS.register_module()
class ZeroShot(Metric):
    """`zeroshot_topK/SIDE`, SIDE being `teacher` or `tokens`: fraction of images whose class is among the K most
    similar names.

    The vector of a class is the normalised mean of the normalised embeddings of its name in every template. All classes
    of the context compete. Ties count against, so two classes of one name spoil each other. Images with the label -1
    are left out.

    Args:
        templates: sentences with `{}` for the name of the class, or the name of a set of them: 'imagenet80', CLIP's 80
            for ImageNet.
        ks: the K of top-K.
        block: texts embedded at a time.
        prefix: see Metric.
    """
    info = [MetricInfo('zeroshot_top1', 'zero-shot top-1', '', '.1%', 'higher', 'semantics', order=11, headline=7,
                       samples='zeroshot/{side}'),
            MetricInfo('zeroshot_top{k}', 'zero-shot top-{k}', '', '.1%', 'higher', 'semantics', order=11)]
    requires = ('batch.labels', 'context.classes', 'context.embed_text')
    uses = ('pooled', 'teacher.pooled')
    merges = False

    def __init__(self, templates: str | Sequence[str] = ('{}',), ks: Sequence[Positive] = (1, 5), block: Positive = 256,
                 prefix: str = '') -> None:
        self.templates, self.ks = read_templates(templates), tuple(ks)
        self.block = block
        self.vectors: dict[str, Tensor] = {}
        super().__init__(prefix)

    def setup(self, context: EvalContext) -> None:
        """See Metric."""
        super().setup(context)
        self.vectors = {}  # filled once a pass, shared by the copies for each set

    def available(self, outputs: TokenizerOutput, batch: Batch) -> Literal[True] | str:
        """See Metric."""
        reason = super().available(outputs, batch)
        if reason is not True:
            return reason
        if all(v is None for v in collect_side_embeddings(outputs).values()):
            return 'no pooled embedding, neither of the tokens nor of a teacher'
        return True if bool((batch.labels >= 0).any()) else 'images without a class'

    def update(self, batch: Batch, outputs: TokenizerOutput) -> None:
        """See Metric."""
        labels, positions = batch.labels.detach().cpu(), self.classed(batch)
        if int(labels.max()) >= len(self.context.classes):
            raise InputError(f'label {int(labels.max())} is beyond the {len(self.context.classes)} class names of the '
                             'data.')
        vectors = self._class_vectors()
        for side, value in collect_side_embeddings(outputs).items():
            if value is None:
                self.leave_out(REASONS['pooled' if side == 'tokens' else 'teacher.pooled'], len(positions))
                continue
            if value.shape[1] != vectors.shape[1]:
                self.leave_out(f'{side} embeds to {value.shape[1]} numbers, texts to {vectors.shape[1]}',
                               len(positions))
                continue
            scores = F.normalize(value.detach().cpu().double(), dim=1)[positions] @ vectors.T
            place = topk_places(scores, labels[positions], TIE)
            self.add(f'{side}/n', torch.tensor(len(positions)))
            self.keep(f'zeroshot/{side}', place < 1, positions)
            for k in self.ks:
                self.add(f'{side}/top{k}', (place < k).sum())

    def _class_vectors(self) -> Tensor:
        if 'classes' not in self.vectors:
            self.vectors['classes'] = compute_class_vectors(self.context, self.templates, self.block)
        return self.vectors['classes']

    def values(self) -> dict[str, float]:
        """See Metric."""
        return {f'zeroshot_top{k}/{side}': self.state[f'{side}/top{k}'] / self.state[f'{side}/n']
                for side in SIDES if f'{side}/n' in self.state for k in self.ks}


def read_templates(templates: str | Sequence[str]) -> list[str]:
    """Return templates as a list of sentences with `{}`.

    Args:
        templates: a sentence, a list of them, or 'imagenet80': the 80 of CLIP (arXiv 2103.00020), as open_clip has
            them.
    """
    if templates == 'imagenet80':
        from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES
        return [template('{}') for template in OPENAI_IMAGENET_TEMPLATES]
    templates = [templates] if isinstance(templates, str) else list(templates)
    bad = [t for t in templates if '{}' not in t]
    if bad or not templates:
        raise InputError(f'templates must hold `{{}}` for the name of the class, got {bad or "no template"}.',
                         'templates')
    return templates


def compute_class_vectors(context: EvalContext, templates: str | Sequence[str], block: int = 256) -> Tensor:
    """Return the vector of each class [classes,E], float64: the normalised mean of the normalised embeddings of its
    name in every template.

    Args:
        context: EvalContext with classes and embed_text.
        templates: as `read_templates` takes them.
        block: texts embedded at a time.
    """
    templates = read_templates(templates)
    texts = [t.replace('{}', name) for name in context.classes for t in templates]
    parts = [context.embed_text(texts[i:i + block]) for i in range(0, len(texts), block)]
    rows = F.normalize(torch.cat([p.detach().cpu().double() for p in parts]), dim=1)
    return F.normalize(rows.reshape(len(context.classes), len(templates), -1).mean(dim=1), dim=1)
