"""Causal language models of the package `transformers`: Llama, Qwen, SmolLM, Gemma and others, from their configs,
folders, hub ids and GGUF files. All that dtbox knows of that package is in this module and in `hf_*.py`.

Legend: B rows, T places that come in, S places that they may see, H width, V text ids, V0 those without special rows.
"""
from __future__ import annotations

import copy
import inspect
import os
from typing import Any, Literal

import torch
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError, explained, need_package
from dtbox.lms.base import LanguageModel
from dtbox.lms.cache import KeyValueCache
from dtbox.lms.hf_config import ADDED, find_window, read_config
from dtbox.lms.hf_weights import load_model, take_weights, write_model
from dtbox.lms.lora import add_lora, is_adapter, merge_state
from dtbox.lms.masks import make_mask
from dtbox.lms.special_rows import SpecialRows, make_mean_rows
from dtbox.registry import LMS

DTYPES = dict(float32=torch.float32, bfloat16=torch.bfloat16, float16=torch.float16)
SDPA = 'dtbox_sdpa'
"""Name under which the library's own SDPA is registered once more: for a name that it has no masks of, it makes none.
Under its own name it reads a position that restarts as a new sample, and hides the places before."""


@LMS.register_module()
class HFCausalLM(LanguageModel):
    """A causal language model of `transformers`.

    Attributes:
        ordinary: V0, also the id of the first special row.
        special: the special rows, or None.
        tied: whether embedding and head share one table.

    Args:
        config: `model_type` and entries of its config (hidden_size, num_hidden_layers, ...): a model with random
            weights, or the architecture that `pretrained` fills.
        pretrained: folder, hub id or GGUF file, also `package://MODULE/FILE`; weights are read by `init_weights` and
            are undefined before.
        vocab_size: ids of the text tokenizer, where `config` says none.
        lora: arguments of peft's `LoraConfig`; adapters train, the base does not.
        attention: 'sdpa', or 'eager' without fused kernels.
        dtype: type of the weights; rows of special tokens are float32.
        recompute: drop the activations of blocks and compute them again in the backward pass.

    Raises:
        InputError: see `read_config` and `add_lora`.
    """
    example = dict(config=dict(model_type='llama', vocab_size=40, hidden_size=32, intermediate_size=48,
                               num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                               max_position_embeddings=64, tie_word_embeddings=True))

    def __init__(self, config: dict | None = None, pretrained: str | None = None, vocab_size: int | None = None,
                 lora: dict | None = None, attention: Literal['sdpa', 'eager'] = 'sdpa',
                 dtype: Literal['float32', 'bfloat16', 'float16'] = 'float32', recompute: bool = False) -> None:
        super().__init__()
        self.pretrained = pretrained
        self.eager = attention == 'eager'
        found = read_config(config, pretrained, vocab_size)
        added = found.__dict__.pop(ADDED, 0)
        found.vocab_size -= added
        self.model = _build(found, attention, DTYPES[dtype], empty=pretrained is not None)
        if lora is not None:
            add_lora(self.model, lora)
        self.set_recompute(recompute)
        decoder = self.model.base_model
        self._cache_name = 'cache' if 'cache' in inspect.signature(decoder.forward).parameters else 'past_key_values'
        self.width, self.window = found.hidden_size, find_window(found)
        self.context_length = min(found.max_position_embeddings, self.window or found.max_position_embeddings)
        self.tied = self.model.get_output_embeddings().weight is self.model.get_input_embeddings().weight
        self.ordinary = found.vocab_size
        self._set_special(None)
        if added:
            self.resize(added)
        self.train()

    def _set_special(self, rows: SpecialRows | None) -> None:
        self.special = rows
        self.added = 0 if rows is None else len(rows)
        self.vocab_size = self.ordinary + self.added

    def architecture(self) -> dict[str, Any]:
        """Return the `config` that builds this model without `pretrained`: what a run keeps of it."""
        config = self.model.config.to_dict()
        return {**config, 'vocab_size': config['vocab_size'] + self.added, ADDED: self.added} if self.added else config

    def embed(self, ids: Tensor) -> Tensor:
        """Text ids [B,T] int64 -> embeddings [B,T,H]."""
        table = self.model.get_input_embeddings()
        try:
            return table(ids) if self.special is None else self.special.embed(ids, table, self.ordinary)
        except IndexError as e:  # of the CPU; a GPU stops
            raise InputError(f'text ids from {int(ids.min())} to {int(ids.max())} came; this language model has the '
                             f'ids 0 to {self.vocab_size - 1}.') from e

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None = None,
                cache: KeyValueCache | None = None) -> Tensor:
        """Run all blocks and the final norm; see `LanguageModel.forward`."""
        self.check_places(x, positions, mask, cache)
        if cache is None:
            return self._run(x, positions, mask, x.shape[1])
        with torch.no_grad(), cache.adding(x.shape[1]):
            return self._run(x, positions, mask, cache.length + x.shape[1], cache)

    def _run(self, x: Tensor, positions: Tensor, mask: Tensor | None, s: int,
             cache: KeyValueCache | None = None) -> Tensor:
        if self.window and s > self.window:
            raise InputError(f'{s} places came, and its attention slides over {self.window}, which masks of packed '
                             'rows do not. Use shorter sequences, or a model without a sliding window.')
        x = x.to(self.model.get_input_embeddings().weight.dtype)
        taken = make_mask(mask, x.shape[1], s, x.device, x.dtype if self.eager else None)
        out = self.model.base_model(inputs_embeds=x, position_ids=positions, attention_mask=taken,
                                    use_cache=cache is not None, **{self._cache_name: cache})
        return out.last_hidden_state

    def text_logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [...,H] -> logits of the text ids [...,V]."""
        logits = self.model.get_output_embeddings()(hidden)
        return logits if self.special is None else torch.cat([logits, self.special.logits(hidden)], -1)

    def make_cache(self, batch: int, length: int) -> KeyValueCache:
        """Return an empty cache; `InputError` for one that is longer than the model's context."""
        if length > self.context_length:
            raise InputError(f'a cache of {format_count(length, "place")} was asked for; the language model is made '
                             f'for {self.context_length}.')
        return super().make_cache(batch, length)

    def resize(self, added: int) -> int:
        """Give the model `added` special rows; see `LanguageModel.resize`."""
        more = added - self.added
        if more < 0:
            raise InputError(f'{added} special rows were asked for, and the language model has {self.added}: rows that '
                             'are there are not taken away.')
        head = self.model.get_output_embeddings()
        if getattr(head, 'bias', None) is not None:
            raise InputError('the head of this language model has a bias, which rows of special tokens do not have. '
                             'Use a model without it, such as llama, qwen2 or qwen3.')
        special = self.special
        if more:
            embedding = self.model.get_input_embeddings().weight
            table = None if self.tied else head.weight
            special = (make_mean_rows(more, embedding, table) if special is None else
                       special.grow(more, embedding, table))
        self._set_special(special)
        return self.ordinary

    def init_weights(self) -> None:
        """Load the weights of `pretrained`; special rows become what it has of them, or the mean of the others."""
        if self.pretrained is None:
            return
        loaded = load_model(self.pretrained, self.model.dtype)
        rows, added = getattr(loaded.config, ADDED, 0), self.added
        state = dict(loaded.state_dict())
        read, write = (state[name] for name in self._tables())
        state.update({name: state[name][:len(read) - rows] for name in self._tables()})
        take_weights(self.model, state, self.pretrained)
        self.model.generation_config = loaded.generation_config
        own = SpecialRows(read[len(read) - rows:], None if self.tied else write[len(write) - rows:])
        earlier = self.special
        self._set_special(own if rows else None)
        self.resize(max(added, rows))
        if earlier is not None and self.special is not None and len(earlier) == len(self.special):
            earlier.take(self.special)
            self._set_special(earlier)

    def _tables(self) -> tuple[str, str]:
        """Return the names of the tables of embedding and head in the state of the model."""
        names = {id(module): name for name, module in self.model.named_modules()}
        tables = (self.model.get_input_embeddings(), self.model.get_output_embeddings())
        embedding, head = (f'{names[id(table)]}.weight' for table in tables)
        return embedding, head

    def save_pretrained(self, folder: str | os.PathLike, max_shard_size: str = '5GB') -> None:
        """Write a plain folder of `transformers`: adapters are merged, special rows stand in their tables."""
        state = merge_state(self.model)
        if self.special is not None:
            for name, head in zip(self._tables(), (False, True)):
                state[name] = self.special.join(state[name], head)
        write_model(self.model, state, self.vocab_size, self.added, folder, max_shard_size)

    def set_recompute(self, on: bool) -> None:
        """See `LanguageModel.set_recompute`."""
        self.recompute = on
        if on:
            # the older name goes in transformers 6
            enable = getattr(self.model, 'activation_checkpointing_enable', self.model.gradient_checkpointing_enable)
            enable(dict(use_reentrant=False))
        for module in self.model.modules():
            if hasattr(module, 'gradient_checkpointing'):
                module.gradient_checkpointing = on

    def frozen_names(self) -> list[str]:
        """Return the names of the base under the adapters."""
        adapted = any(is_adapter(name) for name, _ in self.named_parameters())
        return [name for name, _ in self.model.named_parameters(prefix='model') if adapted and not is_adapter(name)]

    def train(self, mode: bool = True) -> HFCausalLM:
        """Set the mode; a model whose parameters are all frozen stays in evaluation, without dropout."""
        super().train(mode)
        if mode and not any(p.requires_grad for p in self.model.parameters()):
            self.model.eval()
            for module in self.model.modules():
                if getattr(module, 'gradient_checkpointing', False):
                    module.training = True  # of itself alone: it recomputes in training only
        return self


def _build(config: Any, attention: str, dtype: torch.dtype, empty: bool) -> Any:
    """Build a model of `transformers`; `empty` leaves its weights undefined."""
    transformers = need_package('transformers', 'mllm', 'HFCausalLM')
    transformers.AttentionInterface.register(SDPA, transformers.AttentionInterface()['sdpa'])
    from transformers.initialization import no_init_weights
    with explained(f'a language model of the type `{config.model_type}` cannot be built'):
        make = transformers.AutoModelForCausalLM.from_config
        args = dict(dtype=dtype, trust_remote_code=False,
                    attn_implementation=SDPA if attention == 'sdpa' else attention)
        if not empty:
            return make(copy.deepcopy(config), **args)
        with no_init_weights():
            model = make(copy.deepcopy(config), **args)
        model.tie_weights()
        return model
