"""Weights in a model's folder, as Hugging Face, open_clip and timm lay it out: one file, or shards with an index; and
from the hub."""
from __future__ import annotations

import os
from typing import Any, Callable

import torch
from mmengine.logging import print_log

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.files import parse_json
from dtbox.weights.entries import name_entry, split_entry
from dtbox.weights.hub import HUB, TIMM_HUB, fetch_snapshot, find_cached, read_hub_name
from dtbox.weights.state_dicts import load_state

FILES = ('model.safetensors', 'open_clip_model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin',
         'open_clip_pytorch_model.bin', 'pytorch_model.bin.index.json')
"""Names that a folder's weights have, the first one that exists is read."""
READ = ('*.json', '*.safetensors', '*.model')
"""Files that are fetched of a folder on the hub."""


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
        place: a file or `dtbox://` name (see `load_state`); a model's folder; 'hub', to fetch the model `hub`; or
            `hf://OWNER/NAME[@REVISION]` (timm's and open_clip's `hf-hub:` before a name means the same).
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
    elif place.startswith((HUB, TIMM_HUB)):
        place, own = split_entry(place)
        place, entry = fetch(HUB + place.removeprefix(HUB).removeprefix(TIMM_HUB)), entry or own
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


def load_open_clip_state(name: str | None, weights: str) -> dict[str, torch.Tensor]:
    """Load the state dict of an open_clip model.

    Args:
        name: of the model; None where it is built from sizes, which no tag has weights for.
        weights: see `load_published`, or 'hub:TAG' for weights that open_clip names by a tag and fetches.

    Raises:
        InputError: as `load_published`; a tag without a name.
    """
    if not weights.startswith('hub:'):
        return load_published(weights)[0]
    if name is None:
        raise InputError(f'`weights` is {weights!r}, a tag of open_clip, but the tower has no `name` of an open_clip '
                         'model. Give one, or the path of a file.', 'weights')
    import open_clip
    return open_clip.create_model(name, pretrained=weights[4:]).state_dict()


def fetch(hub: str) -> str:
    """Find a model's folder in the cache of the Hugging Face hub, or fetch it; returns the local folder.

    Args:
        hub: `OWNER/NAME`, or `hf://OWNER/NAME[@REVISION]`.
    """
    if not hub:
        raise InputError('which model to fetch is not known. Give its name, such as google/siglip2-base-patch16-256, '
                         'or a local folder as `weights`.')
    where = read_hub_name(hub)
    cached = find_cached(where, READ)
    if cached is not None and any(os.path.isfile(os.path.join(cached, name)) for name in FILES):
        return cached
    return fetch_snapshot(where, READ)
