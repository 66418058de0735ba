"""Loading plugins, and knowing where a part comes from."""
from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from importlib import metadata
from types import ModuleType
from typing import Any, Callable, Iterable

from dtbox.arguments import describe, read_path
from dtbox.errors import InputError, at, reason
from dtbox.extend.built_in import is_recorded_as_built_in, refuse_built_in
from dtbox.extend.find import Missing, Place, find, hash_content
from dtbox.extend.foreign import refuse_foreign
from dtbox.extend.plugin import ACTIVE, LOADED, Plugin
from dtbox.extend.watch import Taken, watch
from dtbox.runs import RunFolder

GROUP = 'dtbox.plugins'
_installed: list[bool] = []


def load_plugins(names: Any, near: str | None = None) -> list[Plugin]:
    """Load plugins, once each per process; those of installed packages come along.

    Args:
        names: a list, or one: paths of a folder (its __init__.py, or else NAME.py) or of a .py file, or dotted module
            names.
        near: config file that names them; see `find`.

    Returns:
        list of Plugin, those named.

    Raises:
        InputError: a plugin is missing, became built in, cannot be imported, or takes a name that exists. Nothing of it
            stays registered.
    """
    load_installed()
    return [_load(_find(name, near)) for name in as_list(names)]


def _find(name: str | os.PathLike, near: str | None) -> Place:
    try:
        return find(name, near)
    except Missing:
        refuse_built_in(_name(os.fspath(name)), name, near)
        raise


def as_list(names: Any) -> list:
    """Return the value of `plugins` as a list: None is none, and one name is a list of one."""
    names = [names] if isinstance(names, (str, os.PathLike)) else names
    if names is not None and not (isinstance(names, (list, tuple))
                                  and all(isinstance(n, (str, os.PathLike)) for n in names)):
        raise InputError(f'`plugins` is {describe(names)}; expected a list of paths and module names.', 'plugins')
    for name in names or ():
        with at('plugins'):
            read_path(name)
    return list(names or ())


def load_named(names: Any, config: str, given: Iterable[Plugin] = (), foreign: bool = False) -> list[Plugin]:
    """Load the plugins that a config names; one that has moved may be given anew.

    Args:
        names: value of `plugins`.
        config: path of the config file.
        given: Plugins named on the command line. One of the same name stands for a plugin that is not found, and for
            any that the config of a run folder names by its old place.
        foreign: the config is that of a folder that may be a stranger's, as the config of a run folder always is.

    Returns:
        list of Plugin.
    """
    folder, plugins = os.path.dirname(os.path.abspath(config)), []
    run = foreign or RunFolder(folder).is_run_config(config)
    for name in as_list(names):
        if is_recorded_as_built_in(_name(name), folder):
            continue
        new = [p for p in given if p.name == _name(name)]
        try:
            if run and not new:
                refuse_foreign(name, config, f'the config of the run folder {os.path.realpath(folder)}')
            plugins += new[:1] if run and new else load_plugins(name, near=config)
        except Missing as e:
            if not new:
                raise InputError(f'{e.message} It is named in {config}; if it has moved, give its new place '
                                 '(under the same name): --plugin PATH, or plugins=[PATH] of dtbox.load.') from e
            plugins += new[:1]
    return plugins


def _name(given: str) -> str:
    """Return the name of the plugin that a path or module name would find."""
    folder, base = os.path.split(os.path.normpath(given))
    return os.path.basename(folder) if base == '__init__.py' else base[:-3] if base.endswith('.py') else base


def load_installed() -> bool:
    """Load the plugins of installed packages: entry points of the group `dtbox.plugins`, once per process.

    An entry point names a module (`my_pkg.parts`), or a function in it that is called without arguments
    (`my_pkg.parts:register`).

    Returns:
        whether any was loaded by this call.
    """
    if _installed:
        return False
    _installed.append(True)
    loaded, seen = False, set()
    try:
        for dist in metadata.distributions():
            name = re.sub(r'[-_.]+', '-', dist.metadata['Name'] or '').lower()
            if name in seen:  # an older copy further down the path
                continue
            seen.add(name)
            for entry in dist.entry_points:
                if entry.group == GROUP:
                    loaded |= _load_entry(dist, entry)
    except BaseException:
        _installed.clear()
        raise
    return loaded


