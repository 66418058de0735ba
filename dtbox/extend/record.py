"""What a run says of its plugins: in plugins.json and in the checkpoint's meta; and whether they are still the same."""
from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any, Iterable, Iterator, Mapping

from mmengine.config import Config

from dtbox.errors import InputError, Remark
from dtbox.extend.built_in import drop_built_in
from dtbox.extend.load import as_list
from dtbox.extend.plugin import LOADED, Plugin, list_plugin_parts
from dtbox.files import write_atomic
from dtbox.registry import ALL
from dtbox.runs import RunFolder


def find_used(cfg: Config) -> list[Plugin]:
    """Return the loaded Plugins that a config names in `plugins`, or of whose parts it names one as `type`.

    Args:
        cfg: resolved Config, as `dtbox.config.load_config` completes it.
    """
    sources, types = set(as_list(cfg.get('plugins'))), set(_types(cfg))
    return [p for p in LOADED.values() if p.source in sources
            or types & {part.rpartition('/')[2] for part in list_plugin_parts(p)}]


def find_needed(cfg: Config) -> list[Plugin]:
    """Return those of the used Plugins that a run of a config computes with: of whose parts it names one, which
    another such plugin imports, or which registers nothing and so acts by being loaded.

    Args:
        cfg: resolved Config, as `dtbox.config.load_config` completes it.
    """
    types, named = set(_types(cfg)), find_used(cfg)
    chosen = [p for p in named if not list_plugin_parts(p)
              or types & {part.rpartition('/')[2] for part in list_plugin_parts(p)}]
    while more := [p for p in named if p not in chosen and any(_imports(c, p) for c in chosen)]:
        chosen += more
    return [p for p in named if p in chosen]


def _imports(plugin: Plugin, other: Plugin) -> bool:
    """Whether a name in one of a plugin's modules comes from another plugin."""
    values = (value for module in plugin.modules if module in sys.modules
              for value in vars(sys.modules[module]).values())
    return any(getattr(value, '__module__', None) in other.modules or getattr(value, '__name__', None) in other.modules
               for value in values)


def _types(node: Any) -> Iterator[str]:
    if isinstance(node, dict) or hasattr(node, '_cfg_dict'):
        if isinstance(node.get('type'), str):
            yield node['type']
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from _types(child)


def make_records(cfg: Config, earlier: Iterable[Mapping] = ()) -> list[dict]:
    """Return what is recorded of the plugins of a config, as a list of plain dicts.

    Args:
        cfg: resolved Config.
        earlier: records of the run that is continued; hashes that were replaced are kept under `before`.
    """
    records = []
    for plugin in find_used(cfg):
        record = dict(name=plugin.name, version=plugin.version, hash=plugin.hash, kind=plugin.kind,
                      source=plugin.source, package=plugin.package,
                      parts=list_plugin_parts(plugin))
        records.append(record)
    for old, new in pair_records(earlier, records):
        if new is not None:
            before = old.get('before', []) + [old['hash']] * (old['hash'] != new['hash'])
            new.update(dict(before=before) if before else {})
    return records


def write_records(folder: str, records: list[dict]) -> None:
    """Write plugins.json of a run folder, or remove the one that is there where there are no plugins."""
    path = RunFolder(folder).plugins
    if records:
        write_atomic(path, json.dumps(records, indent=1) + '\n')
    elif os.path.exists(path):
        os.remove(path)


def pair_records(recorded: Iterable[Mapping], current: list[dict]) -> list[tuple[Mapping, dict | None]]:
    """Return list of (recorded, its current counterpart or None): first those of equal content, then those of equal
    name."""
    left, table = list(current), {}
    for keys in (('hash',), ('name',)):
        for i, old in enumerate(recorded):
            new = next((r for r in left if i not in table and all(r[k] == old[k] for k in keys)), None)
            if new is not None:
                table[i] = new
                left.remove(new)
    return [(old, table.get(i)) for i, old in enumerate(recorded)]


def refuse_changes(recorded: Iterable[Mapping] | None, current: list[dict], path: str) -> None:
    """Raise `InputError` where a run cannot be continued as it was, because one of its plugins is missing or has
    changed.

    Args:
        recorded: records in the checkpoint.
        current: records of this process.
        path: the checkpoint.
    """
    end = 'Restore it, or accept that the rest of the run differs: --accept-plugin-change.'
    for old, new in pair_records(drop_built_in(recorded), current):
        if new is None:
            raise InputError(f'{path} was trained with the plugin {_title(old)}, which this run does not load. '
                             f'{_how(old)} {end}')
        if new['hash'] != old['hash']:
            raise InputError(f'the plugin {old["name"]} ({new["source"]}) has changed since {path} was written: it was '
                             f'{_title(old, "")}, '
                             f'it is {_title(new, "")}. {end}')


def warn_changes(recorded: Iterable[Mapping] | None, cfg: Config, path: str) -> None:
    """Compare plugins before an evaluation: warn of those that have changed; `InputError` where a missing one's parts
    are needed.

    Args:
        recorded: records in the checkpoint.
        cfg: resolved Config.
        path: the checkpoint.
    """
    types = set(_types(cfg))
    for old, new in pair_records(drop_built_in(recorded), make_records(cfg)):
        if new is None:
            gone = [part for part in old['parts'] if part.rpartition('/')[2] in types and not _registered(part)]
            message = f'{path} was trained with the plugin {_title(old)}, which is not loaded.'
            if gone:
                raise InputError(f'{message} The config uses its part{"s" * (len(gone) > 1)} {", ".join(gone)}. '
                                 f'{_how(old)}')
            warnings.warn(message, Remark, stacklevel=3)
        elif new['hash'] != old['hash']:
            warnings.warn(f'the plugin {old["name"]} ({new["source"]}) has changed since {path} was written: it was '
                          f'{_title(old, "")}, '
                          f'it is {_title(new, "")}. Results may differ.', Remark, stacklevel=3)


def _registered(part: str) -> bool:
    room, _, name = part.rpartition('/')
    return room in ALL and name in ALL[room].module_dict


def describe_record(record: Mapping) -> str:
    """Return a record as one line: name, version, hash, the hashes that it had earlier in this run, and where it is."""
    earlier = f', was {", ".join(record["before"])}' if record.get('before') else ''
    return f'{_title(record)}{earlier}, from {record["package"] or record["source"]}'


def _title(record: Mapping, name: str | None = None) -> str:
    words = [record['name'] if name is None else name, f'version {record["version"]}' if record['version'] else '',
             f'hash {record["hash"]}']
    return ', '.join(w for w in words if w)


def _how(record: Mapping) -> str:
    if record['kind'] == 'installed':
        return (f'Install the package {record["package"]}, or give the plugin: --plugin PATH, or plugins=[PATH] of '
                'dtbox.load.')
    return f'It was {record["source"]}; give it with --plugin PATH, or plugins=[PATH] of dtbox.load.'
