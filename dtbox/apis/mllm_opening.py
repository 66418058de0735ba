"""From a run's config and checkpoint to a multimodal language model in evaluation mode."""
from __future__ import annotations

from typing import Any, Mapping

import torch

from dtbox.apis.building import parse_dtype
from dtbox.apis.opening import check_frozen, read_weights
from dtbox.errors import InputError, at, reason
from dtbox.registry import MLLMS, TOKENIZERS
from dtbox.runs import find_run_of
from dtbox.weights.state_dicts import load_into

PARTS = ('lm', 'sequence', 'visual_embedding', 'visual_head')
"""Entries of `model` in a config that make a MultimodalLM of a tokenizer."""


def build_mllm(cfg: Mapping[str, Any]) -> Any:
    """Build the MultimodalLM of a config's `model`, its tokenizer with its weights, the rest without.

    Raises:
        InputError: what the parts say.
    """
    with at('model'):
        frozen = TOKENIZERS.build(cfg['tokenizer'], where='tokenizer')
    parts = {name: cfg[name] for name in PARTS if name in cfg}
    return MLLMS.build(dict(type='MultimodalLM', **parts), where='model', tokenizer=frozen)


def place_model(model: Any, device: str | torch.device, dtype: torch.dtype) -> Any:
    """Return a MultimodalLM in evaluation mode on a device and in a float type; its tokenizer stays float32."""
    try:
        return model.to(device, dtype).eval().requires_grad_(False)
    except (RuntimeError, AssertionError) as e:
        raise InputError(f'the model cannot be moved to the device {device!r}: {reason(e)}') from e


def open_mllm_run(cfg: Mapping[str, Any], path: str, device: str | torch.device = 'cpu',
                  dtype: str | torch.dtype = 'float32') -> Any:
    """Open the MultimodalLM of a run.

    Args:
        cfg: resolved config (see `open_config`).
        path: its checkpoint.
        device, dtype: as in `dtbox.load`.

    Raises:
        InputError: a tokenizer of another hash than in training, weights that do not match the config.
    """
    dtype = parse_dtype(dtype)
    with find_run_of(path).explain_old_names():
        model = build_mllm(cfg['model'])
    weights = read_weights(path, cfg, 'model.')
    check_frozen(weights.checkpoint, dict(tokenizer=model.tokenizer.digest), path)
    load_into(model, weights.tensors, weights.source)
    return place_model(model, device, dtype)
