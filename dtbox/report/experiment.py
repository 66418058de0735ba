"""Trials, and what is known of them all."""
from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from dtbox.ablation.columns import FACTS
from dtbox.evaluation.info import Described, Infos
from dtbox.evaluation.names import ALL, split_set

NUMBERED, LONGEST = 14, 32
"""Variants, and characters of a name, from which on (more than so many) plots label variants with numbers."""


_FACTS = Infos(FACTS.values())


@dataclass(frozen=True)
class Trial:
    """A run.

    Attributes:
        name: for people.
        folder: its run folder; may be gone.
        status: done, failed, diverged, killed, timeout, running, outdated or missing.
        reason: why it is not done, or ''.
        variant: labels of the axes.
        seed: of weights, data order and augmentation.
        facts: name -> number, what is known of the FACTS of `dtbox.ablation.columns`.
        hashes: name -> text, what is known of the HASHES there.
        metrics: SET/METRIC -> number, what was measured.
        settings: recipe and overrides: what sets its variant apart, as far as it is known.
        stamps: SET/METRIC -> what hashes of metric settings and data its number was measured with, where that is known.
    """
    name: str
    folder: str
    status: str
    reason: str
    variant: tuple
    seed: int
    facts: dict = field(default_factory=dict)
    hashes: dict = field(default_factory=dict)
    metrics: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    stamps: dict = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether it has finished."""
        return self.status == 'done'


@dataclass(frozen=True)
class Experiment:
    """Trials and what is known of them all.

    Attributes:
        title, description: for people.
        axes: axis -> list of labels.
        trials: every Trial.
        about: grid.json, or what stands in for it.
        asked: headline metrics that were asked for.
        reference: labels of the reference variant, or None where nobody named one.
        infos: what the metrics are.
    """
    title: str
    description: str
    axes: dict
    trials: list
    about: dict
    asked: list
    reference: tuple | None
    infos: Infos = field(default_factory=Infos)

    def describe(self, name: str) -> Described:
        """Return what describes a metric SET/METRIC, or a fact."""
        return _FACTS.describe(name, has_set=False) if name in FACTS else self.infos.describe(name)

    def group_stamps(self, metric: str) -> dict[str, list[Trial]]:
        """Return stamp -> the finished trials whose number of a metric has it; more than one: protocols are mixed.

        Nats of codes are not mixed where each seed has a tokenizer of its own and all variants that have the metric
        have it for the same seeds and tokenizers: their means are over the same codes. These trials are one group.
        """
        groups = {}
        for trial in self.trials:
            if trial.done and metric in trial.metrics and trial.stamps.get(metric):
                groups.setdefault(trial.stamps[metric], []).append(trial)
        if len(groups) > 1 and self.describe(metric).info.of_codes:
            stamps = {}
            for stamp, trials in groups.items():
                for trial in trials:
                    stamps.setdefault(trial.variant, {})[trial.seed] = stamp
            alike = all(one == next(iter(stamps.values())) for one in stamps.values())
            if alike and len({stamp.rpartition('-')[0] for stamp in groups}) == 1:
                return {next(iter(groups)): [trial for trials in groups.values() for trial in trials]}
        return groups

    @cached_property
    def variants(self) -> list[tuple]:
        """The variants in order, those without a finished trial included."""
        return list(dict.fromkeys(t.variant for t in self.trials))

    def of(self, variant: tuple) -> dict[int, Trial]:
        """Return dict seed -> finished trial of a variant, by seed."""
        return dict(sorted((t.seed, t) for t in self.trials if t.variant == variant and t.done))

    def name(self, variant: tuple, without: int | None = None) -> str:
        """Return a variant's name: the labels of the axes along which variants differ, that of number `without` left
        out."""
        return ', '.join(variant[i] for i in self._moving or range(len(variant)) if i != without)

    @cached_property
    def numbered(self) -> bool:
        """Whether variants are so many, or some of their names so long, that plots label them with their numbers."""
        return len(self.variants) > NUMBERED or any(len(self.name(v)) > LONGEST for v in self.variants)

    def full(self, variant: tuple) -> str:
        """Return a variant's name where there is room for it, led by its number where plots show that."""
        return f'{self._number[variant]}. {self.name(variant)}' if self.numbered else self.name(variant)

    def short(self, variant: tuple) -> str:
        """Return what plots call a variant."""
        return str(self._number[variant]) if self.numbered else self.name(variant)

    @cached_property
    def _number(self) -> dict[tuple, int]:
        return {variant: i for i, variant in enumerate(self.variants, 1)}

    @cached_property
    def _moving(self) -> list[int]:
        return [i for i, labels in enumerate(zip(*self.variants)) if len(set(labels)) > 1]

    @property
    def heading(self) -> str:
        """What `name` says of a variant: the axes along which variants differ."""
        axes = list(self.axes)
        return ', '.join(axes[i] for i in self._moving or range(len(axes)))

    @cached_property
    def sets(self) -> list[str]:
        """Names of the held-out sets, `all` apart."""
        parts = dict.fromkeys(split_set(m)[0] for t in self.trials for m in t.metrics)
        return [part for part in parts if part != ALL]

    @cached_property
    def metrics(self) -> list[str]:
        """Every metric that a finished trial has, in order."""
        return list(dict.fromkeys(m for t in self.trials if t.done for m in t.metrics))
