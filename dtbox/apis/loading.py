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
from dtbox.apis.opening import MLLM, check_use, find_use, open_tokenizer
from dtbox.apis.pretrained import MLLM_KIND, is_pretrained, read_kind_of
from dtbox.apis.tokenizer import Tokenizer
from dtbox.arguments import allow_none, read_arguments, read_device, read_flag, read_options, read_path
from dtbox.config import load_config, resolve, use_own_tokenizer
from dtbox.errors import InputError, at
from dtbox.extend import as_list
from dtbox.runs import CHECKPOINT_SUFFIXES, RunFolder, find_run_of
from dtbox.weights.state_dicts import ZOO, find_local_path


@read_arguments(run=read_path, checkpoint=allow_none(read_path), device=read_device, dtype=parse_dtype, plugins=as_list,
                trust_remote_code=read_flag)
def load(run: str | os.PathLike, checkpoint: str | os.PathLike | None = None, device: str | torch.device = 'cpu',
         dtype: str | torch.dtype = 'float32', plugins: str | Sequence[str] = (),
         trust_remote_code: bool = False) -> Tokenizer | MultimodalModel:
    """Open a trained tokenizer or a multimodal language model.

    Args:
        run: run folder; or a config file, together with `checkpoint`; or a folder that `save_pretrained` wrote; or
            `dtbox://NAME`, a packaged one.
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
    """Return the folder of a packaged model, `dtbox://NAME`; leave everything else as it is."""
    if not run.startswith(ZOO):
        return run
    name = run[len(ZOO):].rstrip('/')
    with at('run'):
        folder = os.path.dirname(find_local_path(f'{ZOO}{name}'))
    if not is_pretrained(folder):
        raise InputError(f'{run} is a pair of towers of images and texts: a recipe starts from it, and it has no '
                         'codes. Give the name of a tokenizer or of a multimodal language model.', 'run')
    return folder


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
