"""Templates: how the turns of a conversation become ids, and which of them are targets.

Each turn is tokenized by itself, as generation meets it: a question ends where the answer begins. Masks follow from
that; no text is tokenized a second time to find them.
"""
from __future__ import annotations

from collections.abc import Mapping

from dtbox.conversations import KINDS, Conversation, ImagePart, Turn
from dtbox.errors import InputError, closest
from dtbox.mllm.sequences.spans import Span, span_image
from dtbox.mllm.sequences.tokens import DRAWN, GIVEN, IMAGE, SequenceTokenizer
from dtbox.registry import SEQUENCES

GAP = '{}'


class Template:
    """Base class of templates.

    Args:
        tokens: gives ids.
        prompts: kind of conversation -> what the user says, '{}' for the text of the dataset, such as
            dict(draw='{} Generate an image based on this description.').

    Attributes:
        end: id that ends an answer; the language model stops there.
    """

    def __init__(self, tokens: SequenceTokenizer, prompts: Mapping[str, str] | None = None) -> None:
        self.tokens, self.end = tokens, tokens.eos
        self.prompts = dict(prompts or {})
        for kind, text in self.prompts.items():
            if kind not in KINDS:
                raise InputError(f'`prompts` has the kind `{kind}`.{closest(kind, KINDS)} Kinds are: '
                                 f'{", ".join(KINDS)}.', 'prompts')
            check_gap(text, f'prompts.{kind}')

    def spans(self, conversation: Conversation) -> list[Span]:
        """Return the spans of a whole conversation, without a shared prefix.

        Raises:
            Unusable: it cannot be rendered.
        """
        raise NotImplementedError

    def prompt(self, conversation: Conversation) -> list[Span]:
        """Return the spans of a conversation that ends with a question, up to where the answer begins."""
        raise NotImplementedError

    def write(self, conversation: Conversation) -> str:
        """Return the conversation as one text with its special tokens, one `<image>` for an image."""
        raise NotImplementedError

    def span_text(self, conversation: Conversation) -> list[Span]:
        """Return the spans of a conversation of the kind 'text': all of it is to be predicted."""
        spans = self.begin()
        for part in conversation.turns[0].parts:
            spans += self.span_part(part, True, True)
        return [*spans, Span((self.tokens.eos,), True)]

    def begin(self) -> list[Span]:
        """Return the begin of a sequence; nothing where the language model has none."""
        return [] if self.tokens.bos is None else [Span((self.tokens.bos,))]

    def span_part(self, part: str | ImagePart, target: bool, start_is_target: bool) -> list[Span]:
        """Return the spans of a text, in which special tokens are plain text, or of an image."""
        if isinstance(part, ImagePart):
            return span_image(part, self.tokens, start_is_target)
        return [Span(tuple(self.tokens.encode(part)), target)]

    def word(self, conversation: Conversation, turn: Turn) -> list[str | ImagePart]:
        """Return the parts of a turn, the texts of a user's as `prompts` word them."""
        wording = self.prompts.get(conversation.kind, GAP) if turn.role == 'user' else GAP
        return [fill(wording, part) if isinstance(part, str) else part for part in turn.parts]


@SEQUENCES.register_module()
class PlainTemplate(Template):
    """Begin token, then texts and images one after the other, an end token after each answer.

    A drawing is `bos text <image_gen_start> places <image_gen_end> eos`, a question about an image is
    `bos <image_start> places <image_end> question answer eos`. For language models trained from scratch and for base
    models.

    Args:
        tokens, prompts: as in `Template`.
        system, user, assistant: what stands around a text of that role, '{}' for the text. What introduces an answer
            belongs to the end of `user`.
    """

    def __init__(self, tokens: SequenceTokenizer, prompts: Mapping[str, str] | None = None, system: str = ' {}',
                 user: str = ' {}', assistant: str = ' {}') -> None:
        super().__init__(tokens, prompts)
        self.around = dict(system=system, user=user, assistant=assistant)
        for role, text in self.around.items():
            check_gap(text, role)
        if assistant.split(GAP)[0].strip():
            raise InputError(f'`assistant` is {assistant!r}, with a text before the answer, which a prompt would lack. '
                             'Put it at the end of `user`.', 'assistant')

    def spans(self, conversation: Conversation) -> list[Span]:
        """As in `Template`."""
        if conversation.kind == 'text':
            return self.span_text(conversation)
        spans = self.begin()
        for turn in conversation.turns:
            target = turn.role == 'assistant'
            for part in self._parts(conversation, turn):
                spans += self.span_part(part, target, conversation.kind != 'draw')
            spans += [Span((self.end,), True)] if target else []
        return spans

    def prompt(self, conversation: Conversation) -> list[Span]:
        """As in `Template`."""
        return self.spans(conversation)

    def write(self, conversation: Conversation) -> str:
        """As in `Template`."""
        name, words = self.tokens.name, [] if self.tokens.bos is None else [self.tokens.name(self.tokens.bos)]
        for turn in conversation.turns:
            parts = turn.parts if conversation.kind == 'text' else self._parts(conversation, turn)
            words += [write_image(part) if isinstance(part, ImagePart) else part for part in parts]
            words += [name(self.end)] if turn.role == 'assistant' else []
        return ''.join(words)

    def _parts(self, conversation, turn):
        around = self.around[turn.role]
        return [fill(around, part) if isinstance(part, str) else part for part in self.word(conversation, turn)]


def write_image(part: ImagePart) -> str:
    """Return an image as the text of its three tokens."""
    start, end = DRAWN if part.generated else GIVEN
    return f'{start}{IMAGE}{end}'


def fill(around: str, text: str) -> str:
    """Return `around` with `text` in its gap; braces of the text mean nothing."""
    return around.replace(GAP, text)


def check_gap(text: str, where: str) -> None:
    """Raise `InputError` unless `text` has one gap."""
    if not isinstance(text, str) or text.count(GAP) != 1:
        raise InputError(f'expected a text with \'{GAP}\' in it, once, for the words of the data; got {text!r}.', where)
