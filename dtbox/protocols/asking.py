"""Measure a multimodal language model by benchmarks: one pass over the questions for each, and its answer file; or
score an answer file without a model."""
from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from dtbox import distributed
from dtbox.conversations import Conversation, ConversationBatch, ImagePart, Turn
from dtbox.datasets.benchmarks.answers import read_answers, write_answers
from dtbox.datasets.benchmarks.base import BenchmarkDataset
from dtbox.errors import InputError
from dtbox.evaluation import Results
from dtbox.evaluation.context import EvalContext
from dtbox.evaluation.loop import evaluate_all
from dtbox.evaluation.stamps import compute_digest
from dtbox.mllm.contexts import take_context
from dtbox.mllm.text_generation import reply
from dtbox.mllm_output import MLLMOutput, Reply
from dtbox.protocols.replies import BenchmarkReplies
from dtbox.questions import Question
from dtbox.registry import DATASETS
from dtbox.sampling import seed_generator
from dtbox.sampling.rule import TEXT
from dtbox.structures import Batch
from dtbox.training.code_cache import CodeCache
from dtbox.training.dataloaders import build_val_dataloader

LONGEST = 64
"""Prompts, the longest ones, that are rendered before the pass, to see whether the language model can read them."""
CHUNK = 1000
"""Answers that are scored at a time."""
FILE = 'answers'
"""Name of the answer file, without its suffix."""


class Asking:
    """A language model that answers the questions of a benchmark, as `evaluate_all` runs it.

    Args:
        task: MLLMTask in evaluation mode.
        protocol: how it is asked.
        dataset: the questions.
        codes: CodeCache of its tokenizer, which several benchmarks share.

    Attributes:
        said: key -> reply, of this rank.
    """
    training = False

    def __init__(self, task: Any, protocol: BenchmarkReplies, dataset: BenchmarkDataset, codes: CodeCache) -> None:
        self.task, self.protocol = task, protocol
        self.questions = {question.key: question for question in dataset.questions}
        self.kind = 'caption' if dataset.benchmark == 'captions' else 'question'
        self.codes = codes
        self.said: dict[str, str] = {}

    def eval(self) -> Asking:
        """Return itself; the task is in evaluation mode."""
        return self

    def train(self, mode: bool = True) -> Asking:
        """Return itself; a benchmark trains nothing."""
        return self

    def eval_context(self, dataset: Any) -> EvalContext:
        """See `Task`."""
        return self.task.eval_context(dataset)

    def prepare(self, batch: ConversationBatch) -> ConversationBatch:
        """See `Task`."""
        return batch

    def predict(self, batch: ConversationBatch) -> MLLMOutput:
        """Return the replies to the questions of a batch."""
        model, protocol = self.task.model, self.protocol
        codes = model.expand(self._encode(batch))
        contexts = [take_context(model.sequence.render_prompt(one), codes) for one in batch.conversations]
        generators = []
        if not protocol.rule.resolve(TEXT).greedy:
            generators = [seed_generator(protocol.seed, key) for key in batch.keys]
        texts = reply(model, contexts, protocol.max_tokens, self.task.evaluation.batch, protocol.rule, generators)
        self.said.update(zip(batch.keys, texts))
        return make_output(batch.images.float() / 127.5 - 1, [self.questions[key] for key in batch.keys],
                           [conversation.turns[-1].text for conversation in batch.conversations], texts, self.kind)

    def _encode(self, batch: ConversationBatch) -> dict[str, torch.Tensor]:
        """Return stream -> codes [B,N,Q] of the images of a batch; an image that several questions name is encoded
        once."""
        number: dict[str, int] = {}
        names = [self.questions[key].image or key for key in batch.keys]
        index = [number.setdefault(name, len(number)) for name in names]
        first = [index.index(i) for i in range(len(number))]
        return {name: codes[index] for name, codes in self.codes(batch.images[first]).items()}


def make_output(images: torch.Tensor, questions: Sequence[Question], prompts: Sequence[str], texts: Sequence[str],
                kind: str) -> MLLMOutput:
    """Return what metrics read: one reply for each image.

    Args:
        images: [B,3,H,W].
        questions, prompts, texts: what was asked, in which words, and the reply, B each.
        kind: of the replies.
    """
    return MLLMOutput(images, replies=[
        [Reply(kind, prompt, question.answers[0] if question.answers else '', text, tuple(question.answers[1:]),
               question)] for question, prompt, text in zip(questions, prompts, texts)])


