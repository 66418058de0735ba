"""`load_config`: everything that stands between a config file and the Config of a run."""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from dtbox.arguments import allow_none, read_arguments, read_flag, read_options, read_path
from dtbox.config.checks import check_change
from dtbox.config.files import read_config
from dtbox.config.find import find_config
from dtbox.config.merge import merge
from dtbox.config.options import SOURCE, set_option
from dtbox.config.references import find_references
from dtbox.config.run_entries import list_run_variables, take_entries
from dtbox.config.variables import check_read
from dtbox.errors import InputError
from dtbox.extend import as_list, load_plugins
from dtbox.runs import RunFolder, find_run_of
from dtbox.trust import require_trust

SIZES = {'batch_size', 'global_batch_size'}
"""Two ways to say how many samples a batch has."""


@read_arguments(path=read_path, options=allow_none(read_options), plugins=as_list, data=allow_none(read_path),
                tiny=read_flag)
def load_config(path: str | os.PathLike, options: Mapping[str, Any] | None = None, plugins: str | Sequence[str] = (),
                data: str | None = None, tiny: bool = False) -> Config:
    """Read a config file with its bases, load its plugins, apply overrides, and check every key.

    Args:
        path: config file, a run folder (its config.py), or a name that `find_config` knows.
        options: dict of dotted key -> value, as `--cfg-options` gives.
        plugins: more plugins (folders, files or modules), as `--plugin` gives. One of the same name stands for a plugin
            that the config names by a place where it no longer is.
        data: another config (see configs/_base_/datasets) whose data the recipe reads instead of its own; see
            `replace_data`.
        tiny: merge the config's dict `tiny`, small values with which the recipe runs in seconds, before `options`.

    Returns:
        mmengine Config, references not yet resolved (see `resolve`). Its `plugins` are those of the file, of its bases,
        of the options and of the argument, each by absolute path or module name.
    """
    options = dict(options or {})
    given = load_plugins(plugins) + load_plugins(options.pop('plugins', None))
    path = find_config(path)
    folder = path if os.path.isdir(path) else None
    if folder:
        run = RunFolder(folder)
        run.check_format()
        path = run.config
    named = []
    with find_run_of(path).explain_old_names():
        values = read_config(path, given, named, as_data=folder is not None)
    if find_run_of(path).is_run_config(path):
        values.pop('work_dir', None)  # the folder itself, wherever it is by now
    if named or given:
        values['plugins'] = list(dict.fromkeys(plugin.source for plugin in named + given))
    elif values.get('plugins'):  # those of a run folder, all of them built in by now
        values.pop('plugins')
    cfg = Config(values, cfg_text=path, filename=path, format_python_code=False)  # else MMEngine reads the file again
    if folder:
        use_own_tokenizer(cfg, folder)
    if data is not None:
        replace_data(cfg, load_config(find_config(data, 'data', '--data')), data)
    if tiny:
        cfg = shrink(cfg)
    foreign = folder is not None or find_run_of(path).is_run_config(path)
    commands = set(_find_commands(cfg._cfg_dict.to_dict())) if foreign else set()
    runs = list_run_variables([cfg._cfg_dict.to_dict(), options])  # which runs is known before their entries change
    for key in sorted(options, key=lambda key: key not in runs):
        set_option(cfg, key, options[key])
    take_entries(cfg)
    check_read(cfg._cfg_dict.to_dict(), [key for key in options if '.' not in key], SOURCE)
    for command in sorted(commands & set(_find_commands(cfg._cfg_dict.to_dict()))):
        require_trust(f'the config {path} reads shards by the command `{command}`')
    return cfg


def _find_commands(node: Any) -> Iterator[str]:
    """Yield the strings of a config that are commands of shards."""
    if isinstance(node, str) and node.strip().startswith('pipe:'):
        yield node
    elif isinstance(node, (dict, list, tuple)):
        for part in node.values() if isinstance(node, dict) else node:
            yield from _find_commands(part)


