"""Configs of language models of `transformers`: from a dict, a folder, the hub or a GGUF file; and what dtbox cannot
honour."""
from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Mapping

from dtbox.counts import format_count
from dtbox.errors import InputError, closest, need_package, reason
from dtbox.weights.state_dicts import find_local_path

ADDED = 'dtbox_special_rows'
"""Entry of a written config.json: how many of the last rows are those of special tokens. `transformers` leaves it
alone."""
LEGACY = {'rope_theta', 'rope_scaling', 'torch_dtype', ADDED}
"""Keys of a config that its class does not list: names of earlier versions, and our own."""
KINDS = {'full_attention', 'sliding_attention'}
UNSUPPORTED = {'final_logit_softcapping': None, 'attn_logit_softcapping': None, 'logits_scaling': 1.0,
               'logit_scale': 1.0}
"""Entries that change scores in ways that dtbox does not follow -> the value that changes nothing."""


def split_source(pretrained: str) -> tuple[str, dict[str, Any]]:
    """Return (folder or hub id, further arguments of `from_pretrained`) of what the config calls `pretrained`."""
    path = find_local_path(pretrained)
    if not path.endswith('.gguf'):
        return path, {}
    need_package('gguf', 'mllm', f'{pretrained}, a GGUF file,')
    folder, name = os.path.split(path)
    return folder or '.', dict(gguf_file=name)


@contextlib.contextmanager
def opening(pretrained: str) -> Iterator[None]:
    """Within the block, turn what `transformers` says of a source that it cannot open into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as e:
        if os.path.isdir(pretrained):
            what = 'is not a folder of a language model that `transformers` can open'
            todo = 'It needs config.json and model.safetensors (or shards with their index).'
        elif os.path.exists(pretrained):
            what, todo = 'is not a file that `transformers` can open', 'Give a folder, or a GGUF file.'
        else:
            what = 'is neither a file nor a folder here, and cannot be fetched from the Hugging Face hub'
            todo = 'Give a local folder with config.json, model.safetensors and tokenizer.json.'
        raise InputError(f'{pretrained} {what} ({reason(e)}). {todo}', 'pretrained') from e


def read_config(config: Mapping[str, Any] | None, pretrained: str | None, vocab_size: int | None) -> Any:
    """Return the config of `transformers` (PreTrainedConfig) that a config of dtbox describes.

    Args:
        config: `model_type` and entries of its config class; None reads those of `pretrained`.
        pretrained: folder, hub id or GGUF file.
        vocab_size: ids of the text tokenizer: V where `config` says none.

    Raises:
        InputError: neither is given; an unknown model type or entry, values that do not fit, a source that cannot be
            opened, a model that dtbox cannot run as it is meant.
    """
    if config is None and pretrained is None:
        raise InputError('HFCausalLM needs `config` (model_type and sizes) or `pretrained` (a folder, a hub id or a '
                         'GGUF file); got neither.')
    transformers = need_package('transformers', 'mllm', 'HFCausalLM')
    if config is None:
        place, more = split_source(str(pretrained))
        with opening(str(pretrained)):
            found = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False, **more)
    else:
        found = _make_config(transformers, dict(config), vocab_size)
    if vocab_size is not None and found.vocab_size < vocab_size:
        raise InputError(f'the language model has {format_count(found.vocab_size, "id")}, and the text tokenizer '
                         f'{vocab_size}: they do not belong together.', 'vocab_size')
    _check_support(found)
    return found


def _make_config(transformers: Any, config: dict[str, Any], vocab_size: int | None) -> Any:
    kind = config.pop('model_type', None)
    known = transformers.CONFIG_MAPPING
    if kind not in known:
        raise InputError(f'`model_type` is {kind!r}; expected a language model of `transformers`, such as llama, qwen2 '
                         f'or qwen3.{closest(str(kind), known.keys())}', 'config.model_type')
    names = {*known[kind]().to_dict(), *known[kind].attribute_map, *LEGACY}
    for key in config:
        if key not in names:
            raise InputError(f'the config of `{kind}` has no entry `{key}`.{closest(key, names)}', f'config.{key}')
    if vocab_size is not None:
        config.setdefault('vocab_size', vocab_size)
    config.pop('transformers_version', None)
    try:
        return transformers.AutoConfig.for_model(kind, **config)
    except Exception as e:
        raise InputError(f'the config of `{kind}` cannot be made of these values: {" ".join(str(e).split())}',
                         'config') from e


def _check_support(config: Any) -> None:
    for name, harmless in UNSUPPORTED.items():
        if getattr(config, name, harmless) not in (None, harmless):
            raise InputError(f'a model of the type `{config.model_type}` with `{name}` = {getattr(config, name)} is '
                             'not supported: HFCausalLM would compute other scores. Use a model without it.')
    odd = set(getattr(config, 'layer_types', None) or ()) - KINDS
    if odd or config.is_encoder_decoder:
        what = f'has blocks of the type {", ".join(sorted(odd))}' if odd else 'has an encoder'
        raise InputError(f'a model of the type `{config.model_type}` that {what} is not supported. Use a decoder with '
                         'plain attention, such as llama, qwen2 or qwen3.')


def find_window(config: Any) -> int | None:
    """Return over how many places some block of a model slides, or None."""
    kinds = getattr(config, 'layer_types', None) or ('sliding_attention',)
    slides = 'sliding_attention' in kinds and getattr(config, 'use_sliding_window', True)
    return getattr(config, 'sliding_window', None) if slides else None
