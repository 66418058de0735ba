"""Config files: MMEngine text configs with `_base_`, made strict.

Two additions to MMEngine's rules. A child config and `--cfg-options` may only set keys that exist in what they change or
that the constructor of that part takes; anything else is an error with the closest match. And a value written `'${name}'`
stands for the top-level variable `name` at the moment the config is used, so that one override of `data_root`, `image_size`
or `quantizer` reaches every place that follows it.
"""
import copy
import inspect
import os
import re

from mmengine.config import Config

from dtbox.config.find import find_config
from dtbox.errors import InputError, closest
from dtbox.extend import as_list, load_named, load_plugins
from dtbox.registry import ALL

TOP = ('model', 'train_dataloader', 'val_dataloader', 'val_evaluator', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'hooks',
       'vis_backends', 'plugins', 'tiny', 'seed', 'amp', 'threads', 'work_dir', 'load_from', 'data_root', 'image_size', 'model_wrapper_cfg',
       'ema', 'compile', 'rank_timeout')
"""Top-level keys that a child config may add; other names have to stand in its base, or be referred to as `'${name}'`."""

BESIDE = {'losses': ('weight',), 'decoder': ('reads',), 'dataset': ('type',)}
"""Keys that stand beside a constructor's arguments, by the config key of the part (or of the dict of parts)."""

UNTYPED = {
    'train_dataloader': ('dataset', 'batch_size', 'global_batch_size', 'num_workers', 'last'),
    'val_dataloader': ('dataset', 'batch_size', 'num_workers'),
    'train_cfg': ('max_iters', 'val_interval', 'tolerate'), 'model.teacher': ('encoder', 'layer', 'trunk_sharing', 'cache', 'cache_dtype'),
    'optim_wrapper.*': ('optimizer', 'freeze', 'groups', 'clip_grad', 'accumulative_counts')}
"""Keys of the dicts that have no `type`, by path; `*` stands for one name."""

OPEN = ('losses', 'vocabularies', 'quantizers', 'encoders', 'groups', 'tiny')
"""Dicts of parts by name, and the options of the tiny size: a child config or an override may add to them."""

REFERENCE = re.compile(r'^\$\{(\w+)\}$')


def load_config(path, options=None, plugins=(), data=None, tiny=False):
    """Read a config file with its bases, load its plugins, apply overrides, and check every key.

    Args:
        path: config file, a run folder (its config.py), or a name that `find_config` knows.
        options: dict of dotted key -> value, as `--cfg-options` gives.
        plugins: more plugins (folders, files or modules), as `--plugin` gives. One of the same name stands for a plugin that the config
            names by a place where it no longer is.
        data: another config (see configs/_base_/datasets) whose data the recipe reads instead of its own; see `replace_data`.
        tiny: apply the config's dict `tiny`, small values with which the recipe runs in seconds, before `options`.

    Returns:
        mmengine Config, references not yet resolved (see `resolve`). Its `plugins` are those of the file, of its bases, of the options and
        of the argument, each by absolute path or module name.
    """
    options = dict(options or {})
    given = load_plugins(plugins) + load_plugins(options.pop('plugins', None))
    path = find_config(path)
    folder = path if os.path.isdir(path) else None
    if folder:
        path = os.path.join(path, 'config.py')
    found = []
    cfg = _read(path, given, found)
    if found or given:
        cfg.plugins = list(dict.fromkeys(plugin.source for plugin in found + given))
    elif cfg.get('plugins'):  # those of a run folder, all of them built in by now
        cfg.pop('plugins')
    if folder:
        use_own_tokenizer(cfg, folder)
    if data is not None:
        replace_data(cfg, load_config(find_config(data, 'data', '--data')), data)
    if tiny and not cfg.get('tiny'):
        raise InputError(f'{path} has no dict `tiny` of small values. Give them with --cfg-options.', '--tiny')
    for key, value in {**(cfg.tiny if tiny else {}), **options}.items():
        set_option(cfg, key, value)
    return cfg