def shrink(cfg: Config) -> Config:
    """Return a config with its dict `tiny` merged into it.

    What `tiny` changes in a part that the recipe has removed (None) is left out.

    Raises:
        InputError: no `tiny`, or a key that does not exist.
    """
    plain = cfg._cfg_dict.to_dict()
    small = plain.get('tiny')
    if not small or not isinstance(small, dict):
        raise InputError(f'{cfg.filename} has no dict `tiny` of small values. Give them with --cfg-options.', '--tiny')

    def check(change: dict, base: dict, at: str) -> None:
        check_change(change, base, at, '`tiny`', find_references(small))
    check(small, plain, '')
    return Config(merge(plain, small, check, skip_absent=True), cfg_text=cfg.text, filename=cfg.filename,
                  format_python_code=False)


def replace_data(cfg: Config, other: Config, source: str) -> None:
    """Let a recipe read the data of another config: its data sets and the variables that these refer to.

    What the recipe sets itself stays: the settings of its loaders (`batch_size`, `num_workers`, ...), the variables
    that these refer to, `image_size` and `resize`.

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
    plain = other._cfg_dict.to_dict()
    wanted = find_references({name: plain[name] for name in loaders})
    while more := find_references([plain.get(name) for name in wanted]) - wanted:
        wanted |= more
    recipe = cfg._cfg_dict.to_dict()
    settings = {name: {key: value for key, value in (recipe.get(name) or {}).items() if key != 'dataset'}
                for name in loaders}
    numbers = _move_to_variables(settings, plain)
    own = ({'image_size', 'resize'} | find_references(settings)) & recipe.keys()
    for name in sorted(wanted - own | numbers.keys()):  # the same order on every rank
        if name in plain:
            cfg[name] = numbers.get(name, plain[name])
    for name in ('train_dataloader', 'val_dataloader'):
        if name not in loaders:
            cfg[name] = None
            continue
        own_size = SIZES & settings[name].keys()  # a loader has one of them
        cfg[name] = {**{key: value for key, value in plain[name].items() if not own_size or key not in SIZES},
                     **settings[name]}
    plugins = list(dict.fromkeys([*as_list(cfg.get('plugins')), *as_list(plain.get('plugins'))]))
    if plugins:
        cfg.plugins = plugins


def _move_to_variables(settings: dict[str, dict], data: Mapping[str, Any]) -> dict[str, Any]:
    """Replace numbers that a recipe writes in its loaders by the data config's references for them, so that options of
    these names reach both; returns name -> number. Where two loaders differ, the second keeps its number, and so does
    one beside a loader that refers to the variable itself."""
    numbers: dict[str, Any] = {}
    taken = find_references(settings)
    for loader, own in settings.items():
        for key, value in own.items():
            names = find_references(data[loader].get(key))
            if not names or names & taken or find_references(value):
                continue
            if numbers.setdefault(min(names), value) == value:
                own[key] = data[loader][key]
    return numbers


def take_data_options(data: str, options: dict[str, Any]) -> dict[str, Any]:
    """Take from `options` (changed in place) what belongs to a config of data to measure on, and return it.

    These are the keys whose variable or dict the data config has; `batch_size` and `num_workers` of a data config
    without such variables are those of its `val_dataloader`.
    """
    top, own = load_config(data), {}
    for key in list(options):
        if key.split('.')[0] in top:
            own[key] = options.pop(key)
        elif key in ('batch_size', 'num_workers'):
            own[f'val_dataloader.{key}'] = options.pop(key)
    return own


def use_own_tokenizer(cfg: Config, folder: str) -> None:
    """Let a config read the tokenizer.json that its run folder keeps, where there is one: of a tokenizer's text tower,
    and of a multimodal language model."""
    file = RunFolder(folder).text_tokenizer
    text, sequence = _find(cfg, 'model', 'tokenizer', 'text', 'tokenizer'), _find(cfg, 'model', 'sequence')
    if os.path.isfile(file) and isinstance(text, dict) and text.get('file'):
        text['file'] = os.path.abspath(file)
    if os.path.isfile(file) and isinstance(sequence, dict):
        sequence['tokenizer'] = dict(type='PretrainedTokenizer', path=os.path.abspath(folder))


def _find(node: Any, *keys: str) -> Any:
    """Return the entry of a config under some keys, or None."""
    for key in keys:
        node = node.get(key) if isinstance(node, (Mapping, Config)) else None
    return node
