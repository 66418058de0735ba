"""What a file or folder of weights is that a converter refuses, as the names of its tensors tell."""
from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import Any

import torch

from dtbox.converters.projects import Project, recognize
from dtbox.errors import InputError
from dtbox.weights.model_folders import read_json
from dtbox.weights.renaming import KeysError
from dtbox.weights.torch_files import load_structure

SUFFIXES = ('.safetensors', '.pt', '.pth', '.bin', '.ckpt')
INDEX = '.index.json'
DEPTH = 4
"""How deep entries of a file may hold weights: {'trainer': {'unitok': {name: tensor}}} is three deep."""


def list_names(src: str | os.PathLike) -> list[str]:
    """Return the names of the tensors in a file, or in the files of weights of a folder and of the folders in it.

    Tensors are not read: safetensors by their header, other files mapped. Files that cannot be read as tensors alone
    have no names here; nothing is raised.
    """
    src = os.fspath(src)
    if os.path.isdir(src):
        places = [src, *(entry.path for entry in os.scandir(src) if entry.is_dir())]
        files = sorted(os.path.join(place, name) for place in places for name in os.listdir(place))
    else:
        files = [src]
    names = [name for file in files if file.endswith((*SUFFIXES, INDEX)) or file == src for name in _read_names(file)]
    return list(dict.fromkeys(names))


def _read_names(path: str) -> list[str]:
    try:
        if path.endswith(INDEX):
            return [str(name) for name in read_json(path).get('weight_map') or ()]
        if path.endswith('.safetensors'):
            from safetensors import safe_open
            with safe_open(path, 'pt') as file:
                return list(file.keys())
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = load_structure(path)
        return list(_walk(content))
    except Exception:  # whatever an odd file leads to: the converter has said already what is wrong
        return []


def _walk(content: Any, depth: int = DEPTH) -> Iterator[str]:
    """Yield the names of tensors in nested dicts, without those of the entries that hold them."""
    if isinstance(content, dict) and depth:
        for name, value in content.items():
            if isinstance(value, torch.Tensor) and isinstance(name, str):
                yield name
            else:
                yield from _walk(value, depth - 1)


def explain_refusal(error: InputError, kind: str, src: str | os.PathLike) -> InputError:
    """Return an error of a converter with what the source looks like, where that is known.

    Args:
        error: of the converter of `kind`.
        kind: that was asked for.
        src: what it was asked to convert.

    Returns:
        the same error; or one that also names the projects whose layout the source has, and the kinds that read
        them, or says that it is of this kind in another version.
    """
    found = recognize(list_names(src))
    own = [project for project in found if project.kind == kind]
    if found and not own:
        hint = f'It looks like {name_projects(found)}: {suggest_kinds(found)}.'
    elif own and isinstance(error, KeysError):
        hint = f'It looks like {name_projects(own)}, in another version than those that this converter knows.'
    else:
        return error
    hinted = type(error).__new__(type(error), f'{error.message} {hint}')
    hinted.__dict__.update(error.__dict__, message=f'{error.message} {hint}')
    return hinted


def name_projects(projects: tuple[Project, ...] | list[Project]) -> str:
    """Return the names of projects as 'A (OWNER/NAME) or B (OWNER/NAME)'."""
    return ' or '.join(f'{project.name} ({project.source})' for project in projects)


def suggest_kinds(projects: tuple[Project, ...] | list[Project]) -> str:
    """Return which commands read projects, or that none does."""
    from dtbox.converters.kinds import KINDS
    kinds = [kind for kind in dict.fromkeys(project.kind for project in projects) if kind in KINDS]
    return ' or '.join(f'`dtbox convert {kind}`' for kind in kinds) or 'no kind of `dtbox convert` reads that'
