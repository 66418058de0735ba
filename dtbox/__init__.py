"""dtbox: a modular toolbox of visual tokenizers.

    import dtbox
    tok = dtbox.load('work_dirs/dualtoken_rq')
    codes = tok.encode('photo.jpg')
"""
from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; at run time a name is imported when it is first asked for
    from dtbox.apis.loading import load as load
    from dtbox.apis.mllm import MultimodalModel as MultimodalModel
    from dtbox.apis.tokenizer import Tokenizer as Tokenizer
    from dtbox.config import load_config as load_config
    from dtbox.errors import InputError as InputError

_WAITING = ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME')
"""Variables by which a user says how threads of OpenMP wait for each other."""
OPENMP_SPINS = '50000'
"""Times that a waiting thread looks before it sleeps, a fraction of a millisecond. `dtbox/waiting.py` lets it look less
often beside other programs; libgomp's own 300,000 would hold a core for milliseconds where nobody watches."""

# OpenMP reads it when torch is imported, which no module of dtbox has done by now
if not any(name in os.environ for name in _WAITING):
    os.environ['GOMP_SPINCOUNT'] = OPENMP_SPINS

__version__ = '0.2.0'
_RENAMES = 'dtbox.renames'
_POSTPONED = 'dtbox.postponed_imports'

_PUBLIC = {'load': 'dtbox.apis', 'Tokenizer': 'dtbox.apis', 'MultimodalModel': 'dtbox.apis',
           'load_config': 'dtbox.config', 'InputError': 'dtbox.errors'}


class _OldModules:
    """Tells the new name of a module that has moved.

    Python asks the last finder of `sys.meta_path` only where all others found nothing.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Raise ModuleNotFoundError with the new name where `name` is in the table of `dtbox/renames.py`."""
        if name.startswith('dtbox.') and not name.startswith('dtbox.renames'):
            moved = importlib.import_module(_RENAMES).find_module(name)
            if moved is not None:
                raise ModuleNotFoundError(f'{moved.tell(name)} dtbox/CHANGELOG.md lists what has moved.')


class _Optimizers:
    """Finds the one module of MMEngine that imports transformers, and lets it be imported without."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: object = None) -> Any:
        """Return the spec of `mmengine.optim.optimizer.builder` as `dtbox/postponed_imports.py` makes it; else None."""
        if name == 'mmengine.optim.optimizer.builder':
            return importlib.import_module(_POSTPONED).find_postponing(name, path)
        return None


if not any(getattr(finder, '__name__', '') == '_OldModules' for finder in sys.meta_path):
    sys.meta_path.append(_OldModules)
    sys.meta_path.insert(0, _Optimizers)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f'module `dtbox` has no attribute `{name}`')


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
