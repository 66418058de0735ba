"""Text towers: token ids [T, L] to embeddings [T, E]. `OpenCLIPText` is open_clip's, by model name or from sizes.

Legend: T texts, L ids of a text, E joint width.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError, closest
from dtbox.registry import TEXT_TOKENIZERS, TEXTS
from dtbox.values import Depth, check_value
from dtbox.weights.hub import refuse_hub_name
from dtbox.weights.model_folders import load_open_clip_state
from dtbox.weights.state_dicts import load_into, select_prefix


class TextTower(nn.Module):
    """Base class of text towers. It also owns the scale and bias of the contrastive logits, exp(scale) * cos + bias.

    A subclass sets `pooled_dim` and implements `limits` and `forward`.

    Args:
        tokenizer: config of its tokenizer, or None where it only gets token ids.
        logit_scale, logit_bias: initial values (SigLIP: ln 10 and -10).

    Attributes:
        pooled_dim: joint width E.
    """
    pooled_dim: int = 0

    def __init__(self, tokenizer: dict | None = None, logit_scale: float = 2.3025851,
                 logit_bias: float = -10.0) -> None:
        super().__init__()
        self.tokenizer = TEXT_TOKENIZERS.build(tokenizer, where='tokenizer') if tokenizer else None
        self.logit_scale = nn.Parameter(torch.tensor(float(logit_scale)))
        self.logit_bias = nn.Parameter(torch.tensor(float(logit_bias)))

    def ids(self, texts: str | Sequence[str] | Tensor, truncate: bool = True) -> Tensor:
        """Return token ids [T, L] on this module's device, from a string, a list of them, or ids."""
        if isinstance(texts, Tensor):
            self.check_ids(texts)
            return texts.to(self.logit_scale.device)
        if self.tokenizer is None:
            raise InputError('strings came, but this text tower has no tokenizer. Hand in token ids [T, L], or set '
                             '`tokenizer` in the config.')
        return self.tokenizer([texts] if isinstance(texts, str) else list(texts), truncate).to(self.logit_scale.device)

    def check_ids(self, ids: Tensor) -> None:
        """Raise `InputError` unless `ids` are [T, L] integers of this tower's vocabulary."""
        length, size = self.limits()
        if ids.ndim != 2 or not 0 < ids.shape[1] <= length or ids.is_floating_point():
            raise InputError(f'token ids are {ids.dtype} {list(ids.shape)}; expected int64 [T, L], L up to {length}.')
        if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= size):
            raise InputError(f'token ids reach from {int(ids.min())} to {int(ids.max())}; this tower has the ids 0 to '
                             f'{size - 1}.')

    def limits(self) -> tuple[int, int]:
        """Return (longest text in tokens, number of token ids)."""
        raise NotImplementedError

    def forward(self, ids: Tensor) -> Tensor:
        """ids [T, L] int64 -> [T, E], not normalised."""
        raise NotImplementedError

    def init_weights(self) -> None:
        """Load the weights that the config names."""


