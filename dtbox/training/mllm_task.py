"""MLLMTask: a multimodal language model in training.

Order of a step: codes of the images (computed once, see `CodeCache`), sequences, forward, losses, update. Means are
over all targets of the step: of all ranks, and of all parts that a step is cut into (`micro_batch`).

Losses: DualToken, arXiv 2503.14324, section 3.3; each kind of target is a mean, weighted.
"""
from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, ContextManager, Mapping, Sequence

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from dtbox import distributed
from dtbox.conversations import ConversationBatch
from dtbox.errors import Diverged, InputError, at
from dtbox.evaluation.base import EvalContext
from dtbox.losses.criterion import check_finite
from dtbox.mllm.frozen_tokenizer import FrozenTokenizer
from dtbox.registry import MLLMS, MODELS, TOKENIZERS
from dtbox.sequence_batch import SequenceBatch
from dtbox.training import mllm_batches, mllm_evaluation
from dtbox.training.code_cache import CodeCache
from dtbox.training.mllm_judge import build_judge
from dtbox.training.mllm_shards import hold_whole, plan_shards
from dtbox.training.mllm_start import match_adapters, read_language_model
from dtbox.training.parallel import ShardPlan, sync_gradients
from dtbox.training.step_checks import agree
from dtbox.training.task import Task
from dtbox.values import Fraction, Positive
from dtbox.weights.exported_folders import MLLM_KIND

PART = 'model'
"""Name of the one optimizer."""
NAMED = 20
"""Samples that cannot be used which the log names."""


