"""What a run folder may do when it is opened: nothing but hold data, unless the user trusts whoever wrote it.

Its config is read as data (`dtbox.config.literals`). Plugins that lie in it, and commands that its config names for
shards (`pipe:`), run code of its author: they need `trust_remote_code=True` from Python, or `--trust-remote-code`.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from dtbox.errors import InputError

_trusted: ContextVar[bool] = ContextVar('dtbox_trusted', default=False)


@contextlib.contextmanager
def trust_remote_code(trusted: bool = True) -> Iterator[None]:
    """Within the block, code of the author of a run folder may run (`trusted`); False changes nothing."""
    token = _trusted.set(trusted or _trusted.get())
    try:
        yield
    finally:
        _trusted.reset(token)


def is_trusted() -> bool:
    """Whether code of the author of a run folder may run now."""
    return _trusted.get()


def require_trust(what: str) -> None:
    """Raise `InputError` unless code of the author of a run folder may run now.

    Args:
        what: would run it, as a sentence's subject and predicate.
    """
    if not is_trusted():
        raise InputError(f'{what}, which would run code of whoever wrote it. Read that code; if you trust it: '
                         '--trust-remote-code, or trust_remote_code=True from Python.')