def _load_entry(dist: metadata.Distribution, entry: metadata.EntryPoint) -> bool:
    package = dist.metadata['Name']
    module, _, attribute = entry.value.partition(':')
    try:
        place = find_module(module.strip())
        if place.entry in LOADED:
            return False
        _load(place, package, dist.version, attribute.split('[')[0].strip())
    except InputError as e:
        raise InputError(f'the entry point `{entry.name} = {entry.value}` of the installed package {package} is '
                         f'broken: {e.message} '
                         'Repair the package, or uninstall it.') from e
    return True


def find_module(name: str) -> Place:
    """Return the Place of a module, never of a folder of that name in the current directory."""
    from dtbox.extend.find import _module
    return _module(name, None)


def _load(place: Place, package: str | None = None, version: str | None = None, attribute: str = '') -> Plugin:
    if place.entry in LOADED:
        return LOADED[place.entry]
    for active in ACTIVE:
        if active.entry == place.entry:  # it names itself, or two name each other
            return active
    plugin = Plugin(place.name, 'installed' if package else place.kind, place.root, place.source,
                    hash_content(place.root), place.entry,
                    package=package)
    module = next((m for m in list(sys.modules.values()) if _is_file(m, place.entry)), None)
    name = module.__name__ if module else place.name if place.kind == 'module' else _alias(place)
    plugin.modules.add(name)
    try:
        with watch(plugin):
            importlib.invalidate_caches()
            module = module or (importlib.import_module(name) if place.kind == 'module' else _execute(name, place))
            if attribute:
                register = getattr(module, attribute, None)
                if register is None:
                    raise InputError(f'{place.entry} has no `{attribute}`.')
                if inspect.isfunction(register):
                    register()
    except (Taken, KeyboardInterrupt):
        raise
    except BaseException as e:  # a plugin is Python: whatever it may raise, sys.exit included
        raise InputError(f'the plugin {place.name} ({_line(e, place)}) cannot be imported: {reason(e)}') from e
    plugin.version = version if version and not hasattr(module, '__version__') else _version(module, place)
    LOADED[place.entry] = plugin
    return plugin


def _is_file(module: Any, path: str) -> bool:
    file = getattr(module, '__dict__', {}).get('__file__')  # getattr would wake up modules that import on demand
    return isinstance(file, str) and os.path.basename(file) == os.path.basename(path) and os.path.realpath(file) == path


def _alias(place: Place) -> str:
    """Return a module name that is the plugin's own, and the same in every process."""
    stem = re.sub(r'\W', '_', place.name)
    return f'dtbox_plugin_{stem}_{hashlib.sha1(place.entry.encode()).hexdigest()[:8]}'


def _execute(name: str, place: Place) -> ModuleType:
    """Import a file under a name of its own; the file of a folder becomes a package, so that it can import its
    neighbours."""
    folder = [place.root] if place.kind == 'folder' else None
    spec = importlib.util.spec_from_file_location(name, place.entry, submodule_search_locations=folder)
    assert spec is not None and spec.loader is not None  # a .py file always has both
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _line(error: BaseException, place: Place) -> str:
    """Return FILE:LINE of the plugin where an error came up, or its file where it came up elsewhere."""
    own = (place.root, place.root + os.sep) if os.path.isdir(place.root) else (place.root,)
    at = [(os.path.realpath(f.filename), f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        at.append((os.path.realpath(error.filename), error.lineno))
    inside = [f'{file}:{line}' for file, line in at if file.startswith(own)]
    return inside[-1] if inside else place.entry


def _version(module: ModuleType, place: Place) -> str | None:
    top = module.__name__.split('.')[0]
    for owner in (module, sys.modules.get(top)):
        version = getattr(owner, '__version__', None)
        if isinstance(version, str):
            return version
    if place.kind != 'module':
        return None
    try:
        return metadata.version(top)
    except metadata.PackageNotFoundError:  # the package has another name than its module; Python 3.9 cannot tell
        find_owners: Callable[[], dict[str, list[str]]] = getattr(metadata, 'packages_distributions', dict)
        owners = find_owners().get(top)
        return metadata.version(owners[0]) if owners else None
