"""A rehearsal on two images, of a mixture on some of each dataset: what would go wrong in a later iteration, in the
first evaluation or in a hook is found before the run folder is touched, and the run then begins as if there had been
none.

Weights, buffers, attributes and random states are put back, gradients are freed as they come, no optimizer steps and no
codebook is updated. All parts take part that do so by the end of the run, such as a discriminator that begins late.
"""
from __future__ import annotations

import bisect
import contextlib
import copy
from dataclasses import replace
from typing import Any, Callable, Iterator, Mapping, Sequence

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dtbox import distributed
from dtbox.errors import Diverged, InputError, NotFinite, at, explained
from dtbox.evaluation import SetEvaluator
from dtbox.structures import Batch
from dtbox.training.checkpoint import get_random_state, set_random_state
from dtbox.training.task import Task

IMAGES = 2
OWN = set(vars(nn.Module())) - {'training'}
"""Attributes in which every module keeps weights, buffers, parts and hooks."""


class DryOptimizer(OptimWrapper):
    """An optimizer whose steps are left out.

    Args:
        wrapper: the one that it stands for.
    """

    def __init__(self, wrapper: OptimWrapper) -> None:
        self.__dict__.update(vars(wrapper))

    def should_update(self) -> bool:
        """False: gradients are never used."""
        return False

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Run a backward pass; zeros without memory, which an earlier pass of the step has left, get memory first."""
        for group in self.optimizer.param_groups:
            for parameter in group['params']:
                if parameter.grad is not None:
                    parameter.grad = torch.zeros_like(parameter)
        super().backward(loss, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Do nothing."""

    def zero_grad(self, **kwargs: Any) -> None:
        """Do nothing; the rehearsal frees gradients itself."""


def rehearse_training(task: Task, optimizers: OptimWrapperDict, loader: DataLoader, hooks: Mapping[str, Hook],
                      max_iters: int) -> None:
    """Run the last iteration of a run on two images of its first batch, of a mixture on a sample of each dataset,
    without a trace; then hooks that have a `rehearse(task, batch)`.

    Args:
        task: on its device, not wrapped.
        optimizers, loader, hooks, max_iters: of the run.

    Raises:
        InputError: the step or a hook fails. Values that are not finite are left to the run.
    """
    with without_trace(task), freeing_gradients(task):
        places = choose_training_places(loader.dataset, next(iter(loader.batch_sampler)))
        batch = read_few(loader, places, 'train_dataloader.dataset', task.batch_type)
        if distributed.is_set_anywhere(not len(batch)):
            return  # the first iteration tells why, or finds others
        task.train()
        task.batch_weight = 1.0
        task.iteration.fill_(max_iters - 1)
        with explained('a training step on two images fails'), contextlib.suppress(Diverged, NotFinite):
            task.rehearse(batch, OptimWrapperDict(**{name: DryOptimizer(optimizers[name]) for name in task.parts}))
        for name, hook in hooks.items():
            if hasattr(hook, 'rehearse'):
                with at(f'hooks.{name}'), explained('the hook fails on two images'):
                    hook.rehearse(task, batch)


def rehearse_evaluation(task: Task, loader: DataLoader, metrics: Mapping[str, Any]) -> None:
    """Evaluate two held-out images, of a mixture two of each dataset, without a trace.

    Args:
        task: on its device.
        loader: of the held-out data.
        metrics: name -> config, None for one that is taken out.

    Raises:
        InputError: a metric fails.
    """
    with without_trace(task), torch.no_grad():
        batches = [read_few(loader, places[:IMAGES], 'val_dataloader.dataset', task.batch_type)
                   for places in divide_places(loader.dataset, list(loader.sampler))]
        if distributed.is_set_anywhere(not all(map(len, batches))):
            return
        task.eval()
        with explained('an evaluation of two images fails'):
            batches = [task.prepare(batch) for batch in batches]
            outputs, context = [task.predict(batch) for batch in batches], task.eval_context(loader.dataset)
        context = replace(context, embed_text=context.embed_text and embed_few(context.embed_text))
        for name, metric in metrics.items():
            with at(f'val_evaluator.{name}'), explained('the metric fails on two images'):
                evaluator = SetEvaluator([] if metric is None else [metric])
                evaluator.setup(context)
                for batch, output in zip(batches, outputs):
                    evaluator.update(batch, output)
                evaluator.results()


