"""Folders that `save_pretrained` writes, packaged ones (`dtbox://NAME`) among them: their kind, whether their files are
those that were written, where their text tokenizer lies, and the config that a packaged one was trained by."""
from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from dtbox.checksums import compute_sha256
from dtbox.errors import InputError, at
from dtbox.packaged import find_packaged_path
from dtbox.runs import RunFolder, choose_run_folder, name_run
from dtbox.weights.model_folders import read_json
from dtbox.weights.state_dicts import ZOO, find_local_path, find_zoo

CONFIG = 'config.json'
WEIGHTS = 'model.safetensors'
WORDS, WORDS_CONFIG = 'tokenizer.json', 'tokenizer_config.json'
LANGUAGE = 'language_model'
"""Folder of the language model and its text tokenizer, in that of a multimodal language model."""
KIND, MLLM_KIND = 'dtbox', 'dtbox-mllm'
"""`model_type` of the folder of a tokenizer and of a multimodal language model."""
HINTS = {KIND: ', a multimodal language model: this is a tokenizer.',
         MLLM_KIND: ', a tokenizer: this is a multimodal language model, which dtbox.load opens.'}
"""What the message says to the kind that a folder is, where another one was expected."""
FORMAT = 1
SUMS = 'sha256'
"""Entry of config.json: file -> SHA-256; that of config.json itself is of its other values."""
CARD = 'README.md'
_RECIPE = re.compile(r', config `([^`\n]+)`; packed by')
"""What the model card of a packaged model says of its config."""


def find_model_folder(name: str) -> str:
    """Return the folder of a packaged model, `dtbox://NAME`, or the path of `package://MODULE/FILE`; leave everything
    else as it is.

    Raises:
        InputError: no such model or file, or towers alone.
    """
    if not name.startswith(ZOO):
        return find_local_path(name)
    folder = os.path.dirname(find_local_path(f'{ZOO}{name[len(ZOO):].rstrip("/")}'))
    if not is_pretrained(folder):
        raise InputError(f'{name} is a pair of towers of images and texts: a recipe starts from it, and it has no '
                         'codes. Give the name of a tokenizer or of a multimodal language model.')
    return folder


def is_pretrained(folder: str | os.PathLike) -> bool:
    """Whether a folder is one that `save_pretrained` wrote, and no run."""
    return os.path.isfile(os.path.join(folder, CONFIG)) and not RunFolder(folder).has_config()


def read_config_of(folder: str | os.PathLike) -> dict[str, Any]:
    """Return config.json of a folder."""
    with at('folder'):
        return read_json(os.path.join(folder, CONFIG))


def read_kind_of(folder: str | os.PathLike) -> Any:
    """Return the `model_type` of a folder."""
    return read_config_of(folder).get('model_type')


def list_files(folder: str | os.PathLike) -> list[str]:
    """Return the files of a folder but config.json, at any depth, by their names within it; links are left out, but for
    those of a snapshot in the cache of the Hugging Face hub, whose files lie in the folder `blobs` beside it."""
    found = []
    blobs = os.path.realpath(os.path.join(folder, '..', '..', 'blobs'))
    for place, _, names in os.walk(os.fspath(folder)):
        paths = [os.path.join(place, name) for name in names]
        found += [os.path.relpath(path, folder) for path in paths if os.path.isfile(path)
                  and (not os.path.islink(path) or os.path.dirname(os.path.realpath(path)) == blobs)]
    return sorted(name.replace(os.sep, '/') for name in found if name != CONFIG)


def hash_values(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the values of a config, however they are laid out."""
    plain = {key: value for key, value in config.items() if key != SUMS}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def check_sums(folder: str | os.PathLike, config: Mapping[str, Any], names: Iterable[str] = (WEIGHTS, WORDS)) -> None:
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


def find_text_tokenizer(folder: str) -> str:
    """Return where the text tokenizer of a folder lies: in `LANGUAGE`, which transformers reads by itself, or, of
    folders of an older dtbox and of other models, in the folder itself.

    Raises:
        InputError: both have one, and they differ.
    """
    inner = os.path.join(folder, LANGUAGE)
    if not os.path.isfile(os.path.join(inner, WORDS)):
        return folder
    for name in (WORDS, WORDS_CONFIG):
        paths = [os.path.join(place, name) for place in (inner, folder)]
        if all(map(os.path.isfile, paths)) and len({hash_values(read_json(path)) for path in paths}) > 1:
            raise InputError(f'{paths[0]} and {paths[1]} are different text tokenizers (SHA-256 of their values). '
                             f'Remove the one in {folder}, which dtbox does not write there.')
    return inner


# ---- packaged models and their configs ------------------------------------------------------------------------------

def read_recipe(folder: str | os.PathLike) -> str:
    """Return the config that the model card of a folder names, such as configs/mllm_twemoji.py; '' where none does."""
    path = os.path.join(folder, CARD)
    if not os.path.isfile(path):
        return ''
    with open(path, encoding='utf-8', errors='replace') as file:
        match = _RECIPE.search(file.read(10_000))
    return match[1] if match else ''


def find_recipe(folder: str) -> str:
    """Return the path of the config that a packaged model was trained by.

    Raises:
        InputError: a folder that names none.
    """
    name = read_recipe(folder)
    path = find_packaged_path(name) if name else None
    if path is None:
        raise InputError(f'{folder} is a folder that save_pretrained wrote, or another model folder: it has weights '
                         'and a config.json, but not the config of a run. dtbox.load opens it; what needs data, a '
                         'teacher or a log needs the run folder, or a config and this folder as its checkpoint (`dtbox '
                         'test CONFIG FOLDER`).')
    return path


def suggest_model(name: str) -> str:
    """Return a hint for the name of a config, or of a packaged model, that stands where a trained model is expected:
    the run of it, or the packaged model; '' where there is none."""
    stem = name_run(name)
    run = choose_run_folder(f'{stem}.py')
    if run.has_checkpoint() and os.path.abspath(run.path) != os.path.abspath(name):
        return f' The run of that config is {run.path}.'
    for place in sorted(find_zoo().iterdir(), key=lambda place: place.name):
        recipe = read_recipe(str(place))
        if is_pretrained(str(place)) and (recipe and stem == name_run(recipe) or stem == place.name):
            return f' Did you mean {ZOO}{place.name}, the packaged model of {recipe or stem}?'
    return ''
