"""Opens tokenizers and tasks: a resolved config and a checkpoint become a model. `dtbox.load`,
`Tokenizer.from_pretrained`, evaluation, protocols and diagnostics call these functions; nobody else reads weights of a
run into a model for use.
"""
from __future__ import annotations

import os
from typing import Any, Mapping, NamedTuple

import torch
from mmengine.config import Config

from dtbox.apis.building import build_for_use, cast, parse_dtype
from dtbox.errors import InputError, RenamedError
from dtbox.extend.record import warn_changes
from dtbox.registry import MODELS, TOKENIZERS
from dtbox.runs import find_run_of
from dtbox.tokenizers.visual import VisualTokenizer
from dtbox.training import checkpoint as checkpoints
from dtbox.training.mllm_start import read_language_model
from dtbox.weights.exported_folders import MLLM_KIND, is_pretrained, read_kind_of
from dtbox.weights.model_folders import load_published
from dtbox.weights.state_dicts import load_into, resize_positions, select_prefix

EXPORTED = '.safetensors'
"""Suffix of the weights of `save_pretrained`; any other file is a checkpoint of a run."""


class Weights(NamedTuple):
    """Weights of a tokenizer.

    Attributes:
        tensors: dict name -> tensor.
        source: where they come from, for messages.
        checkpoint: the whole checkpoint of a run (see `dtbox.training.checkpoint`); for exported weights {}, or its
            `meta` alone where they know with which tokenizer they were trained.
    """
    tensors: dict[str, torch.Tensor]
    source: str
    checkpoint: dict


class Opened(NamedTuple):
    """A model and the checkpoint that its weights come from ({} where there is none)."""
    model: Any
    checkpoint: dict


