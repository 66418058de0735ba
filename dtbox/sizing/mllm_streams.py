"""What a stream of codes adds to a multimodal language model: the difference between the model with all streams and the
one without it. DualToken (arXiv 2503.14324, appendix) gives such numbers for its second vocabulary."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from torch import nn

from dtbox.errors import InputError
from dtbox.registry import VISUAL_EMBEDDINGS, VISUAL_HEADS


@dataclass(frozen=True)
class StreamCost:
    """Numbers that a stream adds.

    Attributes:
        embedding, head: parameters of the visual embedding and of the visual head.
        codes: values of its codebooks, which belong to the tokenizer.
        share: of all three, as a fraction of the language model's parameters.
    """
    embedding: int
    head: int
    codes: int
    share: float


def count_streams(model: Any, parts: Mapping[str, Any]) -> dict[str, StreamCost]:
    """Return stream -> StreamCost, of the streams that the model can do without.

    Args:
        model: MultimodalLM on the meta device.
        parts: configs of `visual_embedding` and `visual_head`.
    """
    found = {}
    for name in model.names if len(model.names) > 1 and model.visual_head is not None else ():
        others = [other for other in model.names if other != name]
        kinds = (('visual_embedding', VISUAL_EMBEDDINGS, dict(features=model.tokenizer.features)),
                 ('visual_head', VISUAL_HEADS, {}))
        try:
            less = [_count(registry.build(dict(parts[key], streams=others), tables=model.tables, width=model.lm.width,
                                          **more)) for key, registry, more in kinds]
        except InputError:  # its order needs all of them
            continue
        embedding, head = (_count(getattr(model, key)) - count for (key, _, _), count in zip(kinds, less))
        books = model.tokenizer.model.streams[name].quantizer.state_dict()
        codes = sum(value.numel() for key, value in books.items() if key.rpartition('.')[2] == 'weight')
        found[name] = StreamCost(embedding, head, codes, (embedding + head + codes) / _count(model.lm))
    return found


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def format_streams(costs: Mapping[str, StreamCost]) -> list[str]:
    """Return a line for each stream."""
    return [f'{name} adds {cost.embedding / 1e6:,.4g} M parameters of the visual embedding, {cost.head / 1e6:,.4g} M '
            f'of the visual head, {cost.codes / 1e6:,.4g} M values of codes: {cost.share:.2%} of the language model'
            for name, cost in costs.items()]
