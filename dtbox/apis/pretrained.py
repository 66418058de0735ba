"""Folders in the manner of Hugging Face's `save_pretrained`: config.json, model.safetensors, tokenizer.json. They work
offline and hold no code."""
from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from dtbox import __version__
from dtbox.apis.building import check_pipeline, parse_dtype
from dtbox.apis.opening import open_tokenizer
from dtbox.arguments import read_arguments, read_device, read_path
from dtbox.checksums import compute_sha256
from dtbox.errors import InputError, at
from dtbox.extend import as_list, load_plugins
from dtbox.files import explain_writing, replacing, write_atomic
from dtbox.runs import RunFolder
from dtbox.tokenizers.visual import VisualTokenizer
from dtbox.weights.exported_folders import (
    CONFIG,
    FORMAT,
    KIND,
    SUMS,
    WEIGHTS,
    WORDS,
    check_kinds,
    check_sums,
    hash_values,
)
from dtbox.weights.hub_models import find_pretrained
from dtbox.weights.model_folders import read_json


def save_pretrained(tokenizer: Any, folder: str | os.PathLike) -> None:
    """Write a tokenizer as a folder that `open_pretrained` reads.

    Args:
        tokenizer: Tokenizer, as `dtbox.load` or `from_pretrained` returns it.
        folder: new or empty; weights are written in the types that they have.

    Raises:
        InputError: a folder that is not empty or cannot be written to, a tokenizer whose config is not known.
    """
    if tokenizer.config is None:
        raise InputError('this Tokenizer was not opened by dtbox.load or from_pretrained, so its config is not known.')
    check_new(folder)
    config = json.loads(json.dumps(tokenizer.config))
    words = (config['tokenizer'].get('text') or {}).get('tokenizer') or {}
    own = getattr(tokenizer.model.text, 'tokenizer', None)
    if own is not None and own.file:
        words['file'] = WORDS
    config = dict(model_type=KIND, format=FORMAT, dtbox=__version__, **config)
    with explain_writing(folder):
        os.makedirs(folder, exist_ok=True)
        if own is not None and own.file:
            with replacing(os.path.join(folder, WORDS)) as temporary:
                shutil.copyfile(own.file, temporary)
        write_weights(tokenizer.model.state_dict(), folder)
        write_config(config, folder, (WEIGHTS, WORDS))


def check_new(folder: str | os.PathLike) -> None:
    """Raise `InputError` unless a folder is new or empty."""
    if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise InputError(f'{folder} is not an empty folder. Give one that is new, so that nothing is overwritten.')


def write_weights(state: Mapping[str, torch.Tensor], folder: str | os.PathLike) -> None:
    """Write the tensors of a state dict as model.safetensors."""
    from safetensors.torch import save_file
    state = {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}
    with replacing(os.path.join(folder, WEIGHTS)) as temporary:
        save_file(state, temporary, metadata=dict(format='pt', dtbox=__version__))


def write_config(config: dict, folder: str | os.PathLike, names: Iterable[str]) -> None:
    """Write config.json, with the SHA-256 of its values and of those of the files `names` that exist."""
    sums = {name: compute_sha256(os.path.join(folder, name)) for name in names
            if os.path.isfile(os.path.join(folder, name))}
    config = {**config, SUMS: {**sums, CONFIG: hash_values(config)}}
    write_atomic(os.path.join(folder, CONFIG), json.dumps(config, indent=2) + '\n')


@read_arguments(folder=read_path, device=read_device, dtype=parse_dtype, plugins=as_list)
def open_pretrained(folder: str | os.PathLike, device: str | torch.device = 'cpu', dtype: str | torch.dtype = 'float32',
                    plugins: str | Sequence[str] = (),
                    revision: str | None = None) -> tuple[VisualTokenizer, list[dict], dict]:
    """Open a folder that `save_pretrained` wrote.

    Args:
        folder: local folder, or OWNER/NAME on the Hugging Face hub.
        device, dtype, plugins: as in `dtbox.load`.
        revision: branch, tag or commit on the hub.

    Returns:
        (VisualTokenizer, configs of its evaluation transform, config): the arguments of a Tokenizer.

    Raises:
        InputError: a missing, broken or changed file, another kind of model, weights that do not match.
    """
    folder = find_pretrained(os.fspath(folder), revision)
    if RunFolder(folder).has_config():
        raise InputError(f'{folder} is a run folder: open it with dtbox.load.', 'folder')
    if not os.path.isdir(folder):
        raise InputError(f'the folder {folder} does not exist. Give one that save_pretrained or `dtbox export` wrote.')
    config = read_tokenizer_config(folder)
    check_sums(folder, config)
    load_plugins(plugins)
    find_words(config['tokenizer'], folder)
    cfg = dict(model=dict(tokenizer=config['tokenizer']))
    model = open_tokenizer(cfg, os.path.join(folder, WEIGHTS), device, dtype).model
    return model, config['pipeline'], dict(tokenizer=config['tokenizer'], pipeline=config['pipeline'])


def read_tokenizer_config(folder: str | os.PathLike) -> dict:
    """Return config.json of a tokenizer's folder; `InputError` for another kind of folder."""
    with at('folder'):
        config = read_json(os.path.join(folder, CONFIG))
    check_kinds(folder, config, KIND, dict(tokenizer=(dict, 'a dict'), pipeline=(list, 'a list of steps')))
    check_pipeline(config['pipeline'], 'pipeline')
    return config


def find_words(tokenizer: dict, folder: str | os.PathLike) -> None:
    """Let the config of a tokenizer name the text tokenizer that lies in its folder by its whole path."""
    text = tokenizer.get('text')
    words = text.get('tokenizer') if isinstance(text, dict) else None
    if isinstance(words, dict) and words.get('file') == WORDS:
        words['file'] = os.path.join(folder, WORDS)
