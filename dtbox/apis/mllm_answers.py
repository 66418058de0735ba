"""Messages of a chat -> the answer of a model, with its length and how far it is: what `MultimodalModel.chat` and
servers call."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch

from dtbox.apis.mllm_arguments import read_report, read_settings
from dtbox.apis.mllm_messages import read_messages
from dtbox.apis.mllm_talk import Answer, AnswerReport, Talk
from dtbox.arguments import allow_none, read_arguments, read_flag
from dtbox.errors import at
from dtbox.mllm.contexts import take_context


@torch.no_grad()
@read_arguments(may_draw=read_flag, report=allow_none(read_report))
def answer_messages(model: Any, messages: Sequence[Mapping[str, Any]], may_draw: bool = True,
                    report: Optional[AnswerReport] = None, **settings: Any) -> Answer:
    """Answer the last of some messages.

    Args:
        model: MultimodalModel.
        messages, may_draw, settings: as in `MultimodalModel.chat`.
        report: called with an `AnswerProgress` after each text id and each place of a drawing; an exception of it ends
            the answer.

    Raises:
        InputError: as in `MultimodalModel.chat`.
    """
    chosen = read_settings(model, **settings)
    with at('messages'):
        conversation, images = read_messages(messages, model.tokenizer.prepare)
        codes = {} if images is None else model.model.expand(model.model.tokenizer.encode(images))
        context = take_context(model.model.sequence.render_prompt(conversation), codes)
    talk = Talk(model.model, chosen, model.generation, conversation.turns[-1].text, report)
    silent = model.model.tokenizer.needs_texts and not talk.prompt.strip()
    return talk.answer(context, may_draw and model.can_draw and not silent)
