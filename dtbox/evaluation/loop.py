"""The evaluation pass: a model runs once over a dataloader of held-out sets, for one or several evaluators."""
from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Callable

import torch
from torch.utils.data import DataLoader

from dtbox import distributed
from dtbox.evaluation.evaluate import SetEvaluator
from dtbox.evaluation.progress import show_progress
from dtbox.evaluation.results import RECIPE, Results
from dtbox.evaluation.stamps import hash_dataset


def evaluate(model: Any, dataloader: DataLoader, evaluator: SetEvaluator, dump: str | None = None,
             heed: Callable[[], None] = lambda: None) -> Results:
    """Run a model over a dataloader and an evaluator.

    Args:
        model: what is trained; it has `eval_context(dataset)`, `prepare(batch)` and `predict(batch)`.
        dataloader: of Batch, each sample once over all ranks.
        evaluator: takes every batch with its outputs.
        dump: folder for the images that metrics measure (see `dtbox.evaluation.dump`).
        heed: called before each batch; may raise to end the evaluation.

    Returns:
        Results. Samples that could not be read are not in the scores, but named under `missing`; `left_out` says what
        the data set found and does not use; `protocols` says by what hashes of metrics and data the numbers compare
        (see `dtbox.evaluation.stamps`).
    """
    return evaluate_all(model, dataloader, {RECIPE: evaluator}, dump=dump, heed=heed)[RECIPE]


@torch.no_grad()
def evaluate_all(model: Any, dataloader: DataLoader, evaluators: dict[str, SetEvaluator],
                 bank: Callable | None = None, dump: str | None = None,
                 heed: Callable[[], None] = lambda: None) -> dict[str, Results]:
    """Run a model once over a dataloader and several evaluators; returns name -> Results.

    Args:
        model, dataloader: as for `evaluate`.
        evaluators: name of the protocol -> SetEvaluator.
        bank: see EvalContext.
        dump: folder for the images that metrics measure; each evaluator but the recipe's own gets a folder of its name
            in it.
        heed: see `evaluate`.
    """
    training = model.training
    model.eval()
    try:
        dataset = dataloader.dataset
        context = replace(model.eval_context(dataset), bank=bank, stride=getattr(dataset, 'stride', None))
        for name, evaluator in evaluators.items():
            evaluator.setup(replace(context, dump=dump and os.path.join(dump, '' if name == RECIPE else name)))
            if distributed.get_rank() == 0:  # every rank knows what was left out before the first batch; one says so
                evaluator.lose(getattr(dataset, 'flaws', ()))
        for batch in show_progress(dataloader):
            heed()
            for evaluator in evaluators.values():
                evaluator.lose([*(batch.broken or ()), *(batch.flaws or ())])
            if len(batch):
                batch = model.prepare(batch)
                outputs = model.predict(batch)
                for evaluator in evaluators.values():
                    evaluator.update(batch, outputs)
        data, notes = hash_dataset(dataset), list(getattr(dataset, 'notes', ()))
        frozen = (getattr(model, 'checkpoint_meta', None) or {}).get('tokenizer')  # of a language model
        more = {} if frozen is None else dict(tokenizer=frozen)
        return {name: replace(evaluator.results(), left_out=notes,
                              protocols={name: dict(hash=evaluator.hash, data=data, **more)})
                for name, evaluator in evaluators.items()}
    finally:
        model.train(training)
