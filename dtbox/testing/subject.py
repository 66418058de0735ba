"""What all checks share: the part under test, built afresh for every check, and comparisons that say what differs."""
from __future__ import annotations

import copy
import inspect
from typing import Any, NoReturn, Sequence

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.arguments import describe
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.extend import load_plugins
from dtbox.registry import Slot
from dtbox.testing.rank_group import SHARED, Ranks


class Broken(AssertionError):
    """The part does not do what the contract asks; the message says what it does instead."""


class DoesNotApply(Exception):
    """The contract asks nothing of this part here; the message says why."""


def require(condition: Any, message: str) -> None:
    """Raise `Broken` unless the condition holds."""
    if not condition:
        raise Broken(message)


class Subject:
    """A part under test. Every instance is built afresh, so that no check sees another's traces.

    Args:
        cfg: config of the part; with `type` alone, the arguments are those of the class's `example`.
        plugins: the plugins that register it.
        ranks: the `Ranks` that checks of two ranks run on; None takes those that this process shares.

    Attributes:
        registry: where the parts of this kind are registered.
        base: the class that such parts derive from.
        defaults: arguments that other parts fill in, for `example` and config alike.
    """
    registry: Slot
    base: type
    defaults: dict = {}

    def __init__(self, cfg: dict, plugins: str | Sequence[str] = (), ranks: Ranks | None = None):
        self.cfg, self.plugins = cfg, [plugins] if isinstance(plugins, str) else list(plugins)
        self.ranks = SHARED if ranks is None else ranks
        load_plugins(self.plugins)
        if set(self.cfg) == {'type'}:
            self.cfg = {**(getattr(self.find(self.cfg['type']), 'example', None) or {}), **self.cfg}
        part = self.build()
        if not isinstance(part, self.base):
            raise InputError(f'`{type(part).__name__}` does not derive from '
                             f'{self.base.__module__}.{self.base.__name__}, so '
                             'the contract of these parts is not meant for it.')

    def find(self, kind: str | type) -> Any:
        """Return the class or function that `type` of a config names."""
        return self.registry.get(kind) if isinstance(kind, str) else kind

    @classmethod
    def complete(cls, target: Any, arguments: dict) -> dict:
        """Return the arguments of a class or function, with those that other parts fill in where it takes them."""
        try:
            parameters = inspect.signature(target).parameters
        except (TypeError, ValueError):
            return arguments
        return {**{k: v for k, v in cls.defaults.items() if k in parameters}, **arguments}

    def build(self, seed: int = 1, **changes: Any) -> Any:
        """Return a new instance, in training; the same seed gives the same one.

        Args:
            seed: of the global random state.
            changes: arguments that differ from the config's.
        """
        torch.manual_seed(seed)
        part = self.registry.build({**copy.deepcopy(self.cfg), **changes}, **self.defaults)
        return part.train() if isinstance(part, nn.Module) else part


def make_generator(seed: int) -> torch.Generator:
    """Return a random generator for data, apart from the seeds of parts."""
    return torch.Generator().manual_seed(1000 + seed)


def copy_state(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a module's state dict."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def is_same(a: Tensor, b: Tensor, tolerance: float = 0.0) -> bool:
    """Whether two tensors have one shape and one value, within the tolerance; NaN equals nothing."""
    if a.shape != b.shape:
        return False
    return bool((a == b).all()) if tolerance == 0 else bool(((a.double() - b.double()).abs() <= tolerance).all())


def describe_difference(a: Tensor, b: Tensor) -> str:
    """Say how far two tensors are from each other."""
    if a.shape != b.shape:
        return f'the shapes are {list(a.shape)} and {list(b.shape)}'
    for values in (a, b):
        if values.is_floating_point() and values.isnan().any():
            return f'{int(values.isnan().sum())} of {format_count(values.numel(), "value")} are NaN'
    distance = (a.double() - b.double()).abs()
    return (f'{int((distance != 0).sum())} of {format_count(distance.numel(), "value")} differ, by '
            f'{distance.max().item():.3g} at most')


def require_floats(value: Any, shape: Sequence[int], what: str) -> None:
    """Raise `Broken` unless a value is a finite float32 tensor of a shape."""
    right = isinstance(value, Tensor) and value.dtype == torch.float32 and value.shape == torch.Size(shape)
    require(right, f'{what} are {describe(value)}; expected float32 {list(shape)}.')
    require(value.isfinite().all(), f'{what} have NaN or infinite values.')


def require_same(a: Tensor, b: Tensor, what: str, tolerance: float = 0.0) -> None:
    """Raise `Broken` unless two tensors are the same within the tolerance."""
    if not is_same(a, b, tolerance):
        raise Broken(f'{what}: {describe_difference(a, b)}.')


def require_state(module: nn.Module, state: dict[str, Tensor], what: str, tolerance: float = 0.0) -> None:
    """Raise `Broken`, naming the entries, unless a module's state is the given one within the tolerance."""
    own = copy_state(module)
    require(own.keys() == state.keys(), f'{what}: the entries {sorted(own.keys() ^ state.keys())} are in one state '
            'dict only.')
    wrong = [f'`{name}` ({describe_difference(own[name], value)})' for name, value in state.items()
             if not is_same(own[name], value, tolerance)]
    require(not wrong, f'{what}: the state differs in {", ".join(wrong)}.')


def require_refused(call: Any, value: Any, what: str) -> None:
    """Raise `Broken` unless `call(value)` raises `InputError`."""
    try:
        call(value)
    except InputError:
        return
    except Exception as e:
        fail(f'{what} end in {type(e).__name__} ({e}), not in an InputError.')
    fail(f'{what} are accepted, without an InputError.')


def fail(message: str) -> NoReturn:
    """Raise `Broken`."""
    raise Broken(message)


def require_gradient(gradient: Tensor | None, where: str) -> None:
    """Raise `Broken` unless a gradient is there, finite, and not zero everywhere."""
    if gradient is None or not gradient.any() or not gradient.isfinite().all():
        fail(f'the gradient at {where} is {"missing" if gradient is None else "zero, NaN or infinite"}.')


def list_idle_parameters(module: nn.Module) -> list[str]:
    """Return the names of trainable parameters whose gradient is missing, zero, NaN or infinite."""
    return [name for name, p in module.named_parameters()
            if p.requires_grad and (p.grad is None or not p.grad.isfinite().all() or not p.grad.any())]
