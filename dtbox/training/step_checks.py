"""What a training step checks on all ranks together; a rank that raised alone would leave the others waiting."""
from __future__ import annotations

import contextlib
from typing import Callable, Iterable, Iterator

import torch
from torch import nn

from dtbox import distributed
from dtbox.counts import format_count
from dtbox.errors import Diverged, InputError, NotFinite
from dtbox.training.parallel import get_local


@contextlib.contextmanager
def agree(what: str, detail: str, discard: Callable[[], None] | None = None) -> Iterator[None]:
    """Raise `Diverged` on every rank where the block raises `Diverged` or `NotFinite` on one.

    Args:
        what, detail: for the message of the other ranks: what is not finite, and what the message of the failing rank
            says.
        discard: called first, to forget what the step has collected.
    """
    failed = None
    try:
        yield
    except (NotFinite, Diverged) as e:
        failed = e
    if distributed.is_set_anywhere(failed is not None):
        if discard is not None:
            discard()
        if isinstance(failed, Diverged):
            raise failed
        message = failed or f'the {what} of another rank is not finite; its message says {detail}.'
        raise Diverged(str(message)) from failed


def check_gradients(part: nn.Module, discard: Callable[[], None] | None = None) -> None:
    """Raise `Diverged` on every rank where a gradient is NaN or infinite on one. Finite gradients whose norm overflows
    are fine.

    Args:
        part: module after its backward pass.
        discard: as in `agree`.
    """
    gradients = [get_local(p.grad) for p in part.parameters() if p.grad is not None]
    with agree('gradient', 'which', discard):
        if not gradients or torch.isfinite(torch.stack(torch._foreach_norm(gradients)).sum()):
            return
        names = [n for n, p in part.named_parameters()
                 if p.grad is not None and not torch.isfinite(get_local(p.grad)).all()]
        if names:
            raise Diverged(f'the gradients of {format_count(len(names), "parameter")} are NaN or infinite, such as '
                           f'{names[0]}.')


def check_trained(part: nn.Module, name: str) -> None:
    """Raise `InputError` that names trainable parameters that the last backward pass left without gradient.

    Args:
        part: module after its backward pass.
        name: of its optimizer.
    """
    idle = [n for n, p in part.named_parameters() if p.requires_grad and p.grad is None]
    if idle:
        patterns = find_patterns(idle, [n for n, p in part.named_parameters() if p.grad is not None])
        more = f', and {len(idle) - 3} more' if len(idle) > 3 else ''
        raise InputError(f'{format_count(len(idle), "trainable parameter", "gets")} no gradient: {", ".join(idle[:3])}'
                         f'{more}. Freeze them (add {", ".join(map(repr, patterns))} to optim_wrapper.{name}.freeze), '
                         'or add the loss that should train them.', f'optim_wrapper.{name}')


def find_patterns(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return the patterns of `freeze` that match some names of parameters, and none of the others: as short as their
    dots allow."""
    taken = {name[:end] for name in others for end in (*_find_dots(name), len(name))}
    found = {next((name[:end] + '.*' for end in _find_dots(name) if name[:end] not in taken), name): None
             for name in names}
    return list(found)


def _find_dots(name: str) -> list[int]:
    return [place for place, letter in enumerate(name) if letter == '.']
