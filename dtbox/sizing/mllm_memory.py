"""What a GPU holds while a multimodal language model trains: all of it, or the part that FSDP2 leaves; with activations
that are kept, or computed again.

FSDP2 divides weights, gradients and moments. Beside its part, a GPU holds the whole weights and gradients of what is
gathered at a time: two blocks (one runs, the next one comes), and all that is in no block until the backward pass ends.
Under autocast a pass keeps a bfloat16 copy of each weight that it has multiplied with; where blocks are recomputed,
those of one block. Tokenizer, judge and tables of codes are whole on every GPU.
"""
from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Iterable

from torch import nn

from dtbox.training.parallel import find_blocks

FROZEN = ('tokenizer', 'judge')
"""Parts that take no part in a training step."""
COPY = 2
"""Bytes of a bfloat16 number."""
AT_A_TIME = 2
"""Blocks that FSDP2 has gathered at a time."""


@dataclass(frozen=True)
class Pieces:
    """What is gathered, and copied, at a time.

    Attributes:
        block: bytes of (weights, weights that learn) of the largest block.
        rest: the same of all that is in no block.
        blocks: number of blocks of the language model.
        copies: bytes of bfloat16 copies of (one block, all blocks, the text head) of the language model; zeros without
            autocast.
    """
    block: tuple[int, int] = (0, 0)
    rest: tuple[int, int] = (0, 0)
    blocks: int = 0
    copies: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def of(cls, model: Any, half: bool) -> Pieces:
        """Return those of a MultimodalLM; `half`: under autocast."""
        blocks = find_blocks(model)
        inside = {id(p) for block in blocks for p in block.parameters()}
        own = find_blocks(model.lm)
        copies = [_count_copies(block.parameters()) for block in own] if half else []
        head = _count_copies(model.lm.model.get_output_embeddings().parameters()) if half else 0
        return cls(max((_count_bytes(block.parameters()) for block in blocks), default=(0, 0)),
                   _count_bytes(p for p in model.parameters() if id(p) not in inside), len(own),
                   (max(copies, default=0), sum(copies), head))


def _count_bytes(parameters: Iterable[nn.Parameter]) -> tuple[int, int]:
    own = [(p.numel() * p.element_size(), p.requires_grad) for p in parameters]
    return sum(size for size, _ in own), sum(size for size, learns in own if learns)


def _count_copies(parameters: Iterable[nn.Parameter]) -> int:
    return sum(COPY * p.numel() for p in parameters if p.ndim > 1 and p.element_size() > COPY)


@dataclass(frozen=True)
class Memory:
    """Bytes of a GPU.

    Attributes:
        weights, gradients, moments: of the model; its part of them where it is divided. Moments are Adam's two.
        others: tokenizer, judge, tables of codes, gradients of classifiers.
        gathered: whole weights and gradients of what is gathered at a time.
        copies: bfloat16 copies of weights.
        activations: what autograd keeps of the samples that are computed at a time.
    """
    weights: float
    gradients: float
    moments: float
    others: float
    gathered: float
    copies: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))


def measure_memory(description: Any, batch: int, shards: int, recompute: bool | None = None) -> Memory:
    """Return what a GPU holds.

    Args:
        description: MLLMDescription.
        batch: samples a GPU, of which `description.at_once` are computed at a time.
        shards: ranks that divide the model; 1 where each holds all of it.
        recompute: whether blocks compute their activations again; None: as the config says.
    """
    own = [part for name, part in description.parts.items() if name not in FROZEN]
    weights, trained = (sum(part.size * getattr(part, key) for part in own) for key in ('parameters', 'trained'))
    others = sum(part.size * part.parameters for name, part in description.parts.items() if name in FROZEN)
    pieces, gathered = description.pieces, 0.0
    if shards > 1:
        gathered = sum(pieces.rest) + AT_A_TIME * pieces.block[0] + pieces.block[1]
    lm = description.parts.get('lm')
    again = recompute if recompute is not None else lm is not None and lm.recomputed
    one, every, head = pieces.copies
    kept = description.activations if recompute is None else description.kept[recompute]
    if again and pieces.blocks and description.kept:  # of the block that runs again
        kept += (description.kept[False] - description.kept[True]) / pieces.blocks
    at_once = min(batch, description.at_once or batch)
    return Memory(weights / shards, trained / shards, 2 * trained / shards,
                  others + description.buffers + int(description.fixed), gathered,
                  ((one if again else every) + head) * bool(batch), at_once * kept)


def format_memory(description: Any, batch: int, gpus: int) -> str:
    """Return the memory of a GPU as a table: whole and divided, kept and recomputed."""
    ways = [(shards, again) for shards in dict.fromkeys((1, gpus)) for again in (False, True)]
    columns = [measure_memory(description, batch, *way) for way in ways]
    heads = [('whole' if shards == 1 else f'1/{shards}') + (', recomputed' if again else ', kept')
             for shards, again in ways]
    rows = dict(weights='weights', gradients='gradients', moments="Adam's moments",
                others='tokenizer, judge, codes', gathered='gathered at a time', copies='bfloat16 copies of weights',
                activations=f'activations of {min(batch, description.at_once or batch)}', total='all')
    lines = [f'{"memory of a GPU in GB":<28}' + ''.join(f'{head:>20}' for head in heads)]
    for name, title in rows.items():
        lines.append(f'{title:<28}' + ''.join(f'{getattr(column, name) / 1e9:>20,.2f}' for column in columns))
    return '\n'.join(lines)
