"""What there is: every registered part, where it comes from, and what its docstring says."""
from __future__ import annotations

import inspect
import os
import re
import sys
from dataclasses import dataclass

from mmengine.registry import Registry

from dtbox.errors import InputError, closest
from dtbox.extend.load import load_installed
from dtbox.extend.plugin import LOADED, find_origin
from dtbox.registry import ALL

PAPER = re.compile(r'arxiv(?:\.org/(?:abs|pdf)/|[:\s]+)(\d{4}\.\d{4,5})', re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """A registered part.

    Attributes:
        name: that configs use.
        room: key of its registry in `dtbox.registry.ALL`, or 'mmengine NAME' of one of MMEngine's.
        origin: 'dtbox', the path of a plugin, or name and version of an installed package.
        text: first sentence of its docstring, or of its module's.
        papers: arXiv ids in its docstring, or else in its module's.
    """
    name: str
    room: str
    origin: str
    text: str
    papers: tuple[str, ...]


def list_parts(room: str | None = None) -> list[Part]:
    """Return all Parts, or those of one room, by room and name; plugins have to be loaded before, but for installed
    packages.

    Raises:
        InputError: the room does not exist.
    """
    if room is not None and room not in ALL:
        raise InputError(f'`{room}` is not a room.{closest(room, ALL)} Rooms: {", ".join(ALL)}.')
    load_installed()
    parts = []
    for key in ALL if room is None else [room]:
        ALL[key].import_from_location()
        parts += [_part(ALL[key], name, key) for name in sorted(ALL[key].module_dict, key=str.lower)]
    known = set(ALL.values())
    if room is None:  # what plugins gave to MMEngine's own registries
        parts += [_part(r, name, f'mmengine {r.name}') for plugin in LOADED.values()
                  for r, name in plugin.parts if r not in known]
    return parts


def _part(registry: Registry, name: str, room: str) -> Part:
    target, owner = registry.module_dict[name], find_origin(registry, name)
    if not isinstance(owner, str):
        owner = f'{owner.package} {owner.version or ""}'.strip() if owner.kind == 'installed' else _short(owner.path)
    own = target.__doc__ if inspect.isclass(target) or inspect.isfunction(target) else None
    around = getattr(sys.modules.get(getattr(target, '__module__', None) or ''), '__doc__', None)
    return Part(name, room, owner, take_first_sentence(own) or take_first_sentence(around),
                find_papers(own) or find_papers(around))


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return relative if len(relative) < len(path) else path


def take_first_sentence(text: str | None) -> str:
    """Return the first sentence of a docstring on one line, '' where there is none."""
    paragraph = ' '.join(inspect.cleandoc(text or '').split('\n\n')[0].split())
    return re.split(r'(?<=[.!?]) +(?=[^a-z\d])', paragraph)[0]


def find_papers(text: str | None) -> tuple[str, ...]:
    """Return the arXiv ids in a text, each once."""
    return tuple(dict.fromkeys(PAPER.findall(text or '')))
