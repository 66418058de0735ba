"""What a log says about a run before its first iteration: versions, images, parameters."""
from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from dtbox import __version__, distributed
from dtbox.counts import format_count
from dtbox.extend import record
from dtbox.training.task import Task


def describe_setting(seed: int | None, plugins: Sequence[dict]) -> list[str]:
    """Return sentences on versions, ranks, threads, seed and plugins."""
    world = distributed.get_world_size()
    return [f'dtbox {__version__}, torch {torch.__version__}, python {platform.python_version()}, '
            f'{format_count(world, "rank")}, {format_count(torch.get_num_threads(), "thread")}, seed {seed}',
            *(f'Plugin {record.describe_record(plugin)}' for plugin in plugins)]


def describe_contents(task: Task, parts: Mapping[str, Any]) -> list[str]:
    """Return sentences on the images and the parameters of a run.

    Args:
        task: what is trained, frozen as it will be.
        parts: as `build_parts` returns them: the data loaders under `train` and `val`.
    """
    images = f'Images: {len(parts["train"].dataset):,} for training'
    if parts.get('val') is not None:
        images += f', {_count_heldout(parts["val"].dataset)} held out'
    sizes = [f'{name} {_count(part.parameters())}{_list_children(part)}, '
             f'{_count(p for p in part.parameters() if p.requires_grad)} of them trained'
             for name, part in task.parts.items()]
    beside = [f'{name} {_count(part.parameters())}, frozen' for name, part in vars(task).items()
              if isinstance(part, nn.Module) and any(True for _ in part.parameters())]
    return [images + '.', f'Parameters: {"; ".join(sizes + beside)}.']


def _count_heldout(dataset: Any) -> str:
    sets = Counter(getattr(dataset, 'sets', ()))
    listing = ', '.join(f'{name} {count:,}' for name, count in sets.items())
    return f'{len(dataset):,}' + (f' ({listing})' if len(sets) > 1 else '')


def _list_children(part: nn.Module) -> str:
    sizes = {name: sum(p.numel() for p in child.parameters()) for name, child in part.named_children()}
    listing = ', '.join(f'{name} {size:,}' for name, size in sizes.items() if size)
    return f' ({listing})' if sum(size > 0 for size in sizes.values()) > 1 else ''


def _count(parameters: Iterable[nn.Parameter]) -> str:
    return f'{sum(p.numel() for p in parameters):,}'