def choose_device() -> str:
    """Return the device on which models are measured: the GPU where there is one."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def set_threads(cfg: Mapping[str, Any]) -> None:
    """Let this process use as many CPU threads as a config says (`threads`)."""
    if cfg.get('threads'):
        torch.set_num_threads(int(cfg['threads']))


def read_weights(path: str, cfg: Mapping[str, Any], prefix: str = 'tokenizer.') -> Weights:
    """Read the weights of a model.

    Args:
        path: checkpoint of a run, or the .safetensors file of `save_pretrained`.
        cfg: resolved config; a plugin of it that has changed since training is warned of.
        prefix: what the names of the model's weights begin with in a checkpoint.

    Raises:
        InputError: a file that is missing, cut short, of another kind, or of a format that cannot be read.
    """
    if str(path).endswith(EXPORTED):
        folder = find_run_of(path).path
        if is_pretrained(folder) and read_kind_of(folder) == MLLM_KIND:
            state, meta = read_language_model(folder)
            return Weights(state, folder, dict(meta=meta))
        return Weights(*load_published(path, mapped=False), {})
    checkpoint = checkpoints.load(path)
    warn_changes((checkpoint.get('meta') or {}).get('plugins'), cfg, path)
    return Weights(select_prefix(checkpoint['state_dict'], prefix), f'the checkpoint {path}', checkpoint)


def open_tokenizer(cfg: Mapping[str, Any], path: str | None, device: str | torch.device = 'cpu',
                   dtype: str | torch.dtype = 'float32') -> Opened:
    """Build a VisualTokenizer in evaluation mode, without gradients, with the weights of a file.

    Args:
        cfg: resolved config with `model.tokenizer`, its plugins loaded (see `open_config`).
        path: see `read_weights`; None takes the weights that a training run of the config starts from.
        device, dtype: where and in which float type; quantizers stay float32.

    Raises:
        InputError: the config of another model than a tokenizer, weights that do not match it, a part with an old name,
            an unknown dtype, a device that is not there.
    """
    check_use(find_use(cfg), TOKENIZER, path)
    dtype, part = parse_dtype(dtype), cfg['model']['tokenizer']
    if path is None:
        return Opened(cast(_build_start(cfg), dtype).to(device).eval().requires_grad_(False), {})
    weights = read_weights(path, cfg)
    with find_run_of(path).explain_old_names():
        model = build_for_use(part, weights.tensors, weights.source, device, dtype)
    return Opened(model, weights.checkpoint)


def _build_start(cfg: Mapping[str, Any]) -> VisualTokenizer:
    torch.manual_seed(int(cfg.get('seed', 0)))
    model = TOKENIZERS.build({'type': 'VisualTokenizer', **cfg['model']['tokenizer']}, where='model.tokenizer')
    model.init_weights()
    return model


def open_task(cfg: Config, path: str, resize: bool = False) -> Opened:
    """Build the task of a config in evaluation mode, its teacher included, with the weights of a run.

    Args:
        cfg: resolved config; its `threads` are set for this process.
        path: checkpoint of the run.
        resize: fit learned position tables to the config's image size.

    Raises:
        InputError: a checkpoint of another model or of another teacher.
    """
    from dtbox.training.build import build_parts  # brings MMEngine's optimizers, which `dtbox.load` does without
    set_threads(cfg)
    with find_run_of(path).explain_old_names():
        cfg_of_model = Config({k: v for k, v in cfg.items() if k != 'val_dataloader'})
        task = build_parts(cfg_of_model, int(cfg.get('seed', 0)), training=False)['model']
    checkpoint = load_task(task, cfg, path, resize)
    return Opened(task.to(choose_device()).eval(), checkpoint)


def load_task(task: Any, cfg: Mapping[str, Any], path: str, resize: bool = False) -> dict:
    """Load the weights of a run into the main part of a task that is built already, and what no checkpoint holds.

    Args:
        task: Task.
        cfg, path, resize: as in `open_task`.

    Returns:
        the checkpoint.

    Raises:
        InputError: a checkpoint of another model, or one trained with another teacher or tokenizer.
    """
    part = task.parts[task.main_part]
    name = next(name for name, module in task.named_modules() if module is part)
    weights = read_weights(path, cfg, f'{name}.')
    load_into(part, resize_positions(weights.tensors, part) if resize else weights.tensors, weights.source)
    task.init_frozen_weights()
    check_frozen(weights.checkpoint, task.checkpoint_meta, path)
    return weights.checkpoint


def check_frozen(checkpoint: Mapping[str, Any], present: Mapping[str, Any], path: str) -> None:
    """Raise `InputError` unless a checkpoint was trained with the frozen models that are present now.

    Args:
        checkpoint: of a run.
        present: what the model is called ('teacher', 'tokenizer') -> hash of its weights, or None.
        path: of the checkpoint, for the message.
    """
    meta = checkpoint.get('meta') or {}
    for name, digest in present.items():
        trained = meta.get(name)
        if None not in (trained, digest) and trained != digest:
            raise InputError(f'the checkpoint {path} was trained with the {name} {trained}, but the config\'s {name} '
                             f'is {digest} (hashes of their weights); results with another {name} would mean nothing. '
                             f'Let the config name the {name} that it was trained with.', f'model.{name}')


# ---- what a run is --------------------------------------------------------------------------------------------------

TOKENIZER, MLLM = 'tokenizer', 'mllm'
WORDS = {TOKENIZER: 'a tokenizer', MLLM: 'a multimodal language model'}
"""What a run opens as (`opens_as` of its Task) -> in words."""


def find_use(cfg: Mapping[str, Any]) -> str:
    """Return what a run of a config opens as."""
    kind = cfg['model'].get('type', 'TokenizerTask')
    if kind == 'TokenizerTask':  # what trains it takes seconds to import
        return TOKENIZER
    try:
        task = MODELS.get(kind) if isinstance(kind, str) else kind
    except RenamedError:  # names of an earlier version are those of tokenizers; language models came later
        return TOKENIZER
    return getattr(task, 'opens_as', '') or TOKENIZER


def check_use(use: str, expected: str, source: str | os.PathLike | None) -> None:
    """Raise `InputError` unless a run or folder opens as what is expected.

    Args:
        use, expected: see `find_use`.
        source: of the model, for the message; None for a config.
    """
    if use != expected:
        hint = ' `dtbox draw`, `ask` and `chat` use it.' if use == MLLM else ' `dtbox reconstruct` uses it.'
        raise InputError(f'{source or "the config"} is {WORDS[use]}; expected {WORDS[expected]}.{hint}')