def replace_data(cfg, other, source):
    """Let a recipe read the data of another config: its dataloaders and the variables that these refer to.

    `image_size` and `batch_size` stay the recipe's, where it has them.

    Args:
        cfg: Config, changed in place.
        other: Config with `train_dataloader`.
        source: where `other` comes from, for errors.

    Raises:
        InputError: a config without `train_dataloader`.
    """
    loaders = [name for name in ('train_dataloader', 'val_dataloader') if other.get(name) is not None]
    if 'train_dataloader' not in loaders:
        raise InputError(f'{source} has no `train_dataloader`, so there is nothing to train on. Give a config such as '
                         'configs/_base_/datasets/imagenet.py.', '--data')
    plain, wanted = other._cfg_dict.to_dict(), references({name: other._cfg_dict[name] for name in loaders})
    while more := references([plain.get(name) for name in wanted]) - wanted:
        wanted |= more
    for name in sorted(wanted):  # the same order in every process
        if name in plain and not (name in ('image_size', 'batch_size') and name in cfg):
            cfg[name] = plain[name]
    for name in ('train_dataloader', 'val_dataloader'):
        cfg[name] = plain.get(name)
    plugins = list(dict.fromkeys([*as_list(cfg.get('plugins')), *as_list(plain.get('plugins'))]))
    if plugins:
        cfg.plugins = plugins


def use_own_tokenizer(cfg, folder):
    """Let a config read the tokenizer.json that its run folder keeps, where there is one."""
    file = os.path.join(folder, 'tokenizer.json')
    text = (cfg.get('model') or {}).get('tokenizer', {}).get('text') or {}
    if os.path.isfile(file) and text.get('tokenizer', {}).get('file'):
        text['tokenizer']['file'] = os.path.abspath(file)


def _read(path, given, found):
    """Read a config and check it against its bases; plugins are loaded from the lowest base up and appended to `found`."""
    try:
        cfg = Config.fromfile(path, format_python_code=False)
    except Exception as e:  # a config is Python: whatever it may raise
        raise InputError(f'the config {path} cannot be read: {type(e).__name__}: {e}') from e
    bases, below, inherited = Config._get_base_files(path), {}, []
    for base in bases:
        below.update(_read(os.path.join(os.path.dirname(path), base), given, found)._cfg_dict.to_dict())
        inherited += as_list(below.get('plugins'))
    found += load_named([name for name in as_list(cfg.get('plugins')) if name not in inherited], path, given)
    if bases:
        _check_child(cfg._cfg_dict, below, '', os.path.basename(path), references(cfg._cfg_dict))
    return cfg


def references(node):
    """Return the names that `'${name}'` values below `node` refer to."""
    if isinstance(node, dict):
        return set().union(*map(references, node.values()))
    if isinstance(node, (list, tuple)):
        return set().union(*map(references, node))
    match = REFERENCE.match(node) if isinstance(node, str) else None
    return {match.group(1)} if match else set()


def _check_child(node, below, path, file, variables=frozenset()):
    """Raise for keys of `node` that neither its base nor the part's constructor knows; `variables` may be new at the top."""
    for key, value in node.items():
        here = f'{path}.{key}' if path else str(key)
        if key in below:
            if isinstance(value, dict) and isinstance(below[key], dict) and value.get('type') == below[key].get('type'):
                _check_child(value, below[key], here, file)
            continue
        if path.split('.')[-1] in OPEN:
            continue
        known = known_keys(node, path) | set(below) | variables
        if known and key not in known and not str(key).startswith('_'):
            raise InputError(f'{file} sets a key that its base does not have.{closest(key, known)} '
                             f'Known there: {", ".join(sorted(map(str, known)))}.', here)


