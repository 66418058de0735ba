"""Conversations: files of LLaVA's and of OpenAI's format, with images beside them."""
from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dtbox.arguments import describe
from dtbox.conversations import Conversation
from dtbox.counts import format_count
from dtbox.datasets.base import BrokenSample, check_limit
from dtbox.datasets.conversation_dataset import ConversationDataset
from dtbox.datasets.conversation_rows import Row, parse_conversation
from dtbox.datasets.image_files import find_data_folder
from dtbox.datasets.left_out import name_some
from dtbox.datasets.read import read_image
from dtbox.errors import InputError, at
from dtbox.files import parse_json, require_file
from dtbox.registry import DATASETS
from dtbox.token_shards.lookup import KeyedCodes


@DATASETS.register_module()
class ConversationFiles(ConversationDataset):
    """Conversations from a .json file (a list) or a .jsonl file (one a line); see `parse_conversation` for the formats.

    Each row is read once when the dataset is built, and its images are looked for; they are decoded when a sample is
    read.

    Args:
        data_root: folder that `file` and the paths of images are relative to.
        file: name of the file.
        images: folder of the images, relative to `data_root`; None is that folder.
        split, set: 'train' or the name of a held-out part; name of the set in the results, None takes the split's.
        pipeline, seed: as in `PairDataset`; each image by itself.
        independent: questions about one image do not see each other's answers: they become turns of a shared prefix.
        limit: take at most so many conversations, the first ones; None for all.
        tokens: folder of token shards (`dtbox encode` of the folder of the images): codes of images, by their paths,
            stand in the place of pixels, and no image is read; None reads the images.
        broken: what a row that cannot be used does, when the dataset is built or when its images are decoded: 'error'
            stops, 'skip' leaves it out, named and counted.

    Raises:
        InputError: no such file, one that is not JSON, no usable row; with 'error', the first row that is not usable.
    """

    def __init__(self, data_root: str, file: str, images: str | None = None, split: str = 'train',
                 set: str | None = None, pipeline: Sequence = (), seed: int = 0, independent: bool = False,
                 limit: int | None = None, broken: str = 'error', tokens: str | None = None):
        super().__init__(pipeline, seed, broken)
        check_limit(limit)
        with at('tokens'):
            self.codes = None if tokens is None else KeyedCodes(os.path.expanduser(tokens))
        root = find_data_folder(data_root, 'ConversationFiles', 'It is the folder of the file and its images.')
        self.path, self.root = root / file, root / (images or '')
        self.split, self.part = split, set or split
        self.independent = independent
        rows = [(number, key, row) for number, key, row in _name_rows(read_json_rows(self.path))
                if self._is_usable(number, key, row)][:limit]
        if not rows:
            raise InputError(f'{self.path} holds no conversation that can be used. '
                             + (self.flaws[0] if self.flaws else 'It is empty.'), 'file')
        self.size, self.keys = len(rows), [key for _, key, _ in rows]
        # one block of bytes: a list of a million objects would be copied into every worker by counting its references
        written = [json.dumps(row).encode() for _, _, row in rows]
        self._block, self._ends = b''.join(written), np.cumsum([len(row) for row in written])
        if self.flaws:
            self.note(f'{format_count(len(self.flaws), "conversation")} of {self.path} are left out: '
                      f'{name_some(flaw.split(": ", 1)[0] for flaw in self.flaws)}')

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """Return the conversation at `index` as in `ConversationDataset`."""
        row = self.read_row(index)
        return dict(conversation=self._show(row), key=row.conversation.key, set=self.part)

    def read_row(self, index: int) -> Row:
        """Return the conversation at `index` without its images, and their paths."""
        start = int(self._ends[index - 1]) if index else 0
        row = json.loads(self._block[start:int(self._ends[index])])
        return parse_conversation(row, self.keys[index], self.independent)

    @property
    def sets(self) -> list[str]:
        """Sets of the samples, in order."""
        return [self.part] * len(self)

    @property
    def texts(self) -> list[str]:
        """Every text, turn by turn."""
        turns = [turn for index in range(len(self)) for turn in self.read_row(index).conversation.turns]
        return [turn.text for turn in turns if turn.text.strip()]

    def contents(self) -> Iterator[str]:
        """Yield keys and rows."""
        yield from self.keys
        yield self._block.decode()
        if self.codes is not None:
            yield f'codes of {self.codes.cache.meta.fingerprint.digest}'

    def _is_usable(self, number: int, key: str, row: Any) -> bool:
        try:
            for path in parse_conversation(row, key, self.independent).paths:
                if self.codes is not None:
                    self.codes.find(path)
                elif not os.path.isfile(self.root / path):
                    raise InputError(f'its image {self.root / path} does not exist. Check `images`, the folder of the '
                                     'images, or leave the row out.')
        except InputError as e:
            sentence = f'{self.path}, row {number} ({key}): {e}'
            if self.broken == 'error':
                raise InputError(sentence, 'file') from e
            self.flaws.append(sentence)
            return False
        return True

    def _show(self, row: Row) -> Conversation:
        try:
            images = tuple(read_image(self.root / path) if self.codes is None else self.codes.read(path)
                           for path in row.paths)
            return replace(row.conversation, images=images)
        except InputError as e:
            raise BrokenSample(row.conversation.key, str(e)) from e


def read_json_rows(path: str | Path) -> list[Any]:
    """Return the rows of a file: the list of a .json file, the values of the lines of a .jsonl file.

    Raises:
        InputError: another kind of file, one that cannot be read, or one that is not JSON.
    """
    path = Path(path)
    if path.suffix.lower() not in ('.json', '.jsonl'):
        raise InputError(f'{path} has the suffix {path.suffix!r}; expected .json (a list) or .jsonl (one a line).',
                         'file')
    try:
        require_file(path)
        content = path.read_text(encoding='utf-8-sig')
    except OSError as e:
        raise InputError(f'{path} cannot be read ({e.strerror or e}). Check the path.', 'file') from e
    except UnicodeDecodeError as e:
        raise InputError(f'{path} is not UTF-8 ({e}). Save it as UTF-8.', 'file') from e
    if path.suffix.lower() == '.json':
        rows = _parse(content, path)
        if not isinstance(rows, list):
            raise InputError(f'{path} holds {describe(rows)}; expected a list of conversations.', 'file')
        return rows
    return [_parse(line, f'{path}, line {i}') for i, line in enumerate(content.split('\n'), 1) if line.strip()]


def _parse(text, where):
    try:
        return parse_json(text)
    except ValueError as e:
        raise InputError(f'{where} is not valid JSON ({e}).', 'file') from e


def _name_rows(rows: list[Any]) -> Iterator[tuple[int, str, Any]]:
    """Yield (number from 1, key, row); the key is the `id` where it is one, with the number where it comes twice."""
    names = [str(row['id']) if isinstance(row, dict) and isinstance(row.get('id'), (str, int)) else '' for row in rows]
    counts = Counter(names)
    for number, (name, row) in enumerate(zip(names, rows), 1):
        yield number, name if name and counts[name] == 1 else f'{name or "row"}#{number}', row
