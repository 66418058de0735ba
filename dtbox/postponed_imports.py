"""Keeps transformers out of programs that never use it.

`mmengine.optim` imports transformers, and peft with it, to register one optimizer, Adafactor. This takes two thirds of
the CPU time in which a training starts, and dtbox takes its optimizers from torch.optim. So the import statement of
that one module fails, as it does where transformers is not installed, and MMEngine's registry gets a function that
imports transformers when somebody builds an Adafactor. Every other import of transformers, in any thread, before, after
or meanwhile, is as it always is.
"""
from __future__ import annotations

import builtins
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Iterable, Sequence

if TYPE_CHECKING:
    from torch.optim import Optimizer

PACKAGE = 'transformers'


def find_postponing(name: str, path: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
    """Find a module as Python does, with a loader under which its own imports of transformers fail.

    Returns:
        its spec, or None where Python's finder of files does not know the module.
    """
    spec = importlib.machinery.PathFinder.find_spec(name, path)
    if spec is not None and spec.loader is not None:
        spec.loader = PostponingLoader(spec.loader)
    return spec


class PostponingLoader(importlib.abc.Loader):
    """Executes a module that registers optimizers; statements `import transformers` in its own lines fail meanwhile.

    Args:
        loader: what would execute the module. The module names it as its loader, as if this one had not been.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Leave it to the loader of the module."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, then register what builds an Adafactor, if the module has asked for transformers."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        asked, running = [], True

        def import_but_one(name: str, *args: Any, **more: Any) -> Any:
            if running and name.partition('.')[0] == PACKAGE:
                asked.append(name)
                raise ImportError('dtbox postpones this import', name=name)
            return builtins.__import__(name, *args, **more)

        # `exec` takes the builtins of a module's code, `__import__` among them, from here; other modules have their own
        module.__dict__['__builtins__'] = {**vars(builtins), '__import__': import_but_one}
        try:
            self._loader.exec_module(module)
        finally:
            running = False
            module.__dict__['__builtins__'] = vars(builtins)
        if asked and _is_installed():
            _register_adafactor()


def build_adafactor(params: Iterable[Any], *args: Any, **options: Any) -> Optimizer:
    """Build the Adafactor of transformers, which is imported now."""
    from transformers import Adafactor
    return Adafactor(params, *args, **options)


def _register_adafactor() -> None:
    from mmengine.registry import OPTIMIZERS
    if 'Adafactor' not in OPTIMIZERS.module_dict:
        OPTIMIZERS.register_module(name='Adafactor', module=build_adafactor)


def _is_installed() -> bool:
    if PACKAGE in sys.modules:
        return sys.modules[PACKAGE] is not None
    return importlib.util.find_spec(PACKAGE) is not None
