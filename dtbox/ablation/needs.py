"""Trials that start from runs of another grid, such as language models from the tokenizer of their seed.

An override may be the text 'trial://GRID/TRIAL', with '{seed}' for the seed of the trial that has it:

    overrides = {'tokenizer': 'trial://mllm_tokenizers/two__seed{seed}'}

It stands for the run folder work_dirs/ablations/GRID/trials/TRIAL, relative to the current folder. The other grid runs
first; its folder is the default one.
"""
from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dtbox.ablation.trial import read_record
from dtbox.errors import InputError
from dtbox.runs import RunFolder

SCHEME = 'trial://'
GRIDS = os.path.join('work_dirs', 'ablations')
"""Folder of the folders of grids, relative to the current one."""
NAME = re.compile(r'([\w.+-]+)/([\w.+-]+)')


@dataclass(frozen=True)
class Need:
    """A run of another grid that a trial starts from.

    Attributes:
        key: dotted key of the config that names its folder.
        grid, trial: names of the grid and of the trial.
    """
    key: str
    grid: str
    trial: str

    @property
    def folder(self) -> str:
        """The run folder."""
        return os.path.join(GRIDS, self.grid, 'trials', self.trial)

    @property
    def is_there(self) -> bool:
        """Whether the run has finished and has its weights."""
        return read_record(self.folder).get('status') == 'done' and RunFolder(self.folder).has_checkpoint()


def fill_needs(overrides: Mapping[str, Any], seed: int) -> tuple[dict[str, Any], tuple[Need, ...]]:
    """Return (overrides with folders in the place of 'trial://GRID/TRIAL', the runs that they name).

    Args:
        overrides: dotted key -> value.
        seed: of the trial.

    Raises:
        InputError: a text that begins with trial:// and does not go on as GRID/TRIAL.
    """
    filled, needs = dict(overrides), []
    for key, value in overrides.items():
        if not isinstance(value, str) or not value.startswith(SCHEME):
            continue
        found = NAME.fullmatch(value[len(SCHEME):].replace('{seed}', str(seed)))
        if not found:
            raise InputError(f"got '{value}'; expected 'trial://GRID/TRIAL', the names of a grid and of one of its "
                             "trials, with '{seed}' for the seed, such as 'trial://mllm_tokenizers/two__seed{seed}'.",
                             key)
        needs.append(Need(key, *found.groups()))
        filled[key] = needs[-1].folder
    return filled, tuple(needs)


def find_lacking(needs: Sequence[Need]) -> list[Need]:
    """Return the runs among `needs` that have not finished here, or have no weights."""
    return [need for need in needs if not need.is_there]


def refuse_lacking(trial: str, lacking: Sequence[Need]) -> None:
    """Raise `InputError`, which says what to run first, where there are runs that a trial starts from and lacks."""
    for need in lacking:
        gone = read_record(need.folder).get('status') == 'done'
        why = 'has lost its checkpoint' if gone else 'has not finished'
        first = f'take the folder {need.folder} away and ' if gone else ''
        raise InputError(f'the trial {trial} starts from the run {need.folder}, which {why}. To train it, {first}'
                         f"run dtbox ablate {need.grid} --resume --only '{need.trial}' in this folder; or choose other "
                         'trials with --only.', need.key)
