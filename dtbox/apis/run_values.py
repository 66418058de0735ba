"""The config of a run as plain values, for another config that takes entries of it (`'${run:model.tokenizer}'`)."""
from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dtbox.apis.loading import open_config
from dtbox.apis.opening import TOKENIZER, check_use, find_use
from dtbox.apis.pretrained import find_words, read_tokenizer_config
from dtbox.errors import InputError
from dtbox.weights.exported_folders import find_recipe, is_pretrained, read_recipe, suggest_model
from dtbox.weights.hub_models import find_model


def read_run_values(run: str) -> dict[str, Any]:
    """Return the resolved config of a tokenizer's run. Its `model.tokenizer` starts from no files: the weights are
    those of the run, which `load_from` loads.

    Args:
        run: run folder, checkpoint in one, converted weights, folder of `save_pretrained` (of which `model.tokenizer`
            is all there is), packaged model (`dtbox://NAME`, with the config that it was trained by), or
            `hf://OWNER/NAME`.

    Raises:
        InputError: no such run, or one of another model than a tokenizer.
    """
    folder = find_model(run)
    if not os.path.exists(folder):
        raise InputError(f'the run {run} does not exist.{suggest_model(run)} Give a run folder, converted weights, a '
                         'folder of save_pretrained, a packaged model (dtbox://NAME), or one on the hub '
                         '(hf://OWNER/NAME).')
    values: dict[str, Any]
    if is_pretrained(folder):
        own = read_tokenizer_config(folder)['tokenizer']
        find_words(own, os.path.abspath(folder))
        trained = open_config(find_recipe(folder), folder)[0]._cfg_dict.to_dict() if read_recipe(folder) else {}
        values = {**trained, 'model': {'type': 'TokenizerTask', **(trained.get('model') or {}), 'tokenizer': own}}
    else:
        cfg = open_config(folder)[0]
        check_use(find_use(cfg), TOKENIZER, run)
        values = cfg._cfg_dict.to_dict()
    drop_files(values['model']['tokenizer'])
    return values


def drop_files(tokenizer: dict[str, Any]) -> None:
    """Take out of the config of a tokenizer, in place, the files that its parts start from."""
    for part in (*(tokenizer.get('encoders') or {}).values(), tokenizer.get('text')):
        if isinstance(part, dict) and part.get('weights') is not None:
            part['weights'] = None
    for part in (*(tokenizer.get('vocabularies') or {}).values(), tokenizer.get('quantizers')):
        _drop_starts(part)


def _drop_starts(node: Any) -> None:
    """Take out the codebook starts that read a file, below a part of a config."""
    if not isinstance(node, Mapping):
        return
    for key, value in node.items():
        if key == 'start' and isinstance(value, dict) and value.get('file') is not None:
            node[key] = None  # type: ignore[index]
        else:
            _drop_starts(value)
