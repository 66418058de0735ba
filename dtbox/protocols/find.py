"""Protocols by name, and which of the options of a command line are theirs."""
from __future__ import annotations

from dtbox.config import load_config
from dtbox.config.find import find_config, list_configs, read_summary
from dtbox.errors import InputError, closest
from dtbox.protocols.base import Protocol, load_protocol


def list_protocols() -> dict[str, str]:
    """Return name -> first line of the docstring of each protocol that can be named."""
    return {name: read_summary(path) for name, path in list_configs('protocol').items()}


def find_protocol(name: str) -> str:
    """Return the config of a protocol by its name or path."""
    try:
        return find_config(name, 'protocol', '--protocol')
    except InputError:
        names = list_configs('protocol')
        raise InputError(f'there is no protocol `{name}`.{closest(name, names)} There are: '
                         f'{", ".join(names)}.', '--protocol') from None


def load_protocols(names: list[str], options: dict) -> tuple[list[Protocol], dict]:
    """Return protocols by name or path, and the options that none of them takes.

    Args:
        names: names or paths of protocols.
        options: dotted key -> value. A protocol takes an option whose first word is a variable of its config and, where
            there are several protocols, whose whole key it has (`protocol.sizes` is for one that has sizes).

    Raises:
        InputError: an unknown name, or an option that is meant for protocols and fits none of them.
    """
    paths = [find_protocol(name) for name in names]
    taken, protocols = set(), []
    for path in paths:
        own = {key: value for key, value in options.items()
               if _names_variable(path, key) and (len(paths) == 1 or _takes(path, key, value))}
        taken |= set(own)
        protocols.append(load_protocol(path, own))
    rest = {key: value for key, value in options.items() if key not in taken}
    for key, value in rest.items():
        meant = [path for path in paths if _names_variable(path, key)]
        if meant:
            load_config(meant[-1], {key: value})  # raises what is wrong with the key
    return protocols, rest


def _names_variable(path: str, key: str) -> bool:
    return key.split('.')[0] in load_config(path)


def _takes(path: str, key: str, value: object) -> bool:
    try:
        load_config(path, {key: value})
    except InputError:
        return False
    return True
