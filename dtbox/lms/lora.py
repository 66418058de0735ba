"""Low-rank adapters (LoRA, arXiv 2106.09685) by the package `peft`, and the plain weights of a model that has some."""
from __future__ import annotations

import copy
from typing import Any, Mapping

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.errors import InputError, explained, need_package
from dtbox.registry import call_checked

TARGETS = ('q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj')
"""The layers that get adapters where the config names none: all of a block."""
REFUSED = {'modules_to_save': 'the rows of special tokens are trained in any case; copies of whole tables would no '
                              'longer be tied',
           'trainable_token_indices': 'the rows of special tokens are trained in any case'}
STARTS = (True, False, 'gaussian')
"""Values of `init_lora_weights`: the others change the base, which has no weights yet."""


def add_lora(model: nn.Module, cfg: Mapping[str, Any]) -> None:
    """Put adapters into a model, in place, and freeze everything else of it.

    Args:
        model: of `transformers`.
        cfg: arguments of peft's `LoraConfig` (r, lora_alpha, target_modules, ...).

    Raises:
        InputError: the package is missing, an argument that it does not take, layers that there are not, or the
            embedding or the head among them.
    """
    peft = need_package('peft', 'mllm', '`lora`')
    for name in REFUSED.keys() & cfg.keys():
        raise InputError(f'`{name}` is given; {REFUSED[name]}. Take it out.', f'lora.{name}')
    if cfg.get('init_lora_weights', True) not in STARTS:
        raise InputError(f'`init_lora_weights` is {cfg["init_lora_weights"]!r}; expected one of {STARTS}.',
                         'lora.init_lora_weights')
    config = call_checked(peft.LoraConfig, dict(target_modules=list(TARGETS), **cfg)
                          if 'target_modules' not in cfg else dict(cfg), '`LoraConfig`')
    with explained('the adapters cannot be put into the language model'):
        peft.inject_adapter_in_model(config, model)
    for name, table in (('embedding', model.get_input_embeddings()), ('head', model.get_output_embeddings())):
        if hasattr(table, 'base_layer'):
            raise InputError(f'the adapters reach the {name} of the language model; expected layers of its blocks '
                             'alone.', 'lora.target_modules')


def strip_base(name: str) -> str:
    """Return the name that a parameter has without adapters."""
    return name.replace('.base_layer.', '.')


def is_adapter(name: str) -> bool:
    """Return whether a parameter belongs to an adapter."""
    return '.lora_' in name


def merge_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of a model as it is without adapters: their product is added to the weights that they are about.

    The model stays as it is, bit for bit.
    """
    state = {strip_base(name): value for name, value in model.state_dict().items() if not is_adapter(name)}
    for name, layer in model.named_modules():
        if hasattr(layer, 'lora_A') and hasattr(layer, 'merge'):
            merged = copy.deepcopy(layer)
            with torch.no_grad():
                merged.merge()
            state.update({f'{name}.{key}': value for key, value in merged.base_layer.state_dict().items()})
    return state