def divide_places(dataset: Any, places: Sequence[int]) -> list[list[int]]:
    """Return places by the dataset of a mixture that they are of; those of other data are in one list. A dataset
    without any is left out, as are lists of none."""
    parts: dict[int, list[int]] = {}
    for place in places:
        number = bisect.bisect_right(getattr(dataset, 'boundaries', []), place % len(dataset))
        parts.setdefault(number, []).append(place)
    return list(parts.values()) or [[]]


def choose_training_places(dataset: Any, places: Sequence[int]) -> list[int]:
    """Return the first places of a batch, of a mixture the first of every dataset: of one that the batch has nothing
    of, its first sample."""
    firsts = [part[0] for part in divide_places(dataset, [*places, 0, *getattr(dataset, 'boundaries', [])])]
    return [*firsts, *(place for place in places if place not in firsts)][:max(IMAGES, len(firsts))]


def read_few(loader: DataLoader, places: Sequence[int], where: str, kind: type = Batch) -> Any:
    """Return a batch of a `kind` of the samples at `places` of a loader's data set, as the loader would make it."""
    with at(where), explained('the first samples cannot be read'):
        batch = loader.collate_fn([loader.dataset[place] for place in places])
        if not isinstance(batch, kind):
            raise InputError(f'the samples make a {type(batch).__name__}; the task reads a {kind.__name__}. Take '
                             'another data set, or end the pipeline with dict(type=\'PackImage\').')
        return batch


def embed_few(embed: Callable[[list[str]], Tensor]) -> Callable[[list[str]], Tensor]:
    """Return a function of texts [T] -> embeddings [T,E] that computes two only; there may be thousands."""
    def embed_some(texts: list[str]) -> Tensor:
        few = embed(list(texts)[:IMAGES])
        return few[torch.arange(len(texts), device=few.device) % len(few)]
    return embed_some


@contextlib.contextmanager
def freeing_gradients(task: Task) -> Iterator[None]:
    """Within the block, each gradient gives way to a zero without memory as soon as it is whole."""
    parameters = [p for part in task.parts.values() for p in part.parameters() if p.requires_grad]

    def free(parameter: Tensor) -> None:
        parameter.grad = parameter.new_zeros(()).expand_as(parameter)
    handles = [p.register_post_accumulate_grad_hook(free) for p in parameters]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for parameter in parameters:
            parameter.grad = None


@contextlib.contextmanager
def without_trace(task: Task) -> Iterator[None]:
    """After the block, random states and all modules of a task are as before: attributes, buffers, and the weights of
    quantizers, which a training forward may change."""
    modules = list({id(m): m for m in task.all_modules}.values())
    attributes = [(m, {k: copy.copy(v) if isinstance(v, (list, set, dict)) else v
                       for k, v in vars(m).items() if k not in OWN}) for m in modules]
    buffers = [(m, dict(m._buffers)) for m in modules]
    changing = [b for _, own in buffers for b in own.values() if b is not None]
    changing += [p for part in task.quantizers.values() for p in part.parameters()]
    kept = [(tensor, tensor.detach().clone()) for tensor in changing]
    randomness = get_random_state()
    try:
        yield
    finally:
        set_random_state(randomness)
        for module, own in attributes:
            for name in set(vars(module)) - OWN - set(own):
                delattr(module, name)
            vars(module).update(own)
        for module, table in buffers:
            module._buffers.clear()
            module._buffers.update(table)
        with torch.no_grad():
            for tensor, value in kept:
                tensor.copy_(value)
