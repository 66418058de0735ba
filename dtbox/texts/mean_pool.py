"""A small text tower that learns fast from few pairs: a transformer encoder, and the mean over the words.

SigLIP reads the last position, mostly padding, which first has to learn to gather the words; with a few thousand pairs
the mean over the words learns much faster.

Legend: T texts, L ids of a text, E joint width.
"""
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError
from dtbox.registry import TEXTS
from dtbox.structures import Guidance
from dtbox.texts.towers import TextTower
from dtbox.values import Depth, Positive
from dtbox.weights.state_dicts import load_into, load_state, select_prefix


@TEXTS.register_module()
class MeanPoolText(TextTower):
    """Word and position embeddings, pre-norm transformer blocks, mean over the words, norm, linear. Padding is masked.

    Args:
        embed_dim: joint width E.
        width: channels of the transformer.
        depth: transformer blocks.
        heads: attention heads.
        tokenizer: config of the tokenizer; gives vocabulary, length and padding.
        weights: None; a file or `dtbox://` name.
        prefix: this tower's prefix in that file.
        logit_scale, logit_bias: initial values.
    """

    def __init__(self, embed_dim: Positive, width: Positive, depth: Depth, heads: Positive, tokenizer: dict | None,
                 weights: str | None = None, prefix: str = '', logit_scale: float = 2.3025851,
                 logit_bias: float = -10.0) -> None:
        super().__init__(tokenizer, logit_scale, logit_bias)
        if self.tokenizer is None:
            raise InputError('MeanPoolText masks the padding of its tokenizer, and there is none. Give it a '
                             '`tokenizer`.',
                             'tokenizer')
        self.weights, self.prefix = weights, prefix
        self.pooled_dim, self.pad_id = embed_dim, self.tokenizer.pad_id
        self.guidance = Guidance(self.tokenizer.context_length, width)
        self.words = nn.Embedding(self.tokenizer.vocab_size, width)
        self.positions = nn.Parameter(torch.zeros(self.tokenizer.context_length, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, activation='gelu', batch_first=True,
                                           norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.proj = nn.Linear(width, embed_dim)
        nn.init.normal_(self.words.weight, std=0.5)
        nn.init.normal_(self.positions, std=0.02)

    def limits(self) -> tuple[int, int]:
        """Return (longest text in tokens, number of token ids)."""
        return len(self.positions), self.words.num_embeddings

    def forward(self, ids: Tensor) -> Tensor:
        """ids [T, L] int64 -> [T, E], not normalised."""
        x, padding = self._read(ids)
        keep = (~padding).to(x.dtype)[..., None]
        return self.proj((x * keep).sum(1) / keep.sum(1))

    def tokens(self, ids: Tensor) -> Tensor:
        """See TextTower."""
        return self._read(F.pad(ids, (0, len(self.positions) - ids.shape[1]), value=self.pad_id))[0]

    def _read(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """ids [T, L] -> tokens after the norm [T, L, W], and which of them are padding [T, L]."""
        padding = ids == self.pad_id
        # a text of padding alone still needs something to attend to
        padding = padding & ~padding.all(1, keepdim=True)
        x = self.words(ids) + self.positions[:ids.shape[1]]
        return self.norm(self.blocks(x, src_key_padding_mask=padding)), padding

    def init_weights(self) -> None:
        """Load `weights` into this tower, scale and bias included."""
        if self.weights is not None:
            load_into(self, select_prefix(load_state(self.weights), self.prefix), self.weights)
