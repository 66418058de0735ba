"""IBQ's published tokenizers (SEED-Voken, arXiv 2412.02692) and Emu3.5's vision tokenizer (arXiv 2510.26583) to a run
folder.

The network is VQGAN's under taming's names; the code is the row of the highest dot product. SEED-Voken's files hold
averages of the weights beside the plain ones, under `model_ema.` and names that have lost their dots; its evaluation
uses them, and so they are taken, and the log says so. Emu3.5 publishes a folder: config.yaml and model.ckpt.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from dtbox.converters import vqgan
from dtbox.converters.run_folder import Converted, check_values
from dtbox.errors import InputError, reason

QUANTIZER = dict(type='IBQ', floor=1e-5)
"""The published training adds 1e-5 inside the logarithm of the entropy."""
ENDINGS = ('.ckpt', '.safetensors', '.pt', '.pth', '.bin')
"""Of files of weights in a folder."""


def convert(src: str, weights: str | None = None, image_size: int | Sequence[int] | None = None) -> Converted:
    """Read a published IBQ tokenizer, or Emu3.5's.

    Args:
        src: SEED-Voken's .ckpt file, or Emu3.5's folder.
        weights: which of several sets of weights in the file to take; None takes the averages where there are some, and
            the log says so; `plain` takes the plain weights beside them.
        image_size: pixels, a multiple of the encoder's stride; None takes `resolution` of a folder's config, else 256.

    Raises:
        InputError: a file that is missing, damaged or of another layout; a config of other sizes than the weights.
    """
    config = read_config(src) if os.path.isdir(src) else {}
    source = find_weights(src) if os.path.isdir(src) else src
    state, directions = vqgan.read_source(source, weights)
    if directions:
        raise InputError(f'{source} has the names of LlamaGen or Janus; IBQ has those of taming-transformers. Convert '
                         'it as `vqgan` or `janus`.')
    check_values(state, source)
    sizes = vqgan.find_sizes(state, source)
    check_config(config, sizes, src)
    size = image_size or config.get('ddconfig', {}).get('resolution', 256)
    cfg = vqgan.build_tokenizer_config(sizes, False, size, QUANTIZER)
    return Converted(cfg, vqgan.map_state(state, source, 'weight'), source)


def read_config(folder: str) -> dict[str, Any]:
    """Return the entries of a folder's config.yaml among which `ddconfig` is; an empty dict where there is no file."""
    import yaml
    path = os.path.join(folder, 'config.yaml')
    if not os.path.isfile(path):
        return {}
    try:
        with open(path, encoding='utf-8') as file:
            found = _find_entries(yaml.safe_load(file))
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise InputError(f'{path} is not a YAML file ({reason(e)}).') from e
    if found is None or not isinstance(found['ddconfig'], dict):
        raise InputError(f'{path} has no entry `ddconfig`; expected the config of a tokenizer of SEED-Voken or Emu3.5.')
    return found


def _find_entries(node: Any) -> dict[str, Any] | None:
    """Return the dict that holds `ddconfig`, itself or the first below it (`model.init_args`)."""
    if not isinstance(node, dict) or 'ddconfig' in node:
        return node if isinstance(node, dict) else None
    return next((found for value in node.values() if (found := _find_entries(value))), None)


def find_weights(folder: str) -> str:
    """Return the file of weights in a folder: model.ckpt, or the only one; `InputError` where that is not clear."""
    names = sorted(name for name in os.listdir(folder) if name.endswith(ENDINGS))
    chosen = 'model.ckpt' if 'model.ckpt' in names else names[0] if len(names) == 1 else None
    if chosen is None:
        raise InputError(f'{folder} holds {", ".join(names) or "no weights"}; expected Emu3.5\'s config.yaml and '
                         'model.ckpt, or one file of weights. Give the file itself.')
    return os.path.join(folder, chosen)


def check_config(config: Mapping[str, Any], sizes: Mapping[str, Any], folder: str) -> None:
    """Raise `InputError` where config.yaml tells other sizes than the weights have."""
    network = config.get('ddconfig', {})
    pairs = [('n_embed', config, sizes['size']), ('embed_dim', config, sizes['dim']),
             ('z_channels', network, sizes['latent']), ('ch', network, sizes['channels']),
             ('ch_mult', network, sizes['multipliers']), ('num_res_blocks', network, sizes['blocks'])]
    other = [f'{name} {source[name]} in the config, {value} in the weights' for name, source, value in pairs
             if name in source and (list(source[name]) if isinstance(value, list) else source[name]) != value]
    if other:
        raise InputError(f'config.yaml and weights of {folder} do not belong together: {"; ".join(other)}.')
