"""Engines start trials: `local` as processes of this machine, `ray` as the same processes on a Ray cluster.

An engine has `workers`, the number of trials at a time, `remark`, what to tell the user about them, `start(folder) ->
handle` and `close()`. A handle has `poll() -> exit code or None` (negative: killed by that signal), `why`, the reason
where the code does not tell it, `has_begun()`, False while it waits for its turn, and `stop()`.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from dtbox.errors import InputError

if TYPE_CHECKING:
    from dtbox.ablation.engines.local import LocalEngine
    from dtbox.ablation.engines.ray import RayEngine

ENGINES = ('local', 'ray')


def make_engine(name: str, threads: int, workers: int | None = None,
                address: str | None = None) -> LocalEngine | RayEngine:
    """Return an engine by name.

    Args:
        name: one of ENGINES.
        threads: CPU threads of a trial.
        workers: trials at a time; None takes as many as the cores or GPUs allow.
        address: of the Ray cluster; None takes the one that RAY_ADDRESS names, or starts one on this machine.
    """
    check_engine(name, workers, address)
    if name == 'local':
        from dtbox.ablation.engines.local import LocalEngine
        return LocalEngine(threads, workers)
    from dtbox.ablation.engines.ray import RayEngine
    return RayEngine(threads, workers, address)


def check_engine(name: str, workers: int | None, address: str | None) -> None:
    """Raise `InputError` for an engine that there is not, no workers, or an address without a cluster."""
    if name not in ENGINES:
        raise InputError(f'there is no engine `{name}`; choose local or ray.', '--engine')
    if workers is not None and (type(workers) is not int or workers < 1):
        raise InputError(f'`workers` is {workers!r}; expected a whole number of at least 1.', '--workers')
    if address and name != 'ray':
        raise InputError('--address is of a Ray cluster; it goes with --engine ray.', '--address')
