"""A verb of the command line: what it is, its arguments, and what runs."""
from __future__ import annotations

import argparse
import logging
import os
import sys
import textwrap
from dataclasses import dataclass
from typing import Callable

from dtbox.cli.guard import logging_remarks, main_guard
from dtbox.cli.parser import Parser
from dtbox.errors import InputError
from dtbox.files import check_name
from dtbox.processes import check_number
from dtbox.renames import find_option
from dtbox.trust import trust_remote_code

EXAMPLE = 'Example: '


class HelpFormatter(argparse.HelpFormatter):
    """Help text that keeps the paragraphs of a description, and an example on one line."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return '\n\n'.join(part if part.startswith(EXAMPLE) else textwrap.fill(' '.join(part.split()), width)
                           for part in text.split('\n\n'))


@dataclass(frozen=True)
class Verb:
    """A verb of the command `dtbox`.

    Args:
        name: what a user types after `dtbox`.
        summary: what it does, one sentence without a full stop, for the list of verbs.
        output: what it prints and writes.
        example: one command.
        add_arguments: adds the arguments to a parser. Must be quick: heavy packages are imported by `run`.
        run: does the work; returns the exit code, None for 0. Its namespace has `typed`, the words after the verb.
        detail: more sentences for `--help`.
    """
    name: str
    summary: str
    output: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], 'int | None']
    detail: str = ''

    def fill_parser(self, parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
        """Give a parser the arguments and the help of the verb; returns it."""
        parser.formatter_class = HelpFormatter
        parser.description = f'{self.summary}.{self.detail and " " + self.detail}\n\nOutput: {self.output}'
        parser.epilog = f'{EXAMPLE}{self.example}'
        self.add_arguments(parser)
        return parser

    def parser(self) -> Parser:
        """Return the parser of `dtbox NAME`."""
        parser = Parser(f'dtbox {self.name}')
        self.fill_parser(parser)
        return parser

    def format_help(self) -> str:
        """Return the text of `dtbox NAME --help`."""
        return self.parser().format_help().rstrip()

    def parse(self, argv: list[str] | None = None) -> argparse.Namespace:
        """Return the arguments of a command line without program and verb (default: that of the process); `InputError`
        where they are not those of the verb."""
        words = sys.argv[1:] if argv is None else [str(word) for word in argv]
        for word, before in zip(words, ['', *words]):
            option, equals, value = word.partition('=')
            if not word.strip() or option.startswith('--') and equals and not value.strip():
                raise InputError(f'the command line has an empty argument{f" after {before}" if before else ""}; a '
                                 'shell variable that is not set leaves nothing.', option.strip())
            renamed = find_option(option)
            if renamed:
                raise InputError(renamed.tell(option))
        args = self.parser().parse_args([_expand_home(word) for word in words])
        for place in (getattr(args, 'work_dir', None), getattr(args, 'out', None)):
            if place:
                check_name(place)
        args.typed = words
        return args

    def _run(self, argv: list[str] | None) -> int | None:
        try:
            os.getcwd()
        except FileNotFoundError as e:
            raise InputError('the current folder is gone: something has removed it. Change to another one.') from e
        check_number(os.environ, 'LOCAL_RANK', default='0')  # MMEngine reads it, whether there are ranks or not
        args = self.parse(argv)
        with logging_remarks(), trust_remote_code(getattr(args, 'trust_remote_code', False)):
            return self.run(args)

    def main(self, argv: list[str] | None = None) -> None:
        """Run the verb. It leaves with the exit code where that is not 0; errors of users are one sentence (see
        `main_guard`). A run whose console has gone (`| head`) continues: what cannot be logged there is in its log."""
        logging.raiseExceptions = False
        code = main_guard(self._run)(argv)
        if code:
            raise SystemExit(code)


def _expand_home(word: str) -> str:
    """Return a word in which `~/` is the home folder, in `--option=~/...` too, where shells leave it."""
    option, equals, value = word.partition('=')
    if option.startswith('--') and equals:
        return f'{option}={os.path.expanduser(value) if value.startswith("~/") else value}'
    return os.path.expanduser(word) if word.startswith('~/') else word
