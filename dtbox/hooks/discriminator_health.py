"""The health of the discriminator during a run: whether it has won, or distinguishes nothing any more."""
from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from dtbox import distributed
from dtbox.errors import Diverged, InputError
from dtbox.registry import HOOKS
from dtbox.values import Factor, Positive, check_values

ADVICE = dict(
    won='its gradient no longer tells the decoder how to get better. Try a lower rate of optim_wrapper.discriminator, '
        'a later gan.adversarial.start, or a smaller gan.adversarial.weight.',
    collapsed='it distinguishes nothing. Try a higher rate of optim_wrapper.discriminator, or gradient clipping for '
              'it; where its weights are gone, resume from an earlier checkpoint.')
"""Kind of trouble -> what it means and what to try."""


@HOOKS.register_module()
class DiscriminatorHealth(Hook):
    """Warn when the discriminator has won or has collapsed.

    It has won while its hinge term stays under `won` (0: every logit lies beyond the margin), and has collapsed while
    the means of its logits for images and for reconstructions stay within `apart` of each other. The hook judges means
    over `interval` iterations and all ranks. After `patience` intervals in a row one warning names the numbers and what
    to try; another comes only after a recovery. A resumed run counts anew.

    Args:
        interval: iterations that a judgement averages over.
        won: hinge term under which the discriminator has won.
        apart: distance of the logits' means under which it has collapsed.
        patience: intervals in a row.
        stop: raise instead of warning; the checkpoint on disk stays.

    Raises:
        Diverged: with `stop`, on every rank.
    """
    priority = 'LOW'  # before Checkpoint
    part = 'discriminator'
    """Part of the task that this hook watches: a recipe that leaves an optional part out leaves its hook out, too."""

    def __init__(self, interval: Positive = 100, won: Factor = 0.05, apart: Factor = 0.01, patience: Positive = 3,
                 stop: bool = False) -> None:
        check_values(DiscriminatorHealth, locals())
        self.interval, self.limits = interval, dict(won=won, collapsed=apart)
        self.patience, self.stop = patience, stop
        self.sums, self.count = None, 0
        self.rows, self.terms = dict(won=0, collapsed=0), ()

    def check(self, task: Any) -> None:
        """Raise `InputError` for a task without discriminator; asked before the run folder is touched."""
        self.terms = tuple(task.discriminator_terms)
        if not self.terms:
            raise InputError('the recipe has no discriminator to watch. Take the hook out, or add `gan` to the model.')

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        """Add up, and judge where it is due."""
        if outputs and all(name in outputs for name in self.terms):
            values = torch.stack([outputs[name].detach().float().reshape(()) for name in self.terms])
            self.sums, self.count = values if self.sums is None else self.sums + values, self.count + 1
        if runner.iter_done % self.interval or self.sums is None:
            return
        means = self.sums / self.count
        self.sums, self.count = None, 0
        distributed.average_in_place(means)
        self.judge(runner, *means.tolist())

    def judge(self, runner: Runner, hinge: float, real: float, fake: float) -> None:
        """Compare an interval's means with the limits.

        Args:
            runner: of the run.
            hinge: the discriminator's term.
            real, fake: logits for images and for reconstructions.
        """
        troubles = dict(won=hinge < self.limits['won'], collapsed=abs(real - fake) < self.limits['collapsed'])
        for kind, wrong in troubles.items():
            self.rows[kind] = self.rows[kind] + 1 if wrong else 0
            if self.rows[kind] == self.patience:
                since = runner.iter_done - self.patience * self.interval
                sentence = (f'the discriminator has {kind} since iteration {since}: its term is {hinge:.3g}, its mean '
                            f'logits are {real:.3g} for images and {fake:.3g} for reconstructions; {ADVICE[kind]}')
                if self.stop:
                    raise Diverged(sentence)
                if distributed.get_rank() == 0:
                    runner.logger.warning(sentence)
