"""Requests -> results, by a model: what the worker of a server computes."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dtbox.apis.mllm_answers import answer_messages
from dtbox.apis.mllm_drawing import Progress
from dtbox.apis.mllm_talk import AnswerProgress, Part
from dtbox.serving.images import write_markdown, write_png
from dtbox.serving.requests import IMAGE, ChatRequest, ImageRequest, find_prompt


class Watch(Protocol):
    """Whoever waits for a result."""

    def check(self) -> None:
        """Raise an exception that ends the work where nobody waits any more."""

    def tell(self, event: Any) -> None:
        """Take a `Delta`, a `Places` or a `Preview`."""


@dataclass(frozen=True)
class Delta:
    """More text of an answer.

    Attributes:
        choice: number of the answer.
        text: that comes after what was told before.
    """
    choice: int
    text: str


@dataclass(frozen=True)
class Places:
    """How far a drawing in an answer is: `done` places of `total`."""
    done: int
    total: int


@dataclass(frozen=True)
class Preview:
    """A drawing that grows.

    Attributes:
        image: number of the drawing.
        number: of the preview, from 0.
        png: content of a PNG file.
    """
    image: int
    number: int
    png: bytes


@dataclass(frozen=True)
class Choice:
    """An answer; `ended` says whether the model ended it, or a limit did."""
    content: str
    ended: bool


@dataclass(frozen=True)
class Completion:
    """Answers, and their counts.

    Attributes:
        choices: the answers.
        given: places of what was asked.
        generated: places of all answers.
    """
    choices: tuple[Choice, ...]
    given: int
    generated: int


@dataclass(frozen=True)
class Drawings:
    """Drawings as PNG files; `given` and `generated` as of `Completion`."""
    images: tuple[bytes, ...]
    given: int
    generated: int


class ContentWriter:
    """Writes the parts of a growing answer as one text, each drawing once.

    Args:
        model: MultimodalModel.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.drawn: dict[int, str] = {}
        self.sent = ''

    def write(self, parts: Sequence[Part]) -> str:
        """Return the text of the parts so far."""
        return ''.join(part if isinstance(part, str) else self._draw(i, part) for i, part in enumerate(parts)).strip()

    def more(self, parts: Sequence[Part]) -> str:
        """Return what the text has more than after the last call; '' while a character is not whole."""
        text = self.write(parts)
        if not text.startswith(self.sent) or text.endswith('\N{REPLACEMENT CHARACTER}'):
            return ''
        return self._send(text)

    def rest(self, content: str) -> str:
        """Return what the whole text has more than after the last call of `more`.

        Raises:
            RuntimeError: a text tokenizer that writes ids otherwise once others follow.
        """
        if not content.startswith(self.sent):
            raise RuntimeError(f'the text {self.sent[-60:]!r} was sent, and the whole answer is {content[:200]!r}')
        return self._send(content)

    def _send(self, text: str) -> str:
        more, self.sent = text[len(self.sent):], text
        return more

    def _draw(self, i: int, part: Any) -> str:
        if i not in self.drawn:
            self.drawn[i] = write_markdown(write_png(self.model.to_pil(part[None])[0]))
        return self.drawn[i]


def complete(model: Any, request: ChatRequest, watch: Watch) -> Completion:
    """Answer a request of a chat.

    Args:
        model: MultimodalModel.
        request: the request.
        watch: is told of `Delta` and `Places` where the request streams.

    Raises:
        InputError: what the model says of the request.
    """
    if request.modalities == {IMAGE}:
        return _draw_choices(model, request, watch)
    choices: list[Choice] = []
    given = generated = 0
    settings = dict(request.settings)
    if 'max_tokens' in settings:  # clients send what fits the largest models
        settings['max_tokens'] = min(settings['max_tokens'], model.model.lm.context_length)
    for i in range(request.n):
        writer = ContentWriter(model)

        def tell(progress: AnswerProgress, i: int = i, writer: ContentWriter = writer) -> None:
            watch.check()
            if not request.stream:
                return
            if progress.drawing is not None:
                watch.tell(Places(progress.drawing.done, progress.drawing.total))
            elif more := writer.more(progress.parts):
                watch.tell(Delta(i, more))
        watch.check()
        answer = answer_messages(model, request.messages, IMAGE in request.modalities, tell, seed=request.seed + i,
                                 **settings)
        content = writer.write(answer.parts)
        if request.stream and (more := writer.rest(content)):
            watch.tell(Delta(i, more))
        choices.append(Choice(content, answer.ended))
        given, generated = answer.given, generated + answer.generated
    return Completion(tuple(choices), given, generated)


def _draw_choices(model: Any, request: ChatRequest, watch: Watch) -> Completion:
    """Return drawings as answers."""
    def tell(progress: Progress) -> None:
        watch.check()
        if request.stream:
            watch.tell(Places(progress.done, progress.total))
    watch.check()
    prompt = find_prompt(request)
    settings = {name: value for name, value in request.settings.items() if name != 'max_tokens'}
    images = model.draw(prompt, request.n, seed=request.seed, report=tell, **settings)[0]
    choices = tuple(Choice(write_markdown(write_png(image)), True) for image in model.to_pil(images))
    for i, choice in enumerate(choices if request.stream else ()):
        watch.tell(Delta(i, choice.content))
    return Completion(choices, count_prompt(model, prompt), request.n * model.model.places)


def count_prompt(model: Any, prompt: str) -> int:
    """Return the places of a prompt for a drawing."""
    return len(model.model.sequence.prompt_for_drawing(prompt))


def draw(model: Any, request: ImageRequest, watch: Watch) -> Drawings:
    """Draw what a request asks.

    Args:
        model: MultimodalModel.
        request: the request.
        watch: is told of `Preview` where the request streams.

    Raises:
        InputError: what the model says of the request.
    """
    previews = Previews(model, request, watch)
    watch.check()
    images = model.draw(request.prompt, request.n, seed=request.seed, report=previews.report, **request.settings)[0]
    return Drawings(tuple(map(write_png, model.to_pil(images))), count_prompt(model, request.prompt),
                    request.n * model.model.places)


class Previews:
    """Tells of growing drawings: as many times as a request asks, evenly spread, the last before the drawing is done.

    Args:
        model, request, watch: as of `draw`.
    """

    def __init__(self, model: Any, request: ImageRequest, watch: Watch) -> None:
        self.model, self.watch = model, watch
        wanted = model.model.places - 1 if request.partial_images is None else request.partial_images
        self.wanted = wanted if request.stream else 0
        self.told = 0

    def report(self, progress: Progress) -> None:
        """Tell of the drawings as they are, if a preview is due."""
        self.watch.check()
        due = progress.done * (self.wanted + 1) // progress.total
        if self.told < due <= self.wanted:
            for i, image in enumerate(self.model.to_pil(progress.images()[0])):
                self.watch.tell(Preview(i, self.told, write_png(image)))
            self.told += 1

