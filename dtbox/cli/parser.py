"""The parser of a verb: an error of the command line is an `InputError`, one sentence as all errors of users are."""
from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from dtbox.errors import InputError, closest

KINDS = {'int': 'a whole number', 'float': 'a number'}
"""Type of an argument, as argparse names it -> in words."""
VALUE = re.compile(r"argument (?P<what>\S+?): invalid (?P<kind>\w+) value: (?P<value>.*)", re.S)
CHOICE = re.compile(r"argument (?P<what>\S+?): invalid choice: (?P<value>.*) \(choose from (?P<options>.*)\)", re.S)
LACKS = re.compile(r'argument (?P<what>\S+?): expected (?P<count>.*)')
MISSING = re.compile(r'the following arguments are required: (?P<names>.*)')
UNKNOWN = re.compile(r'unrecognized arguments: (?P<words>.*)', re.S)


class Parser(argparse.ArgumentParser):
    """A parser that raises `InputError` instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        """Raise the error that argparse words as `message`."""
        sentence, where = explain(message)
        raise InputError(f'{sentence} `{self.prog} --help` shows the arguments.', where)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, after a look at the options: it would name an argument that is missing first."""
        if self._subparsers is None:  # else the words are those of a parser below
            self.check_options(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def check_options(self, words: Sequence[str]) -> None:
        """Raise `InputError` for the first word that looks like an option and is none."""
        known = [option for option in self._option_string_actions if option.startswith('--')]
        for word in words:
            option = word.partition('=')[0]
            if word == '--':
                return
            if option.startswith('--') and ' ' not in word and not any(name.startswith(option) for name in known):
                raise InputError(f'there is no such option.{closest(option, known, n=1)} `{self.prog} --help` shows '
                                 'the options.', option)


def explain(message: str) -> tuple[str, str]:
    """Return a message of argparse as (sentences on what came and what was expected, the argument that they are about,
    '' where there are several)."""
    if match := VALUE.fullmatch(message):
        return f'got {match["value"]}; expected {KINDS.get(match["kind"], match["kind"])}.', _name(match['what'])
    if match := CHOICE.fullmatch(message):
        options = match['options'].replace("'", '')
        hint = closest(match['value'].strip("'"), options.split(', '))
        return f'got {match["value"]}.{hint} Expected one of {options}.', _name(match['what'])
    if match := LACKS.fullmatch(message):
        count = match['count'].replace('argument', 'value')
        return f'nothing comes after it; expected {count}.', _name(match['what'])
    if match := MISSING.fullmatch(message):
        return f'the command lacks {match["names"]}.', ''
    if match := UNKNOWN.fullmatch(message):
        return f'the command has words that no argument takes: {match["words"]}. Quote a text of several words.', ''
    return f'{message[:1].lower()}{message[1:].rstrip(".")}.', ''


def _name(what: str) -> str:
    """Return the name of an argument that may have several, such as `--local_rank/--local-rank`."""
    return what.split('/')[-1]
