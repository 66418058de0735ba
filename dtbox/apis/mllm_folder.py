"""Folders of multimodal language models: plain files that hold no code and work offline.

    config.json             parts, the tokenizer's name and hash, the SHA-256 of all files
    language_model/         a folder of transformers, by itself complete, with the text tokenizer: tokenizer.json and
                            tokenizer_config.json, its special tokens and chat template
    model.safetensors       visual embedding and visual head
    generation_config.json  see `Generation`
    visual_tokenizer/       as Tokenizer.save_pretrained writes it; absent where a packaged one is named
"""
from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dtbox import __version__
from dtbox.apis.building import limit_tensors, parse_dtype
from dtbox.apis.mllm_opening import build_mllm, place_model
from dtbox.apis.mllm_settings import Generation
from dtbox.apis.pretrained import check_new, write_config, write_weights
from dtbox.apis.tokenizer import Tokenizer
from dtbox.arguments import read_arguments, read_device, read_path
from dtbox.errors import InputError, at
from dtbox.extend import as_list, load_plugins
from dtbox.files import explain_writing, write_atomic
from dtbox.mllm.frozen_tokenizer import describe_tokenizer
from dtbox.weights.exported_folders import (
    CONFIG,
    FORMAT,
    LANGUAGE,
    MLLM_KIND,
    WEIGHTS,
    check_kinds,
    check_sums,
    list_files,
)
from dtbox.weights.hub_models import find_pretrained
from dtbox.weights.model_folders import load_published, read_json
from dtbox.weights.state_dicts import ZOO, load_into

VISUAL = 'visual_tokenizer'
GENERATION = 'generation_config.json'
LM = 'lm.'
"""What the names of the language model's weights begin with."""
TRAINING_ONLY = ('config', 'pretrained', 'lora', 'recompute', 'dtype')
"""Entries of `lm` in a recipe that its folder answers, or that only training needs."""


def save_mllm_folder(model: Any, config: Mapping[str, Any], generation: Generation, folder: str | os.PathLike) -> None:
    """Write a multimodal language model as a folder that `open_mllm_folder` reads.

    Args:
        model: MultimodalLM; weights are written in the types that they have.
        config: dict(lm, sequence, visual_embedding, visual_head) that it was built from.
        generation: defaults of drawing and answering.
        folder: new or empty.

    Raises:
        InputError: a folder that is not empty or cannot be written to, a tokenizer whose config is not known.
    """
    check_new(folder)
    frozen = model.tokenizer
    parts = json.loads(json.dumps({name: value for name, value in config.items() if name != 'tokenizer'}))
    parts['lm'] = {key: value for key, value in parts['lm'].items() if key not in TRAINING_ONLY}
    for name in ('tokenizer', 'pack'):
        parts['sequence'].pop(name, None)
    packaged = frozen.source.startswith(ZOO)
    about = dict(describe_tokenizer(frozen), source=frozen.source if packaged else VISUAL)
    whole = dict(model_type=MLLM_KIND, format=FORMAT, dtbox=__version__, tokenizer=about, **parts)
    with explain_writing(folder):
        os.makedirs(folder, exist_ok=True)
        model.lm.save_pretrained(os.path.join(folder, LANGUAGE))
        write_weights({name: value for name, value in model.state_dict().items() if not name.startswith(LM)}, folder)
        model.sequence.tokens.save(os.path.join(folder, LANGUAGE))
        write_atomic(os.path.join(folder, GENERATION), json.dumps(generation.to_dict(), indent=2) + '\n')
        if not packaged:
            Tokenizer(frozen.model, frozen.pipeline, frozen.config).save_pretrained(os.path.join(folder, VISUAL))
        write_config(whole, folder, list_files(folder))


@read_arguments(folder=read_path, device=read_device, dtype=parse_dtype, plugins=as_list)
def open_mllm_folder(folder: str | os.PathLike, device: str | torch.device = 'cpu',
                     dtype: str | torch.dtype = 'float32', plugins: str | Sequence[str] = (),
                     revision: str | None = None) -> tuple[Any, dict, Generation]:
    """Open a folder that `save_mllm_folder` wrote.

    Args:
        folder: local folder, or OWNER/NAME on the Hugging Face hub.
        device, dtype, plugins: as in `dtbox.load`.
        revision: branch, tag or commit on the hub.

    Returns:
        (MultimodalLM, its config, defaults): the arguments of a MultimodalModel.

    Raises:
        InputError: a missing, broken or changed file, another kind of model, a tokenizer of another hash, weights that
            do not match.
    """
    folder = find_pretrained(os.fspath(folder), revision)
    if not os.path.isdir(folder):
        raise InputError(f'the folder {folder} does not exist. Give one that save_pretrained wrote.')
    with at('folder'):
        config = read_json(os.path.join(folder, CONFIG))
    kinds = {name: (dict, 'a dict') for name in ('tokenizer', 'lm', 'sequence', 'visual_embedding')}
    check_kinds(folder, config, MLLM_KIND, kinds)
    check_sums(folder, config, list_files(folder))
    load_plugins(plugins)
    names = ('lm', 'sequence', 'visual_embedding', 'visual_head')
    parts: dict[str, Any] = {name: config[name] for name in names if name in config}
    language = os.path.join(folder, LANGUAGE)
    lm = {key: value for key, value in parts['lm'].items() if key not in TRAINING_ONLY}
    rest, source = load_published(os.path.join(folder, WEIGHTS), mapped=False)
    state = {**rest, **load_published(language)[0]}
    with limit_tensors(state, str(folder)):
        model = build_mllm(dict(
            parts, tokenizer=_find_tokenizer(folder, config['tokenizer']), lm=dict(lm, pretrained=language),
            sequence=dict(parts['sequence'], tokenizer=dict(type='PretrainedTokenizer', path=str(folder)))))
    with at('lm'):
        model.lm.init_weights()
    own = {name: value for name, value in model.state_dict().items() if name.startswith(LM)}
    load_into(model, {**own, **rest}, source)
    with at(GENERATION):
        generation = Generation.from_dict(read_json(os.path.join(folder, GENERATION)))
    return place_model(model, device, parse_dtype(dtype)), parts, generation


def _find_tokenizer(folder: str | os.PathLike, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of the frozen tokenizer that a folder names; its hash is checked when it is built."""
    source, digest = about.get('source'), about.get('digest')
    if not isinstance(digest, str) or not isinstance(source, str) or not (source == VISUAL or source.startswith(ZOO)):
        raise InputError(f'`tokenizer` of {folder}/{CONFIG} has the source {source!r:.60} and the digest '
                         f'{digest!r:.60}; expected {VISUAL!r} or a dtbox:// name, and a hash.')
    return dict(type='TrainedTokenizer', source=os.path.join(folder, VISUAL) if source == VISUAL else source,
                digest=digest)
