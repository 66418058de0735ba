"""What a multimodal language model says of images: captions, answers, captions of its own drawings."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from dtbox import distributed
from dtbox.evaluation.base import Metric
from dtbox.evaluation.functional import cider_d, normalize_text, word_f1
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.means import Means
from dtbox.mllm_output import MLLMOutput, Reply
from dtbox.registry import METRICS
from dtbox.structures import Batch

CAPTION = 'caption'
CLOSED_LOOP = 'closed_loop'
MAJORITY = 'most frequent answer'


class CaptionMatch(Means):
    """Base of scores of captions: exact match and word F1, in lower case. With several right captions the best counts;
    several replies about one image count as their mean.

    Attributes:
        kind: of the replies that are scored.
        names: of exact match and word F1.
    """
    requires = ('replies',)
    kind = CAPTION
    names = ('caption_exact', 'caption_f1')

    def update(self, batch: Batch, outputs: Any) -> None:
        """See Metric."""
        numbers = []
        for index, replies in enumerate(outputs.replies):
            found = [(normalize_text(r.reply), [normalize_text(t) for t in r.truths]) for r in replies
                     if r.kind == self.kind]
            if found:
                exact = sum(float(reply in truths) for reply, truths in found) / len(found)
                f1 = sum(max(word_f1(reply, truth) for truth in truths) for reply, truths in found) / len(found)
                numbers.append((index, exact, f1))
                self.take(found)
        if len(numbers) < len(outputs.images):
            self.leave_out(f'images without a reply of the kind `{self.kind}`', len(outputs.images) - len(numbers))
        if numbers:
            index, *scores = (torch.tensor(column) for column in zip(*numbers))
            for name, score in zip(self.names, scores):
                self.note(name, score, index)

    def take(self, found: list[tuple[str, list[str]]]) -> None:
        """Take the captions of an image: (reply, right ones), for scores of the whole corpus."""

    def values(self) -> dict[str, float]:
        """See Metric."""
        return self.means()


@METRICS.register_module()
class CaptionScore(CaptionMatch):
    """`caption_exact`, `caption_f1`, and CIDEr-D: `cider` (0 to 10) beside `cider_ceiling`, what the first right
    caption of each image scores, which is below 10 where captions have fewer than four words.

    Document frequencies are those of the set that is scored; with one image CIDEr-D is 0. See `functional.texts`.
    """
    info = [MetricInfo('caption_exact', 'caption, exact', '', '.1%', 'higher', 'understanding', order=2, headline=10),
            MetricInfo('caption_f1', 'caption, word F1', '', '.3f', 'higher', 'understanding', order=1, headline=9),
            MetricInfo('cider', 'CIDEr-D of 10', '', '.2f', 'higher', 'understanding', order=3,
                       beside=[('right captions', 'cider_ceiling')]),
            MetricInfo('cider_ceiling', 'CIDEr-D of right captions', '', '.2f', 'none', 'understanding', order=4)]

    def reset(self) -> None:
        """See Metric."""
        super().reset()
        self.captions: list[tuple[str, list[str]]] = []

    def take(self, found: list[tuple[str, list[str]]]) -> None:
        """See CaptionMatch."""
        self.captions += found

    def merge(self, other: Any) -> Metric:
        """See Metric."""
        super().merge(other)
        self.captions = self.captions + other.captions
        return self

    def sync(self) -> None:
        """See Metric."""
        if not self.synced:
            super().sync()
            self.captions = [pair for part in distributed.gather_objects(self.captions) for pair in part]

    def values(self) -> dict[str, float]:
        """See Metric."""
        values = super().values()
        if self.captions:
            replies, truths = zip(*self.captions)
            for name, captions in dict(cider=replies, cider_ceiling=[some[0] for some in truths]).items():
                values[name] = sum(cider_d(captions, truths)) / len(captions)
        return values


@METRICS.register_module()
class ClosedLoop(CaptionMatch):
    """`closed_loop_exact`, `closed_loop_f1`: caption of the model's own drawing beside the prompt; replies of the kind
    'closed_loop'."""
    info = [MetricInfo('closed_loop_exact', 'closed loop, exact', '', '.1%', 'higher', 'drawing', order=9),
            MetricInfo('closed_loop_f1', 'closed loop, word F1', '', '.3f', 'higher', 'drawing', order=8, headline=13)]
    kind = CLOSED_LOOP
    names = ('closed_loop_exact', 'closed_loop_f1')


@METRICS.register_module()
class AnswerAccuracy(Means):
    """`answer/KIND`: fraction of right answers to the questions of a kind, beside `majority/KIND`, the fraction that
    the most frequent right answer of the same questions gets, and `asked/KIND`, how many there were; `answers` and
    `majority`, the means over kinds.

    Right is the reply that equals a right answer, in lower case, without a full stop at the end. Captions are no
    answers. Several questions of a kind about one image count as their mean.
    """
    info = [MetricInfo('answers', 'right answers, mean of kinds', '', '.1%', 'higher', 'understanding', order=5,
                       headline=11, beside=[(MAJORITY, 'majority')]),
            MetricInfo('majority', 'most frequent answer, mean', '', '.1%', 'none', 'understanding', order=6),
            MetricInfo('answer/{question}', 'right answers', '', '.1%', 'higher', 'understanding', order=7,
                       beside=[(MAJORITY, 'majority/{question}')]),
            MetricInfo('majority/{question}', 'most frequent answer', '', '.1%', 'none', 'understanding', order=8),
            MetricInfo('asked/{question}', 'questions', '', '.0f', 'none', 'understanding', order=9)]
    requires = ('replies',)

    def update(self, batch: Batch, outputs: Any) -> None:
        """See Metric."""
        right: dict[str, dict[int, list[float]]] = {}
        for index, reply in _list_answers(outputs):
            right.setdefault(reply.kind, {}).setdefault(index, []).append(float(is_right(reply)))
            self.add(f'truths|{reply.kind}|{_tidy(reply.truth)}', torch.tensor(1))
        if not right:
            self.leave_out('images without a question', len(outputs.images))
        for kind, images in right.items():
            scores = torch.tensor([sum(found) / len(found) for found in images.values()])
            self.note(f'answer/{kind}', scores, torch.tensor(list(images)))

    def values(self) -> dict[str, float]:
        """See Metric."""
        truths: dict[str, list[float]] = {}
        for name, count in self.state.items():
            if name.startswith('truths|'):
                truths.setdefault(name.split('|')[1], []).append(float(count))
        values = self.means()
        for kind, counts in truths.items():
            values.update({f'majority/{kind}': max(counts) / sum(counts), f'asked/{kind}': sum(counts)})
        if truths:
            values.update({name: sum(values[f'{of}/{kind}'] for kind in truths) / len(truths)
                           for name, of in (('answers', 'answer'), ('majority', 'majority'))})
        return values


def is_right(reply: Reply) -> bool:
    """Return whether a reply equals a right one: a caption as `CaptionMatch` compares it, an answer as `AnswerAccuracy`
    does."""
    tidy = normalize_text if reply.kind in (CAPTION, CLOSED_LOOP) else _tidy
    return tidy(reply.reply) in [tidy(truth) for truth in reply.truths]


def _list_answers(outputs: MLLMOutput) -> Iterator[tuple[int, Reply]]:
    """Yield (number of the image, reply) of replies that are no captions."""
    for index, replies in enumerate(outputs.replies):
        yield from ((index, reply) for reply in replies if reply.kind not in (CAPTION, CLOSED_LOOP))


def _tidy(answer: str) -> str:
    return normalize_text(answer).rstrip('.')
