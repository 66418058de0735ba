"""The one error that a user is meant to read.

`InputError` says in one sentence what came, what was expected and what to do. Command lines print it without a
traceback and leave with exit code 2; from Python it is an ordinary `ValueError`.
"""
from __future__ import annotations

import contextlib
import difflib
import os
import traceback
from collections.abc import Iterable, Iterator
from types import ModuleType


class InputError(ValueError):
    """Bad input: a wrong path, key, shape, size or file.

    Args:
        message: what came, what was expected, what to do.
        where: dotted path of the offending config entry, outermost first (`model.decoder`), or ''.
    """

    def __init__(self, message: str, where: str = '') -> None:
        super().__init__(message)
        self.message = message
        self.where = where

    def within(self, prefix: str) -> InputError:
        """Return the same error, seen from one level further out in the config."""
        if not prefix:
            return self
        error = type(self).__new__(type(self), *self.args)  # a subclass may take other arguments
        error.__dict__.update(self.__dict__, where=f'{prefix}.{self.where}' if self.where else prefix)
        return error

    def __str__(self):
        return f'{self.where}: {self.message}' if self.where else self.message


class RenamedError(InputError):
    """A name of an earlier version of dtbox; the message says the new one."""


class ForeignError(InputError):
    """An error of somebody else's code, of a part, a library or a plugin, that the values of a config have led to; its
    `__cause__` is that error."""


class ArgumentError(InputError, TypeError):
    """A call with an argument that the function does not have; an ordinary `TypeError`, too."""


class NotFinite(InputError):
    """Values that must be finite are NaN or infinite; in training, a sign that it has diverged."""


class DataError(InputError):
    """A batch of the data cannot be read; a run that trains saves its state before it ends."""


class Diverged(RuntimeError):
    """Training cannot go on: a term is NaN or infinite. Command lines print it without a traceback and leave with exit
    code 1."""


class RankLost(RuntimeError):
    """Another process of a distributed run is gone. Command lines print it without a traceback and leave with exit code
    1."""


class Stopped(RuntimeError):
    """A run was asked to stop by a signal and has saved its state. Command lines leave with exit code 143, as after
    SIGTERM."""


class Remark(UserWarning):
    """A warning for whoever uses dtbox, a sentence. Command lines log it; from Python it is an ordinary warning."""


@contextlib.contextmanager
def at(where: str) -> Iterator[None]:
    """Within the block, put `where` in front of the dotted path of an `InputError`."""
    try:
        yield
    except InputError as e:
        raise e.within(where) from e.__cause__


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Within the block, turn an error that command lines would print with its traceback into a `ForeignError`: `what`,
    what it says, and where it comes from."""
    try:
        yield
    except Exception as e:
        if is_told(e):
            raise
        place = traceback.extract_tb(e.__traceback__)[-1]
        raise ForeignError(f'{what}: {reason(e)} ({os.path.basename(place.filename)}, line {place.lineno}).') from e


def is_told(error: BaseException) -> bool:
    """Return whether an exception is one that command lines print as it is, without a traceback."""
    return isinstance(error, (InputError, Diverged, RankLost, Stopped))


def is_fault(error: BaseException) -> bool:
    """Return whether an exception is a fault of some code, a panic of a library in Rust (no `Exception`) included, and
    no interrupt."""
    return isinstance(error, Exception) or type(error).__name__ == 'PanicException'


def reason(error: BaseException, most: int = 160) -> str:
    """Return an exception of somebody else as one short line: its type, and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f'{type(error).__name__}: {lines[0][:most]}' if lines else type(error).__name__


def closest(name: str, known: Iterable, n: int = 3) -> str:
    """Return a hint such as ' Did you mean `dim` or `dims`?', or '' where nothing known comes close."""
    table = {str(k).lower(): str(k) for k in known}
    hits = [table[m] for m in difflib.get_close_matches(str(name).lower(), table, n=n, cutoff=0.55)]
    return f' Did you mean {" or ".join(f"`{h}`" for h in hits)}?' if hits else ''


def need_package(module: str, extra: str, why: str) -> ModuleType:
    """Import and return `module`; an `InputError` that names the extra to install where it is missing."""
    import importlib
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise InputError(f'{why} needs the package `{module}`, which cannot be imported ({e}). '
                         f'Install it with: pip install "dtbox[{extra}]"') from e
