"""Open a run: its tokenizer for use from Python, or the model with its held-out data for evaluation."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config

from dtbox import trust
from dtbox.apis.building import check_pipeline, parse_dtype
from dtbox.apis.opening import open_tokenizer
from dtbox.apis.pretrained import is_pretrained
from dtbox.apis.tokenizer import Tokenizer
from dtbox.arguments import allow_none, read_arguments, read_device, read_flag, read_options, read_path
from dtbox.config import load_config, resolve, use_own_tokenizer
from dtbox.errors import InputError
from dtbox.extend import as_list
from dtbox.runs import CHECKPOINT_SUFFIXES, RunFolder, find_run_of


@read_arguments(run=read_path, checkpoint=allow_none(read_path), device=read_device, dtype=parse_dtype, plugins=as_list,
                trust_remote_code=read_flag)
def load(run: str | os.PathLike, checkpoint: str | os.PathLike | None = None, device: str | torch.device = 'cpu',
         dtype: str | torch.dtype = 'float32', plugins: str | Sequence[str] = (),
         trust_remote_code: bool = False) -> Tokenizer:
    """Open a trained tokenizer.

    Args:
        run: run folder; or a config file, together with `checkpoint`; or a folder that `save_pretrained` wrote.
        checkpoint: checkpoint file; None takes the run folder's checkpoint.pth.
        device: torch device or its name.
        dtype: 'float32', 'bfloat16', 'float16' or the torch dtype; codebooks stay float32, codes are always found in
            it.
        plugins: plugins that the config does not name, or has at a place where they no longer are: folders, files or
            modules.
        trust_remote_code: run plugins that lie in the run folder, and Python in its config. Without it the folder is
            data: opening that of a stranger runs nothing of theirs.

    Returns:
        Tokenizer. A plugin whose content has changed since training is warned of.

    Raises:
        InputError: a missing file or plugin, a checkpoint of another model, an unknown dtype.
    """
    if is_pretrained(run):
        if checkpoint is not None:
            raise InputError(f'got {checkpoint}, but {run} is a folder that save_pretrained wrote and has its own '
                             'weights. Leave the checkpoint out.', 'checkpoint')
        return Tokenizer.from_pretrained(run, device, dtype, plugins)
    with trust.trust_remote_code(trust_remote_code):
        cfg, path = open_config(run, checkpoint, plugins=plugins)
    model = open_tokenizer(cfg, path, device, dtype).model
    pipeline = [dict(step) for step in choose_eval_pipeline(cfg, model.image_size)]
    plain = cfg.model.tokenizer.to_dict() if hasattr(cfg.model.tokenizer, 'to_dict') else dict(cfg.model.tokenizer)
    return Tokenizer(model, pipeline, dict(tokenizer=plain, pipeline=pipeline))


@read_arguments(run=read_path, checkpoint=allow_none(read_path), options=allow_none(read_options), plugins=as_list)
def open_config(run: str | os.PathLike, checkpoint: str | os.PathLike | None = None,
                options: Mapping[str, Any] | None = None, plugins: str | Sequence[str] = ()) -> tuple[Config, str]:
    """Return (resolved config, checkpoint path) of a run folder, or of a config and a checkpoint; see `load_config`."""
    run, checkpoint = str(run), None if checkpoint is None else str(checkpoint)
    if is_pretrained(run):
        raise InputError(f'{run} is a folder that save_pretrained wrote, or another model folder: it has weights and a '
                         'config.json, but not the config of a run. dtbox.load opens it; what needs data, a teacher '
                         'or a log needs the run folder.')
    if not os.path.exists(run):
        raise InputError(f'the run {run} does not exist. Give a run folder, or a config file with a checkpoint.')
    if os.path.isdir(run) and checkpoint is None:
        checkpoint = run
    if os.path.isfile(run) and checkpoint is None and run.endswith(CHECKPOINT_SUFFIXES):
        if not find_run_of(run).has_config():
            raise InputError(f'{run} is a checkpoint, with no config.py beside it. Give the config first and the '
                             'checkpoint second.')
        run, checkpoint = find_run_of(run).path, run
    if checkpoint is None:
        raise InputError(f'{run} is a config; say also which checkpoint to open.')
    if os.path.isdir(checkpoint):
        checkpoint = RunFolder(checkpoint).checkpoint
    cfg = load_config(run, options, plugins)
    use_own_tokenizer(cfg, find_run_of(checkpoint).path)
    cfg = resolve(cfg)
    model = cfg.get('model')
    if not isinstance(model, Mapping) or not isinstance(model.get('tokenizer'), Mapping) or not model['tokenizer']:
        raise InputError(f'{run} has no dict `model.tokenizer`; it is not the config of a tokenizer.')
    return cfg, checkpoint


def choose_eval_pipeline(cfg: Config, image_size: tuple[int, int]) -> list[dict]:
    """Return the transform for users' images: the held-out data's own, or short side and centre crop where there is
    none."""
    dataset = (cfg.get('val_dataloader') or {}).get('dataset') or {}
    dataset = dataset.get('folder') or dataset
    size = image_size[0] if image_size[0] == image_size[1] else image_size
    pipeline = dataset.get('pipeline') or [dict(type='ResizeCrop', size=size), dict(type='PackImage')]
    return check_pipeline(pipeline, 'val_dataloader.dataset.pipeline')