@TEXTS.register_module()
class OpenCLIPText(TextTower):
    """open_clip's text transformer.

    Args:
        name: open_clip model name whose text tower it is; or None, and then `embed_dim` and `text_cfg` say the sizes.
        embed_dim: joint width E.
        text_cfg: open_clip's text config (context_length, vocab_size, width, heads, layers, no_causal_mask, pool_type,
            ...). `vocab_size` and `context_length` follow from the tokenizer where they are left out.
        tokenizer: config of the tokenizer.
        weights: None; a local checkpoint of the whole model or of the tower; a `dtbox://` name; or 'hub:TAG'.
        prefix: the tower's prefix in that file; None finds 'text.' or the bare names of open_clip's CLIP class.
        logit_scale, logit_bias: initial values.
    """

    def __init__(self, name: str | None = None, embed_dim: int | None = None, text_cfg: dict[str, Any] | None = None,
                 tokenizer: dict | None = None, weights: str | None = None, prefix: str | None = None,
                 logit_scale: float = 2.3025851, logit_bias: float = -10.0) -> None:
        super().__init__(tokenizer, logit_scale, logit_bias)
        config, quick_gelu = dict(text_cfg or {}), False
        if name:
            whole = get_model_config(name)
            config, quick_gelu = {**whole['text_cfg'], **config}, whole.get('quick_gelu', False)
            embed_dim = embed_dim or whole['embed_dim']
        if not embed_dim or not config:
            raise InputError('OpenCLIPText needs `name`, or `embed_dim` and `text_cfg`; got neither.')
        check_value(config.get('layers', 1), Depth, 'text_cfg.layers')
        if config.pop('hf_model_name', None):
            raise InputError(f'the text tower of `{name}` is a Hugging Face model, which is not supported; choose one '
                             'on open_clip\'s own TextTransformer.')
        config.pop('hf_tokenizer_name', None)
        config.pop('tokenizer_kwargs', None)
        if self.tokenizer is not None:
            config.setdefault('vocab_size', self.tokenizer.vocab_size)
            config.setdefault('context_length', self.tokenizer.context_length)
            fits = config['context_length'] == self.tokenizer.context_length
            if not fits or config['vocab_size'] < self.tokenizer.vocab_size:
                raise InputError(f'the tokenizer gives ids below {self.tokenizer.vocab_size} in texts of '
                                 f'{self.tokenizer.context_length}, the tower has '
                                 f'{format_count(config["vocab_size"], "id")} and texts '
                                 f'of {config["context_length"]}. Make them agree.')
        self.tower = build_tower(embed_dim, config, quick_gelu)
        self.name = name
        self.weights = weights
        self.prefix = prefix
        self.pooled_dim = embed_dim

    def limits(self) -> tuple[int, int]:
        """Return (longest text in tokens, number of token ids)."""
        return self.tower.context_length, self.tower.vocab_size

    def forward(self, ids: Tensor) -> Tensor:
        """ids [T, L] int64 -> [T, E], not normalised."""
        return self.tower(ids)

    def init_weights(self) -> None:
        """Load `weights` into the tower, and scale and bias where the file has them."""
        if self.weights is None:
            return
        state = load_open_clip_state(self.name, self.weights)
        scalars = {k: v.reshape(()) for k, v in state.items() if k in ('logit_scale', 'logit_bias')}
        if self.prefix is not None:
            scalars = {k: v.reshape(()) for k, v in select_prefix(state, self.prefix).items()
                       if k in ('logit_scale', 'logit_bias')}
            tower = select_prefix(state, self.prefix + 'tower.')
        else:
            own = self.tower.state_dict()
            tower = select_prefix(state, 'text.')
            tower = tower or {k: v for k, v in state.items() if k in own or k.startswith('transformer.')}
        load_into(self.tower, tower, self.weights)
        with torch.no_grad():
            for key, value in scalars.items():
                getattr(self, key).copy_(value)


def get_model_config(name: str) -> dict[str, Any]:
    """Return open_clip's config of a model; `InputError` with the closest names where there is none."""
    import open_clip
    refuse_hub_name(name, 'open_clip')
    config = open_clip.get_model_config(name)
    if config is None:
        raise InputError(f'open_clip does not have a model `{name}`.{closest(name, open_clip.list_models())} See '
                         'open_clip.list_models().')
    return config


def build_tower(embed_dim: int, config: dict[str, Any], quick_gelu: bool) -> nn.Module:
    """Build open_clip's text transformer; `InputError` for a key that its config does not have."""
    from dataclasses import fields

    from open_clip.model import CLIPTextCfg, _build_text_tower
    known = [f.name for f in fields(CLIPTextCfg)]
    for key in config:
        if key not in known:
            raise InputError(f'open_clip\'s text config takes no `{key}`.{closest(key, known)}', 'text_cfg')
    return _build_text_tower(embed_dim, CLIPTextCfg(**config), quick_gelu)
