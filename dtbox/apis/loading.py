"""Open a run: its tokenizer for use from Python, or the model with its held-out data for evaluation."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config

from dtbox import trust
from dtbox.apis.building import check_pipeline, parse_dtype
from dtbox.apis.mllm import MultimodalModel
from dtbox.apis.mllm_opening import PARTS, open_mllm_run
from dtbox.apis.mllm_settings import Generation
from dtbox.apis.opening import MLLM, TOKENIZER, check_use, find_use, open_tokenizer
from dtbox.apis.tokenizer import Tokenizer
from dtbox.arguments import allow_none, read_arguments, read_device, read_flag, read_options, read_path
from dtbox.config import load_config, resolve, use_own_tokenizer
from dtbox.errors import InputError, at
from dtbox.extend import as_list
from dtbox.runs import CHECKPOINT_SUFFIXES, RunFolder, find_run_of
from dtbox.weights.exported_folders import (
    MLLM_KIND,
    WEIGHTS,
    check_sums,
    find_recipe,
    is_pretrained,
    list_files,
    read_config_of,
    read_kind_of,
    suggest_model,
)
from dtbox.weights.hub_models import find_model


@read_arguments(run=read_path, checkpoint=allow_none(read_path), device=read_device, dtype=parse_dtype, plugins=as_list,
                trust_remote_code=read_flag)
def load(run: str | os.PathLike, checkpoint: str | os.PathLike | None = None, device: str | torch.device = 'cpu',
         dtype: str | torch.dtype = 'float32', plugins: str | Sequence[str] = (),
         trust_remote_code: bool = False) -> Tokenizer | MultimodalModel:
    """Open a trained tokenizer or a multimodal language model.

    Args:
        run: run folder; or a config file, together with `checkpoint`; or a folder that `save_pretrained` wrote; or
            `dtbox://NAME`, a packaged one; or `hf://OWNER/NAME[@REVISION]`, one on the Hugging Face hub, from the local
            cache where it is there.
        checkpoint: checkpoint file; None takes the run folder's checkpoint.pth.
        device: torch device or its name.
        dtype: 'float32', 'bfloat16', 'float16' or the torch dtype; codebooks stay float32, codes are always found in
            it.
        plugins: plugins that the config does not name, or has at a place where they no longer are: folders, files or
            modules.
        trust_remote_code: run plugins that lie in the run folder, and Python in its config. Without it the folder is
            data: opening that of a stranger runs nothing of theirs.

    Returns:
        Tokenizer; or MultimodalModel, of a run that trained one. A plugin whose content has changed since training is
        warned of.

    Raises:
        InputError: a missing file or plugin, a checkpoint of another model, an unknown dtype.
    """
    run = find_folder(str(run))
    if is_pretrained(run):
        if checkpoint is not None:
            raise InputError(f'got {checkpoint}, but {run} is a folder that save_pretrained wrote and has its own '
                             'weights. Leave the checkpoint out.', 'checkpoint')
        kind: Any = MultimodalModel if read_kind_of(run) == MLLM_KIND else Tokenizer
        return kind.from_pretrained(run, device, dtype, plugins)
    with trust.trust_remote_code(trust_remote_code):
        cfg, path = open_config(run, checkpoint, plugins=plugins)
        use = find_use(cfg)
    return (_load_mllm if use == MLLM else _load_tokenizer)(cfg, path, device, dtype)


def _load_tokenizer(cfg: Config, path: str, device: str | torch.device, dtype: str | torch.dtype) -> Tokenizer:
    model = open_tokenizer(cfg, path, device, dtype).model
    pipeline = [dict(step) for step in choose_eval_pipeline(cfg, model.image_size)]
    return Tokenizer(model, pipeline, dict(tokenizer=make_plain(cfg.model.tokenizer), pipeline=pipeline))


def _load_mllm(cfg: Config, path: str, device: str | torch.device, dtype: str | torch.dtype) -> MultimodalModel:
    model = open_mllm_run(cfg, path, device, dtype)
    parts = {name: make_plain(cfg.model[name]) for name in PARTS if cfg.model.get(name) is not None}
    generation = Generation.from_evaluation(cfg.model.get('evaluation'), bool(model.sequence.drop))
    return MultimodalModel(model, parts, generation)


def make_plain(values: Any) -> dict:
    """Return an entry of a config as a plain dict."""
    return values.to_dict() if hasattr(values, 'to_dict') else dict(values)


def load_as(use: str, run: str, *args: Any, **kwargs: Any) -> Any:
    """Open a run as `load` does, with its arguments; `InputError` where it is not what `use` says (see `find_use`)."""
    opened = load(run, *args, **kwargs)
    check_use(opened.use, use, run)
    return opened


def find_folder(run: str) -> str:
    """Return the folder of a model by its name, packaged (`dtbox://NAME`) or on the hub (`hf://OWNER/NAME`); leave
    everything else as it is."""
    with at('run'):
        return find_model(run)


@read_arguments(run=read_path, checkpoint=allow_none(read_path), options=allow_none(read_options), plugins=as_list)
def open_config(run: str | os.PathLike, checkpoint: str | os.PathLike | None = None,
                options: Mapping[str, Any] | None = None, plugins: str | Sequence[str] = ()) -> tuple[Config, str]:
    """Return (resolved config, path of the weights) of a run folder, here or on the hub, of a packaged model,
    `dtbox://NAME`, whose config is that of its training, or of a config and a checkpoint, which may be a folder of
    `save_pretrained`; see `load_config`."""
    run, checkpoint = find_folder(str(run)), None if checkpoint is None else find_folder(str(checkpoint))
    if is_pretrained(run) and checkpoint is None:
        run, checkpoint = find_recipe(run), run
    if checkpoint is not None and os.path.isdir(checkpoint) and is_pretrained(checkpoint):
        return _open_exported(load_config(run, options, plugins), checkpoint)
    if not os.path.exists(run):
        raise InputError(f'the run {run} does not exist.{suggest_model(run)} Give a run folder, a config file with a '
                         'checkpoint, a packaged model (dtbox://NAME), or one on the hub (hf://OWNER/NAME).')
    if os.path.isdir(run) and checkpoint is None:
        checkpoint = run
    if os.path.isfile(run) and checkpoint is None and run.endswith(CHECKPOINT_SUFFIXES):
        if not find_run_of(run).has_config():
            raise InputError(f'{run} is a checkpoint, with no config.py beside it. Give the config first and the '
                             'checkpoint second.')
        run, checkpoint = find_run_of(run).path, run
    if checkpoint is None:
        raise InputError(f'{run} is a config; say also which checkpoint to open.{suggest_model(run)}')
    if os.path.isdir(checkpoint):
        checkpoint = RunFolder(checkpoint).checkpoint
    cfg = load_config(run, options, plugins)
    use_own_tokenizer(cfg, find_run_of(checkpoint).path)
    return _check_config(cfg, run), checkpoint


def _open_exported(cfg: Config, folder: str) -> tuple[Config, str]:
    """Return (config that reads the text tokenizer of a folder of `save_pretrained`, resolved; path of its weights)."""
    config = read_config_of(folder)
    language = config.get('model_type') == MLLM_KIND
    check_sums(folder, config, list_files(folder))
    use_own_tokenizer(cfg, folder)
    cfg = _check_config(cfg, str(cfg.filename))
    check_use(MLLM if language else TOKENIZER, find_use(cfg), folder)
    if language:
        cfg.model.sequence['tokenizer'] = dict(type='PretrainedTokenizer', path=os.path.abspath(folder))
    return cfg, os.path.join(folder, WEIGHTS)


def _check_config(cfg: Config, run: str) -> Config:
    """Return a config, resolved; `InputError` unless it is that of a tokenizer or of a language model on one."""
    cfg = resolve(cfg)
    model = cfg.get('model')
    if not isinstance(model, Mapping) or not isinstance(model.get('tokenizer'), Mapping) or not model['tokenizer']:
        raise InputError(f'{run} has no dict `model.tokenizer`; it is not the config of a tokenizer.')
    return cfg


def choose_eval_pipeline(cfg: Config, image_size: tuple[int, int]) -> list[dict]:
    """Return the transform for users' images: the held-out data's own, or short side and centre crop where there is
    none."""
    dataset = (cfg.get('val_dataloader') or {}).get('dataset') or {}
    dataset = dataset.get('folder') or dataset
    size = image_size[0] if image_size[0] == image_size[1] else image_size
    pipeline = dataset.get('pipeline') or [dict(type='ResizeCrop', size=size), dict(type='PackImage')]
    return check_pipeline(pipeline, 'val_dataloader.dataset.pipeline')
