"""ChatTemplate: the turns of a pretrained chat model, by the Jinja template that comes with its tokenizer."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dtbox.conversations import Conversation, Turn
from dtbox.counts import format_count
from dtbox.errors import InputError, is_fault, need_package, reason
from dtbox.mllm.sequences.spans import Span, Unusable, number_images
from dtbox.mllm.sequences.templates import Template, write_image
from dtbox.mllm.sequences.tokens import SequenceTokenizer
from dtbox.registry import SEQUENCES


@SEQUENCES.register_module()
class ChatTemplate(Template):
    """The chat template of a pretrained language model, rendered by transformers.

    An answer is what the template adds to the prompt that generation starts from, up to the token that ends it. Where a
    template changes earlier turns once later ones follow, a conversation of several answers is refused.

    Args:
        tokens, prompts: as in `Template`.
        options: further arguments of the template, such as dict(enable_thinking=False).

    Raises:
        InputError: there is no chat template, or it does not end an answer by a token.
    """

    def __init__(self, tokens: SequenceTokenizer, prompts: Mapping[str, str] | None = None,
                 options: Mapping[str, Any] | None = None) -> None:
        super().__init__(tokens, prompts)
        if not tokens.chat_template:
            raise InputError(f'{tokens.source} has no chat template. Give the tokenizer `chat_template`, the path of a '
                             '.jinja file, or take PlainTemplate for a base model.')
        transformers = need_package('transformers', 'mllm', 'a chat template')
        names = {f'{role}_token': tokens.name(i) for role, i in [('eos', tokens.eos), ('pad', tokens.pad)]}
        if tokens.bos is not None:
            names['bos_token'] = tokens.name(tokens.bos)
        self.renderer = transformers.PreTrainedTokenizerFast(tokenizer_object=tokens.tokenizer, **names)
        self.options = dict(options or {})
        turns = [Turn('user', ('a',)), Turn('assistant', ('b',))]
        prompt, whole = self._render([self._message(turns[0], ['a'])], True), self._render(
            [self._message(turn, list(turn.parts)) for turn in turns])
        self.end = self._find_end(whole.removeprefix(prompt))

    def spans(self, conversation: Conversation) -> list[Span]:
        """As in `Template`."""
        return self.span_text(conversation) if conversation.kind == 'text' else self._spans(conversation, False)

    def prompt(self, conversation: Conversation) -> list[Span]:
        """As in `Template`."""
        return self._spans(conversation, True)

    def _spans(self, conversation, opening):
        """Return the spans of a conversation; with `opening`, also what the template writes before an answer."""
        messages = self._messages(conversation)
        whole = self._render(messages, opening)
        spans, images = [], []
        at = 0
        for i, turn in enumerate(conversation.turns):
            if turn.role != 'assistant':
                images += turn.images
                continue
            start, stop = self._render(messages[:i], True), self._render(messages[:i + 1])
            if not (whole.startswith(stop) and stop.startswith(start)):
                raise Unusable(conversation.key, f'has {format_count(len(messages), "turn")}, and the chat template '
                                                 'changes the text '
                               f'of turn {i + 1} with what follows it. Give the tokenizer a `chat_template` that does '
                               'not, or single answers.')
            spans += self._span(conversation, start[at:], images, False)
            spans += self._span(conversation, stop[len(start):], turn.images, True)
            images, at = [], len(stop)
        return spans + self._span(conversation, whole[at:], images, False)

    def write(self, conversation: Conversation) -> str:
        """As in `Template`."""
        return self._render(self._messages(conversation))

    def _span(self, conversation, text, images, answer):
        """Return the spans of a part of the rendered text; an answer is a target up to the token that ends it."""
        ids, after = self.tokens.encode_marked(text), []
        if ids.count(self.tokens.image) != len(images):
            raise Unusable(conversation.key, f'has {format_count(len(images), "image")} in a turn of which the chat '
                                             'template writes '
                           f'{ids.count(self.tokens.image)}. Give the tokenizer another `chat_template`.')
        if answer:
            if self.end not in ids:
                raise Unusable(conversation.key, f'has an answer that the chat template does not end by '
                               f'`{self.tokens.name(self.end)}`.')
            cut = ids.index(self.end) + 1
            ids, after = ids[:cut], [Span(tuple(ids[cut:]))]
        return number_images(ids, answer, images, self.tokens, conversation.kind != 'draw') + after

    def _messages(self, conversation):
        for turn in conversation.turns:
            found = self.tokens.find_special(turn.text)
            if found:
                raise Unusable(conversation.key, f'holds the text `{found}`, a special token of the language model. '
                               'Take it out.')
        return [self._message(turn, self.word(conversation, turn)) for turn in conversation.turns]

    @staticmethod
    def _message(turn, parts):
        return dict(role=turn.role, content=''.join(p if isinstance(p, str) else write_image(p) for p in parts))

    def _render(self, messages, prompt=False):
        if not messages:
            return ''
        try:
            return self.renderer.apply_chat_template(messages, chat_template=self.tokens.chat_template, tokenize=False,
                                                     add_generation_prompt=prompt, **self.options)
        except BaseException as e:
            if not is_fault(e):
                raise
            roles = ', '.join(message['role'] for message in messages)
            raise InputError(f'the chat template of {self.tokens.source} refuses the turns {roles}: {reason(e)}. Give '
                             'the tokenizer another `chat_template`.') from e

    def _find_end(self, text):
        end = next((i for i in self.tokens.encode_marked(text) if i in self.tokens.special.values()), None)
        if end is None:
            raise InputError(f'the chat template of {self.tokens.source} writes the answer \'b\' as {text!r}, without '
                             'a special token that ends it. Give the tokenizer another `chat_template`.')
        return end
