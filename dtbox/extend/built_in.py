"""Plugins whose part became built in: a config that names one gets an error that says so; a run trained with one still
opens."""
from __future__ import annotations

import logging
import os
from typing import Iterable, Mapping

from dtbox.errors import InputError
from dtbox.files import parse_json
from dtbox.renames import BUILT_IN_PLUGINS, FIRST
from dtbox.runs import RunFolder


def refuse_built_in(name: str, given: str | os.PathLike, config: str | None = None) -> None:
    """Raise `InputError` where a plugin that was not found is one whose part became built in.

    Args:
        name: the plugin's name.
        given: how it was named, for the message.
        config: path of the config file that names it, or None.
    """
    part = BUILT_IN_PLUGINS.get(name)
    if part is not None:
        raise InputError(f'the plugin {given} is built in since dtbox {FIRST}: `{part.rpartition("/")[2]}` needs no '
                         'plugin. '
                         f'Remove it from {f"`plugins` of {config}" if config else "--plugin (`plugins=` in Python)"}.')


def is_built_in(record: Mapping) -> bool:
    """Whether a record of plugins.json or of a checkpoint is of a plugin whose one part became built in."""
    return record['parts'] == [BUILT_IN_PLUGINS.get(record['name'])]


def drop_built_in(records: Iterable[Mapping] | None) -> list[Mapping]:
    """Return the records of plugins that are still plugins."""
    return [record for record in records or () if not is_built_in(record)]


def is_recorded_as_built_in(name: str, folder: str) -> bool:
    """Whether a run folder was trained with a plugin whose part became built in; logs one line where it was.

    Args:
        name: the plugin's name.
        folder: the run folder.
    """
    path = RunFolder(folder).plugins
    if name not in BUILT_IN_PLUGINS or not os.path.isfile(path):
        return False
    try:
        with open(path, encoding='utf-8') as f:
            if not any(record['name'] == name and is_built_in(record) for record in parse_json(f.read())):
                return False
    except (OSError, ValueError, TypeError, KeyError) as e:
        raise InputError(f'{path} cannot be read ({type(e).__name__}: {e}), which says what the plugin {name} of the '
                         'run was. Take it out of `plugins`, or mend the file.', 'plugins') from e
    part = BUILT_IN_PLUGINS[name].rpartition('/')[2]
    logging.getLogger('dtbox').warning(f'{folder} was trained with the plugin {name}; its part `{part}` is built in '
                                       'since '
                                       f'dtbox {FIRST} and is used instead.')
    return True
