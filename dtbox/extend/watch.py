"""What a plugin registers while it is imported: no name twice, and nothing left of a plugin that fails.

MMEngine registers through one method of `Registry`. While a plugin is imported that method is exchanged for one that
looks at who calls: parts of dtbox and MMEngine, imported on the way, pass; the plugin's are checked and noted, in
whichever registry.
"""
import contextlib
import sys

from mmengine.registry import Registry

from dtbox.errors import InputError
from dtbox.extend.plugin import ACTIVE, origin
from dtbox.registry import ALL

FRAMEWORK = ('dtbox', 'mmengine', 'mmcv')
ORIGINAL = Registry._register_module


class Taken(InputError):
    """A plugin registers under a name that exists."""


@contextlib.contextmanager
def watch(plugin):
    """Note in `plugin.parts` and `plugin.modules` what is registered inside the block; take all of it back when the
    block raises.

    Args:
        plugin: object with `name`, `parts` (list of (registry, name)), `modules` (set of module names).
    """
    before = set(sys.modules)
    ACTIVE.append(plugin)
    Registry._register_module = _register
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
        if not ACTIVE:
            Registry._register_module = ORIGINAL


def _register(self, module, module_name=None, force=False):
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get('__name__') in ('mmengine.registry.registry',
                                                                           'dtbox.registry'):
        frame = frame.f_back
    by = frame.f_globals.get('__name__', '')
    if by.split('.')[0] in FRAMEWORK:
        return ORIGINAL(self, module, module_name, force)
    plugin = ACTIVE[-1]
    names = [module_name] if isinstance(module_name, str) else module_name or [getattr(module, '__name__', str(module))]
    for name in names:
        for registry in _related(self):
            registry.import_from_location()
            if name in registry.module_dict:
                raise Taken(f'the plugin {plugin.name} ({frame.f_code.co_filename}:{frame.f_lineno}) registers '
                            f'`{name}` under {self.name}, '
                            f'a name that {_owner(registry, name)} has taken. Give it another: '
                            'register_module(name=...); or load one of the two.')
    ORIGINAL(self, module, module_name)
    plugin.parts += [(self, name) for name in names]
    plugin.modules.add(by)


def _related(registry):
    """Return the registries in which a lookup could meet a name of this one: its own, those above, and dtbox's below.
    """
    above = [registry]
    while above[-1].parent is not None:
        above.append(above[-1].parent)
    return above + [r for r in ALL.values() if r.parent is registry]


def _owner(registry, name):
    owner = origin(registry, name)
    module = getattr(registry.module_dict[name], '__module__', None)
    return f'the plugin {owner.name} ({owner.path})' if hasattr(owner, 'path') else f'{owner} ({module})'
