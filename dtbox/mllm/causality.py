"""Whether a visual embedding lets a place know codes of later places: training on it would leak what is to be drawn."""
from __future__ import annotations

from typing import Any

import torch

from dtbox.code_tables import CodeTables
from dtbox.errors import InputError
from dtbox.mllm.frozen_tokenizer import FrozenTokenizer


@torch.no_grad()
def check_causality(embedding: Any, tables: CodeTables, tokenizer: FrozenTokenizer) -> None:
    """Compare the embeddings of two images whose codes differ from the middle on: those before must be the same bits.

    Args:
        embedding: VisualEmbedding.
        tables: of its codes.
        tokenizer: whose projections it may use, for the message.

    Raises:
        InputError: a place depends on codes of later places; the projections that may be the reason are named.
    """
    if embedding.token_local:
        return
    own, middle = torch.Generator().manual_seed(0), tables.places // 2
    device = next((p.device for p in embedding.parameters()), torch.device('cpu'))
    first = {name: torch.stack([torch.randint(size, (1, tables.places), generator=own) for size in sizes], -1).to(device)
             for name, sizes in tables.sizes.items()}
    second = {name: codes.clone() for name, codes in first.items()}
    for name, codes in second.items():
        codes[:, middle:] = (codes[:, middle:] + 1) % torch.tensor(tables.sizes[name], device=device)
    if torch.equal(embedding(first)[:, :middle], embedding(second)[:, :middle]):
        return
    found = ', '.join(f'vocabularies.{name}.{type(vocabulary.post_projection).__name__}'
                      for name, vocabulary in tokenizer.model.vocabularies.items())
    raise InputError(f'{type(embedding).__name__} lets a place see codes of later places of the same image, through the '
                     f'post-projection of {tokenizer.source} ({found}): a model that learns to '
                     'draw from it would read what it has to predict. Take visual_embedding '
                     'dict(type=\'CodesEmbedding\'), or a tokenizer whose post-projection is causal (causal=True).')