def ask_benchmark(task: Any, protocol: BenchmarkReplies, loader_cfg: Mapping[str, Any], codes: CodeCache, folder: str,
                  say: Callable[[str], None], model: str = 'dtbox') -> Results:
    """Ask the questions of a benchmark, score the replies, and write them.

    Args:
        task: MLLMTask in evaluation mode.
        protocol: how it is asked.
        loader_cfg: config of the DataLoader of a BenchmarkDataset.
        codes: see `Asking`.
        folder: for the answer file.
        say: called with lines of text.
        model: name that the answer file gives.

    Returns:
        Results of the protocol.
    """
    loader = build_val_dataloader(set_prompt(loader_cfg, protocol))
    dataset = loader.dataset
    check_longest(task.model, dataset)
    if protocol.judge:
        say(f'{protocol.name}: {protocol.judge}')
    asking = Asking(task, protocol, dataset, codes)
    results = evaluate_all(asking, loader, {protocol.name: protocol.evaluator()})[protocol.name]
    said = {key: text for part in distributed.gather_objects(asking.said) for key, text in part.items()}
    path = distributed.run_on_first_rank(lambda: write_answers(
        protocol.answers, os.path.join(folder, FILE), dataset, said, model))
    say(f'answers written to {path}')
    return replace(results, infos=(*results.infos, *protocol.infos()))


def score_benchmark(protocol: BenchmarkReplies, loader_cfg: Mapping[str, Any], path: str) -> Results:
    """Score an answer file without a model.

    The stamp of the data differs from that of a run, since how the images were prepared is not known.

    Args:
        protocol: whose metrics score.
        loader_cfg: config of the DataLoader of a BenchmarkDataset; its images need not be there.
        path: of the answer file.

    Raises:
        InputError: as `read_answers`; a protocol that scores nothing.
    """
    if not protocol.metrics:
        raise InputError(f'the protocol {protocol.name} scores nothing: {protocol.judge}', '--protocol')
    cfg = set_prompt(loader_cfg, protocol, check_images=False)['dataset']
    dataset = DATASETS.build({**cfg, 'pipeline': ()}, where='val_dataloader.dataset')
    said, evaluator = read_answers(protocol.answers, path, dataset), protocol.evaluator()
    evaluator.setup(EvalContext())
    kind = 'caption' if dataset.benchmark == 'captions' else 'question'
    for first in range(0, len(dataset), CHUNK):
        some = dataset.questions[first:first + CHUNK]
        images = torch.zeros(len(some), 3, 1, 1)
        keys = [question.key for question in some]
        output: Any = make_output(images, some, [dataset.prompt.word(question) for question in some],
                             [said[key] for key in keys], kind)
        evaluator.update(Batch(images=images, keys=keys, sets=[dataset.part] * len(some)), output)
    stamp = dict(hash=evaluator.hash, data=compute_digest([dataset.fingerprint(), 'answers']))
    return replace(evaluator.results(), left_out=list(dataset.notes), protocols={protocol.name: stamp})


def set_prompt(loader_cfg: Mapping[str, Any], protocol: BenchmarkReplies, **more: Any) -> dict[str, Any]:
    """Return the config of a DataLoader whose dataset words its questions as a protocol says.

    Raises:
        InputError: another dataset than one of a benchmark, or one with a prompt of its own.
    """
    cfg = dict(loader_cfg['dataset'])
    kind = cfg.get('type')
    part = DATASETS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(part, type) and issubclass(part, BenchmarkDataset)):
        raise InputError(f'the protocol {protocol.name} asks the questions of a benchmark, and `{kind}` has none. Give '
                         'their data, such as --data pope (configs/_base_/datasets/README.md).', '--data')
    if 'prompt' in cfg:
        raise InputError(f'the data has a prompt of its own; that of the protocol {protocol.name} counts, and is part '
                         'of its hash. Set protocol.prompt instead.', 'val_dataloader.dataset.prompt')
    return dict(loader_cfg, dataset=dict(cfg, prompt=protocol.prompt, **more))


def check_longest(model: Any, dataset: BenchmarkDataset) -> None:
    """Raise `InputError` where the language model cannot read one of the longest prompts of a dataset."""
    words = sorted(((dataset.prompt.word(question), question.key) for question in dataset.questions),
                   key=lambda pair: len(pair[0]))
    for text, key in words[-LONGEST:]:
        model.sequence.render_prompt(Conversation(key, 'question', (Turn('user', (ImagePart(0), text)),)))