def known_keys(node, path):
    """Return the keys that a config dict may have by its `type`; an empty set where that cannot be told.

    Args:
        node: the dict.
        path: its dotted path; '' is the top level.
    """
    if path == '':
        return set(TOP)
    names = path.split('.')
    kind = node.get('type')
    if kind is None and len(names) > 1 and names[-2] == 'vocabularies':
        kind = 'Vocabulary'
    if kind is None and names in (['tokenizer'], ['model', 'tokenizer']):
        kind = 'VisualTokenizer'
    if kind is None:
        return next((set(keys) for at, keys in UNTYPED.items() if _fits(names, at.split('.'))), set())
    if not isinstance(kind, str):
        return set()
    for registry in ALL.values():
        target = registry._candidates().get(kind)
        if target is not None:
            parameters = inspect.signature(target).parameters
            if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
                return set()
            beside = [k for name in names[-2:] for k in BESIDE.get(name, ())]
            return {'type', *parameters, *beside}
    return set()


def _fits(names, pattern):
    return len(names) == len(pattern) and all(p in ('*', n) for n, p in zip(names, pattern))


def set_option(cfg, key, value):
    """Set one dotted key of a config; `InputError` with the closest match where it does not exist.

    Args:
        cfg: Config or dict.
        key: 'a.b.c'; list elements by index.
        value: what to set.
    """
    node, parts = cfg, key.split('.')
    for i, part in enumerate(parts):
        path = '.'.join(parts[:i])
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise InputError(f'`{path}` is a list of {len(node)}; `{part}` is no index of it.', key)
            part = int(part)
            if isinstance(node, tuple):
                raise InputError(f'`{path}` is the tuple {node}, whose elements cannot be set one by one; set it as a whole.', key)
        elif not isinstance(node, dict) and not isinstance(node, Config):
            raise InputError(f'`{path}` is {node!r}; it has no key `{part}`.', key)
        else:
            keys = list(node.keys())
            part = next((k for k in keys if str(k) == part), part)
            known = known_keys(node, path)
            adds = i == len(parts) - 1 and i and parts[i - 1] in OPEN
            if (keys or known) and part not in keys and part not in known and not adds:
                options = keys + sorted(known)
                raise InputError(f'there is no such key in the config.{closest(part, options)} '
                                 f'{"In `" + path + "`" if path else "At the top level"} there are: '
                                 f'{", ".join(dict.fromkeys(map(str, options)))}.', key)
        if i == len(parts) - 1:
            node[part] = value
            return
        if isinstance(node, (dict, Config)) and node.get(part) is None:
            node[part] = {}
        if isinstance(node[part], str) and REFERENCE.match(node[part]):  # an override below a reference belongs to this place alone
            node[part] = copy.deepcopy(_followed(cfg, node[part], f'{path}.{part}' if path else part))
        node = node[part]


def _referenced(cfg, name, path):
    if name not in cfg:
        raise InputError(f'`${{{name}}}` names no top-level variable.{closest(name, cfg.keys())}', path)
    return cfg[name]


def _followed(cfg, value, path):
    """Return what a reference stands for in the end, where references refer to references."""
    seen = set()
    while isinstance(value, str) and (match := REFERENCE.match(value)):
        if value in seen:
            raise InputError(f'`{value}` refers to itself.', path)
        seen.add(value)
        value = _referenced(cfg, match.group(1), path)
    return value


def resolve(cfg):
    """Return a copy of the config in which every `'${name}'` is replaced by the top-level value it names."""
    plain = cfg._cfg_dict.to_dict() if isinstance(cfg, Config) else copy.deepcopy(cfg)

    def walk(node, path, seen):
        if isinstance(node, dict):
            return {k: walk(v, f'{path}.{k}' if path else str(k), seen) for k, v in node.items()}
        if isinstance(node, (list, tuple)):
            return type(node)(walk(v, f'{path}.{i}', seen) for i, v in enumerate(node))
        match = REFERENCE.match(node) if isinstance(node, str) else None
        if not match:
            if isinstance(node, str) and '${' in node:
                raise InputError(f'`{node}` refers to a variable in part; a reference is a whole value, such as \'${{data_root}}\'.', path)
            return node
        if match.group(1) in seen:
            raise InputError(f'`{node}` refers to itself.', path)
        return walk(copy.deepcopy(_referenced(plain, match.group(1), path)), path, seen | {match.group(1)})

    return Config(walk(plain, '', frozenset()), format_python_code=False)
