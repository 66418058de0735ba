"""Sentences on a run that is allowed and probably not meant; the Runner logs them before the first iteration."""
from __future__ import annotations

from typing import Any, Mapping

from mmengine.hooks import Hook

from dtbox.registry import HOOKS


def warn_of_loss(hooks: Mapping[str, Hook]) -> list[str]:
    """Return the sentence to log where no hook keeps what a run learns."""
    if any(isinstance(hook, HOOKS.get('Checkpoint')) for hook in hooks.values()):
        return []
    return ['No hook `Checkpoint` is in the config: nothing keeps the weights, and they are lost when the run ends.']


def warn_of_no_scores(cfg: Mapping[str, Any]) -> list[str]:
    """Return the sentence to log where only one of held-out data and metrics is there: the run measures nothing."""
    data, metrics = bool(cfg.get('val_dataloader')), any((cfg.get('val_evaluator') or {}).values())
    if data == metrics:
        return []
    there, missing = ('val_dataloader', 'val_evaluator') if data else ('val_evaluator', 'val_dataloader')
    return [f'The config has `{there}` and no `{missing}`: this run measures no scores. Set `{missing}`, or '
            f'{there}=None.']