@MODELS.register_module()
class MLLMTask(Task):
    """A multimodal language model in training.

    Args:
        tokenizer: config of the trained tokenizer, such as dict(type='TrainedTokenizer', source=RUN).
        lm, sequence, visual_embedding, visual_head: see MultimodalLM.
        weights: weight of the text (`text`) and of each stream's codes; 1 where nothing is said, 0 leaves out.
        depth_weights: stream -> weights of its depths; None weighs them equally.
        reduction: 'mean' over the targets of a kind; 'sum' of all log-probabilities divided by the samples, as
            DualToken writes it.
        keep_share: share of the visual targets that go through the visual head in a step, drawn anew each time.
        micro_batch: conversations that are computed at a time; None takes the whole batch of a rank.
        cache: folder that keeps the codes of images over runs; None keeps them in memory.
        evaluation: how evaluation draws and answers; see `mllm_evaluation.Settings`.
        judge: dict(encoder=..., text=...), frozen towers whose embeddings judge drawings; None judges none.
        amp: None or 'bfloat16'.
    """
    # the text tokens are compared by their hash: a run that is resumed by its folder reads its own tokenizer.json
    safe_settings = ('model.cache', 'model.micro_batch', 'model.evaluation*', 'model.sequence.tokenizer*')
    fixed_meta = {'tokenizer': 'as the tokenizer', 'text_tokens': 'as the text tokens'}
    batch_type = ConversationBatch
    opens_as, exported_kind = 'mllm', MLLM_KIND
    start_advice = dict(
        tokenizer='Let the config name the tokenizer that it was trained with.',
        text_tokens="Let the config take its text tokens: model.sequence.tokenizer=dict(type='PretrainedTokenizer', "
                    "path='{path}').")

    def __init__(self, tokenizer: Mapping, lm: Mapping, sequence: Mapping, visual_embedding: Mapping,
                 visual_head: Mapping | None = None, weights: Mapping[str, float] | None = None,
                 depth_weights: Mapping[str, Sequence[float]] | None = None, reduction: str = 'mean',
                 keep_share: Fraction = 1.0, micro_batch: Positive | None = None, cache: str | None = None,
                 evaluation: Mapping | None = None, judge: Mapping | None = None, amp: str | None = None) -> None:
        super().__init__(amp)
        frozen: FrozenTokenizer = TOKENIZERS.build(tokenizer, where='tokenizer')
        object.__setattr__(self, 'tokenizer', frozen)
        self.model = MLLMS.build(dict(type='MultimodalLM', lm=lm, sequence=sequence, visual_embedding=visual_embedding,
                                      visual_head=visual_head), tokenizer=frozen)
        self.objective = mllm_batches.Weights(self.model, weights, depth_weights, reduction)
        self.keep_share, self.micro_batch = keep_share, micro_batch
        self.codes = CodeCache(frozen, cache)
        self.evaluation = mllm_evaluation.read_settings(evaluation)
        object.__setattr__(self, 'judge', build_judge(judge, frozen.model.image_size))
        self.unusable: dict[str, str] = {}

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> MLLMTask:
        """Move the judge along."""
        if self.judge is not None:
            self.judge._apply(fn)
        return super()._apply(fn, *args, **kwargs)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The whole model."""
        return {PART: self.model}

    # ---- training -----------------------------------------------------------------------------------------------

    def step(self, data: ConversationBatch, optimizers: OptimWrapperDict) -> dict[str, Tensor]:
        """Update the model; see `Task.step`. Returns the total and the mean of each kind of target and depth."""
        optimizer = optimizers[PART]
        batches = self.make_sequences(data)
        counts = mllm_batches.count_targets(batches, self.model.tables.sizes)
        batches += self._make_empty(int(counts.pop(mllm_batches.PARTS).max()) - len(batches))
        try:
            logs = self._add_gradients(batches, counts, data, optimizer)
        except Diverged:
            optimizer.zero_grad()  # those of earlier parts
            raise
        self.update(PART, optimizer)
        # the log averages over ranks by their samples; these are parts of means over all ranks
        factor = distributed.get_world_size() / self.batch_weight if self.batch_weight else 0.0
        return {name: value * factor for name, value in logs.items()}

    def _add_gradients(self, batches: Sequence[SequenceBatch], counts: Mapping[str, Tensor], data: ConversationBatch,
                       optimizer: OptimWrapper) -> dict[str, Tensor]:
        """Run the parts of a step forward and backward; return the sums of their terms."""
        wrapped, own = self.get_wrapped(PART), torch.Generator().manual_seed(self._choose_seed())
        each = self.shards is not None  # gradients of parts are divided at once: whole ones have no room
        logs: dict[str, Tensor] = {}
        for i, batch in enumerate(batches):
            with sync_gradients(wrapped, each or i + 1 == len(batches)):
                with agree('forward pass or loss', 'where', self.discard):
                    with self.autocast():
                        sums = wrapped(batch, self.keep_share, own)
                    total, terms = self.objective(sums, counts)
                    self._check_finite({**terms, 'total': total.detach()}, data, i, batch)
                optimizer.backward(optimizer.scale_loss(total * distributed.get_world_size()))
            for name, value in dict(terms, total=total.detach()).items():
                logs[name] = logs.get(name, 0) + value
        return logs

    def _check_finite(self, terms: Mapping[str, Tensor], data: ConversationBatch, part: int,
                      batch: SequenceBatch) -> None:
        """Raise `Diverged`, which names samples, where a term of a part of the step is NaN or infinite."""
        try:
            check_finite(terms)
        except Diverged as e:
            keys = [key for split in mllm_batches.split(data, self.micro_batch)[part:part + 1] for key in split.keys]
            raise Diverged(str(e) + mllm_batches.name_not_finite(self.model, batch, keys)) from e

    def _make_empty(self, count: int) -> list[SequenceBatch]:
        """Return parts without targets, for a rank of which another has more parts: ranks meet in each."""
        return self.make_sequences(self.make_placeholder()) * count if count else []

    def make_sequences(self, data: ConversationBatch, train: bool = True) -> list[SequenceBatch]:
        """Return the sequences of a batch, `micro_batch` conversations each, on the device.

        Samples that cannot be used are left out; each is named in the log once, and counted.
        """
        batches = []
        for part in mllm_batches.split(data, self.micro_batch):
            batch, unusable = self.model.sequence.build(part, self.model.expand(self.codes.read(part)), train)
            for sample in unusable:
                self._name_unusable(sample.key, sample.reason)
            if not len(batch):  # none can be used
                batch, = self.make_sequences(self.make_placeholder())
            batches.append(mllm_batches.drop_targets(batch) if data.placeholder else batch)
        return [batch.to(self.device) for batch in batches]

    def _name_unusable(self, key: str, reason: str) -> None:
        if key in self.unusable:
            return
        self.unusable[key] = reason
        if len(self.unusable) <= NAMED:
            print_log(f'the sample {key} cannot be used: {reason} ({len(self.unusable)} so far).', 'current',
                      level=logging.WARNING)

    def _choose_seed(self) -> int:
        """Return the seed of what a step draws, by iteration and rank."""
        return (int(self.iteration) * 1_000_003 + distributed.get_rank()) * 2 + 1

    def make_placeholder(self) -> ConversationBatch:
        """Return a batch of one text without targets."""
        return mllm_batches.make_placeholder(self.tokenizer.model.image_size)

    def prepare(self, batch: ConversationBatch) -> ConversationBatch:
        """Return the batch as it is: the images go to the tokenizer only."""
        return batch

    # ---- the run and its checkpoints ----------------------------------------------------------------------------

    def check_run(self, cfg: Mapping) -> list[str]:
        """Refuse MMEngine's accumulation, whose means would not be those of the whole batch."""
        wrapper = cfg['optim_wrapper'].get(PART) or {}
        if wrapper.get('accumulative_counts', 1) != 1:
            raise InputError('MLLMTask does not accumulate over iterations, since the numbers of targets differ from '
                             'one to the next and means of means are no means. Take a larger batch_size with '
                             'model.micro_batch=N: the step is computed N conversations at a time.',
                             f'optim_wrapper.{PART}.accumulative_counts')
        return []

    def plan_shards(self, lists: Sequence[str]) -> ShardPlan:
        """Return how FSDP2 divides the model."""
        return plan_shards(self.model, lists)

    def whole(self) -> ContextManager:
        """Return a context in which ranks may run the model by themselves; all ranks enter it."""
        return hold_whole(self.model, self.shards, lambda: self.model(*self._make_empty(1)))

    def init_weights(self) -> None:
        """Load the weights of the language model and of the judge."""
        with at('model'):
            self.model.init_weights()
        self.init_frozen_weights()

    def init_frozen_weights(self) -> None:
        """Load the judge's weights."""
        if self.judge is not None:
            with at('model.judge'):
                self.judge.init_weights()

    @property
    def checkpoint_meta(self) -> dict[str, Any]:
        """The hashes of the tokenizer's weights and of the text tokens."""
        return dict(tokenizer=self.tokenizer.digest, text_tokens=self.model.sequence.tokens.digest)

    @property
    def start_meta(self) -> dict[str, Any]:
        """The same hashes: rows of another tokenizer stand for other codes."""
        return self.checkpoint_meta

    def match_start(self, state: Mapping[str, Tensor], source: str) -> Mapping[str, Tensor]:
        """Return the weights under the names of layers with adapters; adapters that they lack begin anew."""
        return match_adapters(state, self.state_dict(), source)

    def read_exported(self, folder: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return (weights of the model, the hashes of `start_meta`) of a folder of `save_pretrained`."""
        return read_language_model(folder)

    def save_files(self, folder: str) -> None:
        """Write the text tokenizer."""
        self.model.sequence.tokens.save(folder)

    # ---- evaluation ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(self, batch: ConversationBatch) -> Any:
        """Return what metrics read: replies, drawings and likelihoods; see `MLLMOutput`."""
        return mllm_evaluation.predict(self, batch)

    def eval_context(self, dataset: Any) -> EvalContext:
        """Return the judge's embeddings for metrics."""
        context = super().eval_context(dataset)
        return context if self.judge is None else replace(context, teacher=self.judge.embed_images,
                                                          embed_text=self.judge.embed_texts)
