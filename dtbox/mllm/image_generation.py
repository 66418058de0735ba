"""Drawing: the codes of images, place by place, from contexts that end with `<image_gen_start>`.

Which places follow is known, not sampled: N visual places, then `<image_gen_end>`. Under guidance (arXiv 2207.12598)
the unconditional rows run in the same batch, after the conditional ones, and see the same codes.

Legend: B rows, N visual places, Q codes of a place.
"""
from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

import torch
from torch import Tensor

from dtbox import distributed
from dtbox.errors import InputError
from dtbox.mllm.contexts import Context
from dtbox.mllm.decoding import Decoding
from dtbox.sampling import Guidance, SamplingRule

Report = Callable[[int, Mapping[str, Tensor]], None]
"""Called after each place with (places done, stream -> codes [B,done,Q])."""


def generate_images(model: Any, contexts: Sequence[Context], rule: SamplingRule, guidance: Guidance | None,
                    generators: Sequence[torch.Generator], report: Report | None = None) -> dict[str, Tensor]:
    """Draw one image for each context.

    Args:
        model: MultimodalLM in evaluation mode.
        contexts: B rows, each ends with `<image_gen_start>`.
        rule: how codes are drawn.
        guidance: None, or a scale of 1 throughout, runs no unconditional rows.
        generators: one for each row, so that an image does not depend on its batch.
        report: see `Report`.

    It runs in PyTorch's inference mode, which spares a small model 6 % of its time; the codes are ordinary tensors. A
    model that FSDP2 divides does not run in it.

    Returns:
        stream -> codes [B,N,Q].

    Raises:
        InputError: a model without visual head, guidance for a model that never saw a dropped condition, contexts that
            are too long.
    """
    guided = check_drawing(model, guidance)
    with torch.no_grad() if distributed.is_divided(model) else torch.inference_mode():
        codes = _draw_places(model, contexts, rule, guidance, generators, report, guided)
    return {name: value.clone() for name, value in codes.items()}


def _draw_places(model: Any, contexts: Sequence[Context], rule: SamplingRule, guidance: Guidance | None,
                 generators: Sequence[torch.Generator], report: Report | None, guided: bool) -> dict[str, Tensor]:
    count = len(contexts)
    rows = [*contexts, *([Context.of_text(model.sequence.unconditional_prompt())] * count if guided else [])]
    decoding = Decoding(model, rows, model.places)
    done: dict[str, list[Tensor]] = {name: [] for name in model.visual_head.names}
    embedding = model.visual_embedding
    read = embedding.make_cache(count)
    for place in range(model.places):
        active = guidance if guidance is not None and guided and guidance.covers(place) else None
        state = decoding.state if active is not None else decoding.state[:count]
        codes = model.visual_head.sample(state, rule, active, generators, place)
        for name, value in codes.items():
            done[name].append(value)
        if report is not None:
            report(place + 1, {name: torch.stack(values, 1) for name, values in done.items()})
        if place + 1 < model.places:
            x = embedding.step({name: value[:, None] for name, value in codes.items()}, read)[:, 0]
            decoding.step(x.repeat(len(rows) // count, 1))
    return model.collapse({name: torch.stack(values, 1) for name, values in done.items()})


def check_drawing(model: Any, guidance: Guidance | None) -> bool:
    """Return whether drawings need rows without a prompt; `InputError` for a model that cannot draw in this way.

    Args:
        model: MultimodalLM.
        guidance: see `generate_images`.
    """
    if model.visual_head is None:
        raise InputError('the model has no visual head and draws nothing. Train one with `visual_head`.')
    guided = guidance is not None and guidance.is_needed(model.visual_head.names)
    if guided and not model.sequence.drop:
        raise InputError('guidance compares with drawings without a prompt, but this model was trained without dropped '
                         'prompts (`drop` is 0). Take scale=1, or train with sequence.drop=0.1.', 'scale')
    return guided
