"""Task: what the Runner trains. The only thing that Runner, loops, checkpoints, wrappers and hooks know about a model.

A task owns its parts (each with an optimizer), its training step, what evaluation sees, and what a checkpoint holds
beside weights. A subclass registers under MODELS and writes `parts`, `step` and `predict`; all else has a default.
`TokenizerTask` is the task of a visual tokenizer, `tests/training/linear_task.py` a tiny one.
"""
from __future__ import annotations

import contextlib
from abc import abstractmethod
from typing import Any, Callable, ContextManager, Iterator, Mapping, Sequence

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from dtbox import distributed
from dtbox.errors import DataError, Diverged, InputError
from dtbox.evaluation.base import EvalContext
from dtbox.structures import Batch
from dtbox.training.answers import Answers
from dtbox.training.parallel import ShardPlan, find_blocks
from dtbox.training.preprocess import prepare
from dtbox.training.starts import Starts
from dtbox.training.step_checks import check_gradients, check_trained

AMP = {None: None, 'bfloat16': torch.bfloat16}
"""Value of `amp` -> dtype of autocast."""


class Task(Answers, Starts, BaseModel):
    """What the Runner trains.

    Args:
        amp: None for float32, or 'bfloat16': autocast of the step.

    Attributes:
        iteration: buffer, int64 scalar: iterations done.
        batch_weight: weight of the mean over this rank's samples in the present step, 0.0 where it has none; the mean
            over ranks of weighted means is that over samples.
        stop_wanted: set on one rank when a signal has come; the next step sets `stop_agreed` on all.
        unread: why this rank has no batch for the next step, '' where it has one; the step then ends on all ranks.
        shards: how FSDP2 has divided the task, or None.
    """
    training_only: Sequence[str] = ()
    """Arguments that only training needs; evaluation builds the task without them."""
    needs_texts = False  # whether samples without a text cannot be trained on: the data loader leaves them out
    safe_settings: Sequence[str] = ()
    """Patterns of dotted keys that a resumed run may change (see `dtbox.training.same_run.SAFE`)."""
    opens_as: str = ''
    """What `dtbox.load` makes of a run: 'mllm' for a multimodal language model, '' for what is not one."""
    batch_type: type = Batch
    """What the data loaders of this task give."""
    optional_parts: Sequence[str] = ()
    """Parts that a config may leave out; optimizers and schedules of an absent one are left out, too."""
    fixed_meta: Mapping[str, str] = {}
    """Entries of `checkpoint_meta` that a resumed run must share -> what a message calls them."""

    def __init__(self, amp: str | None = None) -> None:
        super().__init__()
        if amp not in AMP:
            raise InputError(f'`amp` is {amp!r}; expected None or \'bfloat16\'.', 'amp')
        self.amp = AMP[amp]
        self.register_buffer('iteration', torch.zeros((), dtype=torch.int64))
        self.batch_weight, self.stop_wanted = 1.0, False
        self.stop_agreed, self._checked = False, set()
        self.unread = ''
        self._wrapped: dict[str, nn.Module] = {}
        self.shards: ShardPlan | None = None

    # ---- what a subclass writes ---------------------------------------------------------------------------------

    @property
    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """Name of the optimizer -> the module that it trains. EMA averages the first, the main part."""

    @abstractmethod
    def step(self, data: Any, optimizers: OptimWrapperDict) -> dict[str, Tensor]:
        """Run one iteration: forward, backward, update.

        Args:
            data: a `batch_type` as the data loader gives it, never empty; see `prepare`.
            optimizers: one OptimWrapper for each of `parts`.

        Returns:
            name -> detached scalar, as logged: means over the samples of this rank.
        """

    @abstractmethod
    def predict(self, batch: Any) -> Any:
        """Return what metrics read of a prepared batch: a frozen dataclass with at least `images`; without gradient."""

    # ---- one iteration ------------------------------------------------------------------------------------------

    def train_step(self, data: Any, optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        """Run one iteration, see `step`. Ranks may have different numbers of samples, also none.

        Raises:
            Diverged: on every rank, where a value that must be finite is not on one; nothing has been updated.
            DataError: on every rank, where one has no batch, or none has a sample; nothing has been updated.
        """
        stop = self.stop_wanted or bool(self.unread)
        total, self.batch_weight, self.stop_agreed = distributed.count_samples(len(data), stop)
        if self.stop_agreed:
            for unread in filter(None, distributed.gather_objects(self.unread)):
                raise DataError(unread)
        if not total:
            why = f': {data.broken[0].rstrip(".")}' if data.broken else ''
            raise DataError(f'no sample of a batch could be read{why}. Mend the data (dtbox check-data CONFIG names '
                            'what is broken).')
        logs = self.step(data if len(data) else self.make_placeholder(), optim_wrapper)
        self.iteration += 1
        return logs

    def make_placeholder(self) -> Any:
        """Return a `batch_type` of one sample for a rank that has none in a step of all; its weight is 0."""
        raise InputError(f'{type(self).__name__} cannot train a rank that has no sample. Take last=\'drop\'.',
                         'train_dataloader.last')

    def prepare(self, batch: Any) -> Any:
        """Move a `batch_type` to the device of this task, and uint8 images to [-1, 1]."""
        return prepare(batch, self.device)

    def autocast(self) -> ContextManager:
        """Return the autocast context of this run."""
        return torch.autocast(self.device.type, dtype=self.amp or torch.bfloat16, enabled=self.amp is not None)

    def update(self, name: str, optimizer: OptimWrapper) -> bool:
        """Step the optimizer of a part after its backward pass; return False where gradients still accumulate.

        Raises:
            Diverged: a gradient is not finite; the gradients are gone.
            InputError: in the first iteration, trainable parameters without gradient.
        """
        try:
            check_gradients(self.parts[name], self.discard)
        except Diverged:
            optimizer.zero_grad()
            raise
        if name not in self._checked:
            check_trained(self.parts[name], name)
            self._checked.add(name)
        if not optimizer.should_update():
            return False
        optimizer.step()
        optimizer.zero_grad()
        return True

    def discard(self) -> None:
        """Forget what a step that is skipped has collected; nothing by default."""

    # ---- the run: device, several ranks, checkpoints, evaluation ------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.iteration.device

    @property
    def modules_to_compile(self) -> list[nn.Module]:
        """The modules that `compile` compiles, each by itself."""
        return list(self.parts.values())

    def wrap(self, wrapper: Callable[[nn.Module], nn.Module]) -> None:
        """Let `wrapper` (DistributedDataParallel) stand between the step and each part."""
        self._wrapped = {name: wrapper(part) for name, part in self.parts.items()}

    def get_wrapped(self, name: str) -> nn.Module:
        """Return a part as a step calls it: wrapped where the run has several ranks."""
        return self._wrapped[name] if name in self._wrapped else self.parts[name]

    @contextlib.contextmanager
    def unwrapped(self) -> Iterator[None]:
        """Within the block, let `get_wrapped` return the bare parts."""
        wrapped, self._wrapped = self._wrapped, {}
        try:
            yield
        finally:
            self._wrapped = wrapped

    def plan_shards(self, lists: Sequence[str]) -> ShardPlan:
        """Return how FSDP2 divides this task; `lists` are names of lists of blocks in networks.

        Raises:
            InputError: it cannot be divided.
        """
        return ShardPlan(blocks=[block for part in self.parts.values() for block in find_blocks(part, lists)])

    def whole(self) -> ContextManager:
        """Return a context in which ranks may run the model by themselves; all ranks enter it."""
        return contextlib.nullcontext()

    def check_run(self, cfg: Mapping) -> list[str]:
        """Check the task against the resolved config before anything is written; return warnings."""
        return []

    def has_stepped(self, name: str, logs: Mapping[str, Tensor]) -> bool:
        """Return whether the schedules of a part step after an iteration with these `logs`."""
        return True

    @property
    def main_part(self) -> str:
        """Name of the first part."""
        return next(iter(self.parts))

    @property
    def averaged(self) -> nn.Module:
        """The module whose weights EMA averages. Its parameter names stand in checkpoints."""
        return self.parts[self.main_part]

    def init_weights(self) -> None:
        """Load the weights that parts name in their configs; nothing by default."""

    def init_frozen_weights(self) -> None:
        """Load the weights that no checkpoint holds: all that a resumed run loads before its checkpoint."""

    @property
    def checkpoint_meta(self) -> dict[str, Any]:
        """Plain values that a checkpoint holds about this task; see `fixed_meta`."""
        return {}

    def save_files(self, folder: str) -> None:
        """Write what belongs beside the checkpoint into the run folder; nothing by default."""

    def eval_context(self, dataset: Any) -> EvalContext:
        """Return what metrics need beside batches and outputs, for a dataset with `metainfo`."""
        return EvalContext(classes=list(getattr(dataset, 'metainfo', {}).get('classes') or ()) or None)

    def forward(self, data: Any, mode: str = 'predict') -> Any:
        """Return what `predict` returns for a Batch that is not prepared (MMEngine's entry)."""
        return self.predict(self.prepare(data))
