"""What a loaded plugin is, which ones this process has, and which part comes from which."""
from __future__ import annotations

from dataclasses import dataclass, field

from mmengine.registry import Registry

from dtbox.registry import ALL


@dataclass(eq=False)
class Plugin:
    """A loaded plugin.

    Attributes:
        name: name of its folder, stem of its file, or dotted module name.
        kind: 'folder', 'file', 'module' or 'installed' (by an entry point).
        path: real path of the folder or file whose content counts; of a module, of its whole package.
        source: what finds it again: absolute path, or module name.
        hash: of the content when it was loaded, 16 hex digits.
        entry: real path of the file that was executed.
        version: `__version__` of its module, else of the installed package, else None.
        package: name of the installed package, or None.
        parts: list of (registry, name) that it registered.
        modules: names of the modules that belong to it.
    """
    name: str
    kind: str
    path: str
    source: str
    hash: str
    entry: str
    version: str | None = None
    package: str | None = None
    parts: list[tuple[Registry, str]] = field(default_factory=list)
    modules: set[str] = field(default_factory=set)


LOADED: dict[str, Plugin] = {}
"""Plugins of this process by the real path of the file that was executed."""
ACTIVE: list[Plugin] = []
"""Plugins that are being imported, outermost first."""


def find_origin(registry: Registry, name: str) -> Plugin | str:
    """Return where a registered part comes from: a Plugin, or the name of a Python package ('dtbox')."""
    module = getattr(registry.module_dict[name], '__module__', None) or 'unknown'
    for plugin in [*LOADED.values(), *ACTIVE]:
        if (registry, name) in plugin.parts or any(f'{module}.'.startswith(f'{m}.') for m in plugin.modules):
            return plugin
    return module.split('.')[0]


def list_plugin_parts(plugin: Plugin) -> list[str]:
    """Return the parts of a plugin as list of 'ROOM/NAME', those that were registered before it was loaded included."""
    rooms = {registry: room for room, registry in ALL.items()}
    parts = [(r, n) for r in ALL.values() for n in r.module_dict if find_origin(r, n) is plugin]
    parts += [part for part in plugin.parts if part not in parts]
    return [f'{rooms.get(r, "mmengine " + r.name)}/{n}' for r, n in parts]
