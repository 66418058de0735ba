"""What a plugin registers while it is imported: no name twice, and nothing left of a plugin that fails.

A `Slot` shows every registration to the observer of `dtbox.registry`, which is set while a plugin is imported.
MMEngine's own registries know no observer; their one method is exchanged for that time. Parts of dtbox and MMEngine,
imported on the way, pass; the plugin's are checked and noted, in whichever registry.
"""
from __future__ import annotations

import contextlib
import functools
import sys
from types import FrameType
from typing import Any, Callable, Iterator

from mmengine.registry import Registry

from dtbox.errors import InputError
from dtbox.extend.plugin import ACTIVE, Plugin, find_origin
from dtbox.registry import ALL, OBSERVERS, Slot

FRAMEWORK = ('dtbox', 'mmengine', 'mmcv')
ORIGINAL = Registry._register_module
REGISTRIES = ('mmengine.registry.registry', 'dtbox.registry', __name__)
"""Modules that stand between a registration and who asked for it."""


class Taken(InputError):
    """A plugin registers under a name that exists."""


@contextlib.contextmanager
def watch(plugin: Plugin) -> Iterator[None]:
    """Note in `plugin.parts` and `plugin.modules` what is registered inside the block.

    All of it is taken back when the block raises.
    """
    before = set(sys.modules)
    ACTIVE.append(plugin)
    OBSERVERS.append(observe)
    Registry._register_module = _register_elsewhere
    try:
        yield
    except BaseException:
        for registry, name in plugin.parts:
            registry.module_dict.pop(name, None)
        tops = {module.split('.')[0] for module in plugin.modules}
        for module in set(sys.modules) - before:  # so that the next try imports, and registers, again
            if module.split('.')[0] in tops:
                del sys.modules[module]
        plugin.parts.clear()
        raise
    finally:
        ACTIVE.pop()
        OBSERVERS.pop()
        if not ACTIVE:
            Registry._register_module = ORIGINAL


def _register_elsewhere(self: Registry, module: Any, module_name: str | list[str] | None = None,
                        force: bool = False) -> None:
    """Stand in for `Registry._register_module` while a plugin is imported."""
    register = functools.partial(ORIGINAL, self)
    if isinstance(self, Slot):  # has shown it to the observer
        register(module, module_name, force)
    else:
        observe(self, register, module, module_name, force)


def observe(registry: Registry, register: Callable, module: Any, module_name: str | list[str] | None,
            force: bool) -> None:
    """Register a part, whose name must be new where a plugin registers it, and note that it is the plugin's.

    Args:
        registry: where it is registered.
        register: does it; takes the other three arguments.
        module: class or function.
        module_name: its name or names; None takes its own.
        force: whether the name may exist already; a plugin may not.

    Raises:
        Taken: the name exists.
    """
    frame = _find_caller()
    by = frame.f_globals.get('__name__', '')
    if by.split('.')[0] in FRAMEWORK:
        register(module, module_name, force)
        return
    plugin = ACTIVE[-1]
    names = [module_name] if isinstance(module_name, str) else module_name or [getattr(module, '__name__', str(module))]
    for name in names:
        for related in _related(registry):
            related.import_from_location()
            if name in related.module_dict:
                raise Taken(f'the plugin {plugin.name} ({frame.f_code.co_filename}:{frame.f_lineno}) registers '
                            f'`{name}` '
                            f'under {registry.name}, a name that {_owner(related, name)} has taken. Give it another: '
                            'register_module(name=...); or load one of the two.')
    register(module, module_name, False)
    plugin.parts += [(registry, name) for name in names]
    plugin.modules.add(by)


def _find_caller() -> FrameType:
    """Return the frame that asked for the registration."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get('__name__') in REGISTRIES:
        frame = frame.f_back
    return frame


def _related(registry: Registry) -> list[Registry]:
    """Return the registries in which a lookup could meet a name of this one: itself, its parents, dtbox's children."""
    above = [registry]
    while above[-1].parent is not None:
        above.append(above[-1].parent)
    return above + [r for r in ALL.values() if r.parent is registry]


def _owner(registry: Registry, name: str) -> str:
    owner = find_origin(registry, name)
    module = getattr(registry.module_dict[name], '__module__', None)
    return f'{owner} ({module})' if isinstance(owner, str) else f'the plugin {owner.name} ({owner.path})'
