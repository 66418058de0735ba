"""Engines run the workers that encode: `local` as processes of this machine, `ray` as actors of a Ray cluster.

An engine has `workers`, their number, `remark`, what to tell the user about them, `waits_for_places`, whether a worker
that says nothing yet may wait for a place in a cluster rather than hang, `start(slot) -> worker`,
`wait(workers, seconds)` and `close()`. A worker has `send(shard)`, `receive() -> messages`, `why`, how it ended ('' for
one that runs), `pid`, and `stop()`. `messages` says what a worker does, `worker` is the process of a local one.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from dtbox.ablation.engines import check_engine

if TYPE_CHECKING:
    from dtbox.tokens.engines.local import LocalEngine
    from dtbox.tokens.engines.messages import Start
    from dtbox.tokens.engines.ray import RayEngine


def make_engine(name: str, start: Start, workers: int | None = None,
                address: str | None = None) -> LocalEngine | RayEngine:
    """Return an engine by name.

    Args:
        name: 'local' or 'ray'.
        start: what a worker begins with.
        workers: their number; None takes one a GPU or core.
        address: of the Ray cluster.
    """
    check_engine(name, workers, address)
    if name == 'local':
        from dtbox.tokens.engines.local import LocalEngine
        return LocalEngine(start, workers)
    from dtbox.tokens.engines.ray import RayEngine
    return RayEngine(start, workers, address)
