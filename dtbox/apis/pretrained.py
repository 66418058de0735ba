"""Folders in the manner of Hugging Face's `save_pretrained`: config.json, model.safetensors, tokenizer.json. They work offline and hold no code."""
import json
import os
import shutil

from dtbox import __version__
from dtbox.apis.loading import DTYPES, build_with, cast
from dtbox.apis.tokenizer import Tokenizer
from dtbox.errors import InputError, reason
from dtbox.files import write_atomic
from dtbox.layers.folders import load_published, read_json
from dtbox.plugins import load_plugins

CONFIG, WEIGHTS, WORDS = 'config.json', 'model.safetensors', 'tokenizer.json'
FORMAT = 1


def save_pretrained(tokenizer, folder):
    """Write a tokenizer as a folder that `from_pretrained` opens.

    Args:
        tokenizer: Tokenizer, as `dtbox.load` or `from_pretrained` returns it.
        folder: new or empty; weights are written in the types that they have.

    Raises:
        InputError: a folder that is not empty, a tokenizer whose config is not known.
    """
    from safetensors.torch import save_file
    if tokenizer.config is None:
        raise InputError('this Tokenizer was not opened by dtbox.load or from_pretrained, so its config is not known.')
    if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise InputError(f'{folder} is not an empty folder. Give one that is new, so that nothing is overwritten.')
    os.makedirs(folder, exist_ok=True)
    config = json.loads(json.dumps(tokenizer.config))
    words = (config['tokenizer'].get('text') or {}).get('tokenizer') or {}
    own = getattr(tokenizer.model.text, 'tokenizer', None)
    if own is not None and own.file:
        shutil.copyfile(own.file, os.path.join(folder, WORDS))
        words['file'] = WORDS
    state = {k: v.detach().cpu().contiguous().clone() for k, v in tokenizer.model.state_dict().items()}
    save_file(state, os.path.join(folder, WEIGHTS), metadata=dict(format='pt', dtbox=__version__))
    write_atomic(os.path.join(folder, CONFIG), json.dumps(dict(model_type='dtbox', format=FORMAT, dtbox=__version__, **config), indent=2) + '\n')


def from_pretrained(folder, device='cpu', dtype='float32', plugins=()):
    """Open a folder that `save_pretrained` wrote.

    Args:
        folder: local folder.
        device, dtype, plugins: as in `dtbox.load`.

    Returns:
        Tokenizer.

    Raises:
        InputError: a missing or broken file, another kind of model, weights that do not match.
    """
    if not os.path.isdir(folder):
        raise InputError(f'the folder {folder} does not exist. Give one that save_pretrained or tools/export.py wrote.')
    config = read_json(os.path.join(folder, CONFIG))
    if config.get('model_type') != 'dtbox':
        raise InputError(f'{folder}/{CONFIG} is of the model_type {config.get("model_type")!r}; expected \'dtbox\'.')
    if config['format'] > FORMAT:
        raise InputError(f'{folder} has format {config["format"]}; this version of dtbox reads up to {FORMAT}. Install a newer dtbox.')
    dtype = DTYPES.get(dtype, dtype)
    if dtype not in DTYPES.values():
        raise InputError(f'`dtype` is {dtype!r}; expected one of {", ".join(DTYPES)}.')
    load_plugins(plugins)
    words = (config['tokenizer'].get('text') or {}).get('tokenizer') or {}
    if words.get('file') == WORDS:
        words['file'] = os.path.join(folder, WORDS)
    state, source = load_published(os.path.join(folder, WEIGHTS))
    model = build_with({'type': 'VisualTokenizer', **config['tokenizer']}, state, source)
    try:
        model = cast(model, dtype).to(device).eval().requires_grad_(False)
    except (RuntimeError, AssertionError) as e:
        raise InputError(f'the model cannot be moved to the device {device!r}: {reason(e)}') from e
    return Tokenizer(model, config['pipeline'], dict(tokenizer=config['tokenizer'], pipeline=config['pipeline']))
