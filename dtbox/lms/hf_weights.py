"""Weights of language models of `transformers`: read from a folder, the hub or a GGUF file, written as a folder."""
from __future__ import annotations

import contextlib
import copy
import io
import os
from collections.abc import Iterator
from typing import Any, Mapping

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.errors import InputError, need_package
from dtbox.files import apply_umask, explain_writing
from dtbox.lms.hf_config import ADDED, opening, split_source
from dtbox.lms.lora import is_adapter, strip_base
from dtbox.weights.state_dicts import align_tensor


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within the block, `transformers` prints neither progress bars nor tables of what it has loaded."""
    logging = need_package('transformers', 'mllm', 'HFCausalLM').utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_model(pretrained: str, dtype: torch.dtype) -> Any:
    """Open a model of `transformers` with its weights; every weight comes from the source.

    Raises:
        InputError: a source that cannot be opened, without weights, or whose weights are not those of its config.
    """
    transformers = need_package('transformers', 'mllm', 'HFCausalLM')
    place, more = split_source(pretrained)
    # bars of GGUF files are those of tqdm, which `quiet` does not reach
    hidden = contextlib.redirect_stderr(io.StringIO()) if more else contextlib.nullcontext()
    with opening(pretrained), quiet(), hidden:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            place, dtype=dtype, trust_remote_code=False, output_loading_info=True, ignore_mismatched_sizes=True, **more)
    shapes = [f'{name} is {list(found)} there and {list(expected)} in the model'
              for name, found, expected in sorted(info['mismatched_keys'])]
    missing, extra = sorted(info['missing_keys']), sorted(info['unexpected_keys'])
    if shapes or missing or extra:
        raise InputError(f'the weights of {pretrained} are not those of its config.' + _name('wrong shape', shapes)
                         + _name('missing', missing) + _name('left over', extra) + ' Check that the files of the '
                         'folder belong together.', 'pretrained')
    return model


def _name(title: str, names: list[str], most: int = 4) -> str:
    more = f', and {len(names) - most} more' if len(names) > most else ''
    return f' {len(names)} {title}: {"; ".join(names[:most])}{more}.' if names else ''


def take_weights(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Let a model, which may have adapters, have the tensors of a state of the same model without them.

    Raises:
        InputError: listing the names that are missing, left over or of another shape.
    """
    own = {name: value for name, value in model.state_dict(keep_vars=True).items() if not is_adapter(name)}
    names = {strip_base(name) for name in own}
    missing, extra = sorted(names - state.keys()), sorted(state.keys() - names)
    shapes = [f'{strip_base(name)} is {list(state[strip_base(name)].shape)} there and {list(value.shape)} here'
              for name, value in own.items() if strip_base(name) in state
              and state[strip_base(name)].shape != value.shape]
    if missing or extra or shapes:
        raise InputError(f'the weights of {source} do not fit the `config` of the language model.'
                         + _name('wrong shape', shapes) + _name('missing', missing) + _name('left over', extra)
                         + ' Leave `config` out, or let it say the same sizes.', 'pretrained')
    aligned: dict[int, Tensor] = {}
    for name, value in own.items():
        found = state[strip_base(name)]
        # two names of one tied table get one tensor
        value.data = aligned.setdefault(found.data_ptr(), align_tensor(found.detach().to(value.device, value.dtype)))


def write_model(model: Any, state: Mapping[str, Tensor], vocab_size: int, added: int, folder: str | os.PathLike,
                shard: str) -> None:
    """Write a plain folder of `transformers`.

    Args:
        model: gives config and generation config.
        state: its weights without adapters, the rows of special tokens in their tables.
        vocab_size: rows of its tables.
        added: how many of the last rows are those of special tokens.
        folder: new or empty.
        shard: largest size of a file, such as '5GB'.

    Raises:
        InputError: a folder that is not empty or cannot be written to.
    """
    if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise InputError(f'{folder} is not an empty folder. Give one that is new, so that nothing is overwritten.')
    config = copy.deepcopy(model.config)
    config.vocab_size = vocab_size
    if added:
        setattr(config, ADDED, added)
    with torch.device('meta'):
        plain = type(model)(config)
    plain.load_state_dict({name: value.detach() for name, value in state.items()}, assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    with explain_writing(folder), quiet():
        plain.save_pretrained(folder, max_shard_size=shard)
        for name in os.listdir(folder):
            apply_umask(os.path.join(folder, name))
