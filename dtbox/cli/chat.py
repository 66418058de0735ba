"""dtbox chat: talk with a multimodal language model."""
from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from dtbox.cli.options import add_language_model, add_model_options, add_reply_options
from dtbox.cli.verb import Verb
from dtbox.errors import InputError, closest

NOTHING = '(no answer: the model may not know such a text, or a question without an image; ask as it was trained)'
COMMANDS = {'/image': 'PATH [QUESTION]: show an image with this question, or with your next message',
            '/draw': 'PROMPT: draw, and show that drawing',
            '/save': 'write the conversation: /save NAME.json', '/new': 'begin anew', '/help': 'list the commands',
            '/quit': 'leave'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_language_model(parser)
    parser.add_argument('--out', default='chat', metavar='DIR',
                        help='folder for drawings and saved conversations (default: chat); nothing in it is '
                             'overwritten')
    add_reply_options(parser)
    add_model_options(parser)


class Session:
    """A conversation: messages whose images are paths, so that it can be written as JSON.

    Args:
        model: MultimodalModel.
        out: folder for drawings and conversations.
        settings: of `MultimodalModel.chat`.
    """

    def __init__(self, model: Any, out: str, **settings: Any) -> None:
        self.model, self.out = model, out
        self.settings = settings
        self.messages: list[dict] = []
        self.shown: list[dict] = []

    def say(self, line: str) -> str:
        """Return the answer to a line: of the model, or of a command.

        Raises:
            InputError: what cannot be done; the conversation is as before.
        """
        word, _, rest = line.strip().partition(' ')
        if not word.startswith('/'):
            return self.talk(line.strip())
        if word not in COMMANDS:
            raise InputError(f'there is no command `{word}`.{closest(word, COMMANDS)} /help lists them.')
        return getattr(self, f'do_{word[1:]}')(rest.strip())

    def talk(self, text: str) -> str:
        """Return the answer of the model to a text and the images that are shown with it."""
        asked = dict(role='user', content=[*self.shown, dict(type='text', text=text)] if self.shown else text)
        answer = self.model.chat([*self.messages, asked], **self.settings)
        if not isinstance(answer['content'], str):
            answer = dict(answer, content=[self._keep(part, text) for part in answer['content']])
        if not answer['content']:  # no turn that a later one could follow; its images stay for the next message
            return NOTHING
        self.messages += [asked, answer]
        self.shown = []
        parts = [answer['content']] if isinstance(answer['content'], str) else [
            part.get('text') or part['image'] for part in answer['content']]
        return ' '.join(parts)

    def do_image(self, words: str) -> str:
        """Show an image with the next message, or with the question that follows its path."""
        path, question = split_path(words)
        if not path:
            raise InputError('/image needs the path of an image. Type /image PATH, and your question in the next line.')
        self.model.tokenizer.prepare(path)
        self.shown.append(dict(type='image', image=path))
        if not question:
            return f'{path} is shown with your next message. Type a question.'
        try:
            return self.talk(question)
        except InputError:
            self.shown.pop()
            raise

    def do_draw(self, prompt: str) -> str:
        """Draw, and show the drawing with the next message."""
        from dtbox.apis.mllm_files import name_file, save_image
        if not prompt:
            raise InputError('/draw needs a text. Type /draw PROMPT.')
        image = self.model.draw_pil(prompt, seed=self.settings.get('seed', 0))[0][0]
        path = save_image(image, os.path.join(self.out, f'{name_file(prompt)}.png'))
        self.shown.append(dict(type='image', image=path))
        return f'{path} is shown with your next message.'

    def do_save(self, name: str) -> str:
        """Write the conversation under a name in the folder."""
        from dtbox.files import explain_writing, find_unused_path, write_atomic
        path = find_unused_path(os.path.join(self.out, os.path.basename(name) or 'chat.json'))
        with explain_writing(path):
            write_atomic(path, json.dumps(dict(messages=self.messages), indent=2, ensure_ascii=False) + '\n')
        return f'written to {path}'

    def do_new(self, _: str) -> str:
        """Begin anew."""
        self.messages, self.shown = [], []
        return 'A new conversation.'

    def do_help(self, _: str) -> str:
        """List the commands."""
        return '\n'.join([*(f'{name} {text}' for name, text in COMMANDS.items()),
                          'Any other line is a message to the model.'])

    def _keep(self, part: dict, text: str) -> dict:
        """Return a part of an answer, its image as the path of a file."""
        from dtbox.apis.mllm_files import name_file, save_image
        if part['type'] == 'text':
            return part
        return dict(part, image=save_image(part['image'], os.path.join(self.out, f'{name_file(text)}.png')))


def split_path(words: str) -> tuple[str, str]:
    """Return (path, question) of the words after /image: the path may hold spaces or stand in quotes, `~` is the home
    folder; the question is '' where there is none."""
    quote = words[:1] if words[:1] in ('"', "'") and words[1:].find(words[:1]) > 0 else ''
    if quote:
        path, _, question = words[1:].partition(quote)
    elif os.path.isfile(os.path.expanduser(words)):
        path, question = words, ''
    else:
        path, _, question = words.partition(' ')
        if not os.path.isfile(os.path.expanduser(path)):
            path, question = words, ''  # the error names all of it
    return os.path.expanduser(path), question.strip()


def run(args: argparse.Namespace) -> int:
    """Talk until the end of the input or /quit; returns 2 where a line that was piped in could not be answered."""
    from dtbox.apis.loading import load_as
    from dtbox.apis.opening import MLLM
    model = load_as(MLLM, args.run, args.checkpoint, device=args.device, plugins=args.plugin)
    session = Session(model, args.out, max_tokens=args.max_tokens, temperature=args.temperature, seed=args.seed)
    terminal, failed = sys.stdin.isatty(), 0
    if terminal:
        print(f'{model}\n{session.do_help("")}')
    while True:
        print('> ', end='', flush=True) if terminal else None
        line = sys.stdin.readline()
        if not line or line.strip() == '/quit':
            return 2 if failed and not terminal else 0
        if not line.strip():
            continue
        try:
            print(session.say(line), flush=True)
        except InputError as e:
            failed += 1
            print(f'error: {e}', file=sys.stderr, flush=True)


VERB = Verb(
    'chat', 'Talk with a multimodal language model, line by line',
    'The answers; drawings and saved conversations go to DIR. Commands: ' + ', '.join(COMMANDS)
    + '. Lines may be piped in; the exit code is 2 where one of these could not be answered.',
    'dtbox chat work_dirs/mllm_twemoji', add_arguments, run)
