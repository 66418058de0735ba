"""Folders in the manner of Hugging Face's `save_pretrained`: config.json, model.safetensors, tokenizer.json. They work
offline and hold no code."""
from __future__ import annotations

import hashlib
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
from dtbox.weights.model_folders import read_json

CONFIG = 'config.json'
WEIGHTS = 'model.safetensors'
WORDS = 'tokenizer.json'
KIND, MLLM_KIND = 'dtbox', 'dtbox-mllm'
"""`model_type` of the folder of a tokenizer and of a multimodal language model."""
HINTS = {KIND: ', a multimodal language model: this is a tokenizer.',
         MLLM_KIND: ', a tokenizer: this is a multimodal language model, which dtbox.load opens.'}
"""What the message says to the kind that a folder is, where another one was expected."""
FORMAT = 1
SUMS = 'sha256'
"""Entry of config.json: file -> SHA-256; that of config.json itself is of its other values."""


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


def hash_values(config):
    """Return the SHA-256 of the values of a config, however they are laid out."""
    plain = {key: value for key, value in config.items() if key != SUMS}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def check_sums(folder: str | os.PathLike, config: dict, names: Iterable[str] = (WEIGHTS, WORDS)) -> None:
    """Compare the files of a folder with the SHA-256 that its config carries; folders of an older dtbox carry none.
    Half a second for each gigabyte.

    Raises:
        InputError: a file that is not the one that was exported.
    """
    sums = config.get(SUMS, {})
    if not isinstance(sums, dict):
        raise InputError(f'`{SUMS}` of {folder}/{CONFIG} is {sums!r:.60}; expected a dict of file -> SHA-256.')
    for name in (CONFIG, *names):
        path = os.path.join(folder, name)
        if name in sums and os.path.isfile(path):
            found = hash_values(config) if name == CONFIG else compute_sha256(path)
            if found != sums[name]:
                raise InputError(f'{path} is not the file that was exported: its SHA-256 is not that of `{SUMS}` in '
                                 f'{CONFIG}. It is half downloaded, or a disk or a copy has changed it: take another '
                                 f'copy of the folder. If you have changed it yourself, take {name} out of `{SUMS}`.')


def is_pretrained(folder: str | os.PathLike) -> bool:
    """Whether a folder is one that `save_pretrained` wrote, and no run."""
    return os.path.isfile(os.path.join(folder, CONFIG)) and not RunFolder(folder).has_config()


def check_kinds(folder: str | os.PathLike, config: Mapping[str, Any], kind: str,
                entries: Mapping[str, tuple[type, str]]) -> None:
    """Raise `InputError` unless a folder's config is of a kind and format that can be read.

    Args:
        folder: for the message.
        config: of config.json.
        kind: its `model_type`.
        entries: further entry -> (its class, what a message calls that).
    """
    found = config.get('model_type')
    if found != kind:
        raise InputError(f'{folder}/{CONFIG} is of the model_type {found!r:.60}; expected {kind!r}'
                         f'{HINTS.get(found, ".") if isinstance(found, str) else "."}')
    for key, (cls, what) in dict(format=(int, 'a number'), **entries).items():
        if not isinstance(config.get(key), cls):
            raise InputError(f'`{key}` of {folder}/{CONFIG} is {config.get(key)!r:.60}; expected {what}, as '
                             'save_pretrained writes it.')
    if config['format'] > FORMAT:
        raise InputError(f'{folder} has format {config["format"]}; this version of dtbox reads up to {FORMAT}. '
                         'Install a newer dtbox.')


def read_kind_of(folder: str | os.PathLike) -> Any:
    """Return the `model_type` of a folder."""
    with at('folder'):
        return read_json(os.path.join(folder, CONFIG)).get('model_type')


@read_arguments(folder=read_path, device=read_device, dtype=parse_dtype, plugins=as_list)
def open_pretrained(folder: str | os.PathLike, device: str | torch.device = 'cpu', dtype: str | torch.dtype = 'float32',
                    plugins: str | Sequence[str] = ()) -> tuple[VisualTokenizer, list[dict], dict]:
    """Open a folder that `save_pretrained` wrote.

    Args:
        folder: local folder.
        device, dtype, plugins: as in `dtbox.load`.

    Returns:
        (VisualTokenizer, configs of its evaluation transform, config): the arguments of a Tokenizer.

    Raises:
        InputError: a missing, broken or changed file, another kind of model, weights that do not match.
    """
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
