"""Plugins: Python that registers parts, from a folder, a file or a module, loaded before anything is built."""
import hashlib
import importlib
import importlib.util
import os
import sys

from dtbox.errors import InputError

LOADED = {}
"""Plugins of this process: name as given -> content hash."""


def load_plugins(names):
    """Load plugins once each.

    Args:
        names: a list, or one: paths of a folder (its __init__.py or NAME.py), a file, or dotted module names.

    Returns:
        dict name -> content hash (16 hex digits) of those named.
    """
    names = [names] if isinstance(names, str) else list(names or [])
    for name in names:
        if name not in LOADED:
            LOADED[name] = _load(name)
    return {name: LOADED[name] for name in names}


def _load(name):
    path = _find(name)
    try:
        if path is None:
            module = importlib.import_module(name)
            path = module.__file__
        else:
            alias = f'dtbox_plugin_{os.path.splitext(os.path.basename(path))[0]}_{abs(hash(os.path.abspath(path))):x}'
            spec = importlib.util.spec_from_file_location(alias, path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[alias] = module
            spec.loader.exec_module(module)
    except Exception as e:
        raise InputError(f'the plugin {name} ({path or "a module"}) cannot be imported: {type(e).__name__}: {e}') from e
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()[:16]


def _find(name):
    """Return the file of a plugin given as a path, or None where the name is a module's."""
    if os.path.isdir(name):
        stem = os.path.basename(os.path.normpath(name))
        for candidate in ('__init__.py', f'{stem}.py'):
            if os.path.isfile(os.path.join(name, candidate)):
                return os.path.join(name, candidate)
        raise InputError(f'the plugin folder {name} has neither __init__.py nor {stem}.py.')
    if os.path.isfile(name):
        return name
    if os.sep in name or name.endswith('.py'):
        raise InputError(f'the plugin {name} does not exist. Give a folder, a .py file or a module name.')
    return None
