"""Which of its streams a language model answers from: its replies once more with each stream blanked."""
from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dtbox.apis.opening import MLLM
from dtbox.conversations import ConversationBatch
from dtbox.errors import InputError
from dtbox.evaluation import Results, SetEvaluator
from dtbox.evaluation.evaluate import list_metrics
from dtbox.evaluation.loop import evaluate_all
from dtbox.mllm_output import MLLMOutput
from dtbox.protocols.base import Protocol
from dtbox.registry import DATASETS, PROTOCOLS
from dtbox.training.code_cache import CodeCache
from dtbox.training.dataloaders import build_val_dataloader
from dtbox.training.mllm_evaluation import ask
from dtbox.values.kinds import Positive

CHUNK = 64
"""Training images that are read at a time."""


@PROTOCOLS.register_module()
class BlankedStreams(Protocol):
    """Replies about the held-out images from all streams, and without each: values METRIC and without_STREAM/METRIC.

    A stream is blanked by its mean: in the visual embedding, before the streams are joined, its part at every place of
    every image becomes its mean over all places of training images. Nothing is trained again. So a loss says that the
    model as it is answers from this stream; no loss says that the other stream stood in for it or that neither is used,
    not that this one lacks the answer. Drawings are left out.

    Args:
        metrics: of the replies, as in `Protocol`.
        images: training images whose mean it is, spread evenly over the training set.
    """
    use = MLLM

    def __init__(self, metrics: Sequence | dict, images: Positive = 1024) -> None:
        super().__init__(metrics)
        self.images = images

    def evaluator(self, prefix: str = '') -> SetEvaluator:
        """See Protocol; `prefix` goes before the names of the values."""
        metrics = {name: dict(cfg, prefix=prefix) if prefix else cfg for name, cfg in list_metrics(self.metrics)}
        evaluator = SetEvaluator(metrics)
        evaluator.hash = self.hash
        return evaluator


class Replying:
    """A language model that answers the questions of conversations and draws nothing, as `evaluate_all` runs it.

    Args:
        task: MLLMTask in evaluation mode.
        codes: of its tokenizer.
    """
    training = False

    def __init__(self, task: Any, codes: CodeCache) -> None:
        self.task, self.codes = task, codes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def eval(self) -> Replying:
        """Nothing changes: the task is in evaluation mode."""
        return self

    def train(self, mode: bool = True) -> Replying:
        """Nothing changes."""
        return self

    def predict(self, batch: ConversationBatch) -> MLLMOutput:
        """Return the replies to all questions of a batch."""
        asked = [i for i, one in enumerate(batch.conversations) if one.kind != 'draw']
        replies: list[list] = [[] for _ in batch.conversations]
        codes = self.codes(batch.images)
        for i, some in zip(asked, ask(self.task, [batch.conversations[i] for i in asked], codes)):
            replies[i] += some
        return MLLMOutput(torch.zeros(len(batch), 3, 1, 1), replies=replies)


@torch.no_grad()
def compute_means(task: Any, dataset: Any, codes: CodeCache, images: int) -> dict[str, Tensor]:
    """Return stream -> [w]: the mean of its part of the visual embedding over all places of some images.

    Args:
        task: MLLMTask.
        dataset: conversations of the training set; those without a given image are passed over.
        codes: of the tokenizer.
        images: how many, spread evenly over the first epoch; all where there are fewer.
    """
    embedding = task.model.visual_embedding
    rows = sorted({int(i * len(dataset) / images) for i in range(images)})
    sums: dict[str, Tensor] = {}
    count = 0
    for first in range(0, len(rows), CHUNK):
        shown = [image for row in rows[first:first + CHUNK] for image in _list_given(dataset[row])]
        if not shown:
            continue
        batch = {name: value.to(task.device) for name, value in codes(torch.stack(shown)).items()}
        for name, part in embedding.read(batch).items():
            sums[name] = sums.get(name, 0) + part.double().sum((0, 1))
        count += len(shown) * task.model.tables.places
    if not count:
        raise InputError('none of the training samples that were read shows an image to the model, so there is no mean '
                         'that could stand for a stream. Measure a model that was trained to read images.',
                         'train_dataloader.dataset')
    return {name: (value / count).float() for name, value in sums.items()}


def _list_given(item: Mapping[str, Any]) -> list[Tensor]:
    """Return the images of a sample that the model is shown, not asked to draw."""
    conversation = item.get('conversation')
    if conversation is None:
        return []
    return [conversation.images[part.image] for part in conversation.parts if not part.generated]


def measure_blanked(task: Any, protocol: BlankedStreams, cfg: Mapping[str, Any], loader_cfg: Mapping[str, Any],
                    codes: CodeCache) -> Results:
    """Return the replies' scores from all streams and without each.

    Args:
        task: MLLMTask in evaluation mode.
        protocol: BlankedStreams.
        cfg: resolved config of the run, whose training set gives the means.
        loader_cfg: config of the DataLoader of the held-out conversations.
        codes: of the tokenizer.

    Raises:
        InputError: a visual embedding that does not read its streams apart; no training images.
    """
    embedding, model = task.model.visual_embedding, Replying(task, codes)
    with embedding.blank({}):  # refuses an embedding whose streams cannot be blanked, before anything runs
        pass
    loader = build_val_dataloader(loader_cfg)
    means = compute_means(task, DATASETS.build(cfg['train_dataloader']['dataset'], where='train_dataloader.dataset'),
                          codes, protocol.images)
    passes: list[Results] = []
    for name in ('', *embedding.names):
        with embedding.blank({name: means[name]}) if name else nullcontext():
            found = evaluate_all(model, loader, {protocol.name: protocol.evaluator(f'without_{name}' if name else '')})
        passes.append(found[protocol.name])
    return functools.reduce(_add, passes)


def _add(results: Results, more: Results) -> Results:
    """Return results with the values of another pass over the same images."""
    sets = {part: {**values, **more.sets.get(part, {})} for part, values in results.sets.items()}
    return replace(results, sets=sets, skipped={**results.skipped, **more.skipped},
                   infos=tuple(dict.fromkeys((*results.infos, *more.infos))))
