"""Weights in a model's folder, as Hugging Face, open_clip and timm lay it out: one file, or shards with an index; and
from the hub."""
from __future__ import annotations

import os
from typing import Any, Callable

import torch
from mmengine.logging import print_log

from dtbox.counts import format_count
from dtbox.errors import InputError, reason
from dtbox.files import parse_json
from dtbox.weights.entries import name_entry
from dtbox.weights.state_dicts import load_state

FILES = ('model.safetensors', 'open_clip_model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin',
         'open_clip_pytorch_model.bin', 'pytorch_model.bin.index.json', 'diffusion_pytorch_model.safetensors',
         'diffusion_pytorch_model.bin')
"""Names that a folder's weights have, the first one that exists is read."""


def read_json(path: str) -> dict[str, Any]:
    """Read a JSON file that holds an object; `InputError` where it is missing, broken or holds something else."""
    if not os.path.isfile(path):
        raise InputError(f'{path} does not exist.')
    try:
        with open(path, encoding='utf-8') as f:
            values = parse_json(f.read())
    except ValueError as e:
        raise InputError(f'{path} is not a JSON file: {e}') from e
    if not isinstance(values, dict):
        raise InputError(f'{path} holds a {type(values).__name__}; expected a JSON object.')
    return values


def load_published(place: str, keep: Callable[[str], bool] | None = None, hub: str = '', mapped: bool = True,
                   entry: str = '') -> tuple[dict[str, torch.Tensor], str]:
    """Load weights from a file, a folder or the hub.

    Args:
        place: a file or `dtbox://` name (see `load_state`); a model's folder; or 'hub', to fetch the model `hub`.
        keep, mapped: which keys to return, and whether their file may stay mapped, as in `load_state`.
        hub: Hugging Face's name of the model.
        entry: which of several sets of weights in the file of a folder to take (see `dtbox.weights.entries`).

    Returns:
        (dict name -> tensor, the path that they came from).

    Raises:
        InputError: a folder without weights, shards that are missing, files that cannot be read, a hub that cannot be
            reached.
    """
    if place == 'hub':
        place = fetch(hub)
    if not os.path.isdir(place):
        return load_state(place, keep, mapped), place
    names = [n for n in FILES if os.path.isfile(os.path.join(place, n))]
    if not names:
        raise InputError(f'{place} holds no weights: expected one of {", ".join(FILES)}; there are: '
                         f'{", ".join(sorted(os.listdir(place))[:12]) or "no files"}.')
    path = os.path.join(place, names[0])
    if len(names) > 1:
        print_log(f'{place} holds {", ".join(names)}; the weights are those of {names[0]}.', 'current')
    if not path.endswith('.index.json'):
        return load_state(name_entry(path, entry), keep, mapped), path
    table = read_json(path).get('weight_map')
    if not isinstance(table, dict) or not all(isinstance(file, str) for file in table.values()):
        raise InputError(f'{path} has no `weight_map` of name -> file; expected Hugging Face\'s index of shards.')
    files = sorted({file for key, file in table.items() if keep is None or keep(key)})
    gone = [f for f in files if not os.path.isfile(os.path.join(place, f))]
    if gone:
        raise InputError(f'{path} names shards that are not there: {", ".join(gone)}. Fetch them; the download may '
                         'have been cut short.')
    state = {}
    for file in files:
        state.update(load_state(os.path.join(place, file), keep, mapped))
    lost = [k for k in table if (keep is None or keep(k)) and k not in state]
    if lost:
        raise InputError(f'{path} names {format_count(len(lost), "tensor")} that none of its shards holds, such '
                         f'as {lost[0]}. Fetch the folder again.')
    return state, path


def fetch(hub: str) -> str:
    """Fetch a model's folder from the Hugging Face hub, or find it in its cache; returns the local folder."""
    if not hub:
        raise InputError('which model to fetch is not known. Give its name, such as google/siglip2-base-patch16-256, '
                         'or a local folder as `weights`.')
    try:
        from huggingface_hub import snapshot_download
        return snapshot_download(hub, allow_patterns=['*.json', '*.safetensors', '*.model'])
    except Exception as e:
        raise InputError(f'{hub} cannot be fetched from the Hugging Face hub ({reason(e)}). Download its config.json, '
                         'model.safetensors and tokenizer.json elsewhere, and give their folder as `weights`.') from e
