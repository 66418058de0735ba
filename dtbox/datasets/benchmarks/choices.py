"""SEED-Bench and tables of VLMEvalKit (MMBench and others) in their official files.

SEED-Bench: Li et al., arXiv 2307.16125. MMBench: Liu et al., arXiv 2307.06281; VLMEvalKit: arXiv 2407.11691.
"""
from __future__ import annotations

import base64
import binascii
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from PIL import Image

from dtbox.counts import format_count
from dtbox.datasets.benchmarks.base import BenchmarkDataset
from dtbox.datasets.benchmarks.files import check_keys, read_json, read_table
from dtbox.datasets.image_files import find_data_folder
from dtbox.datasets.read import read_image
from dtbox.errors import InputError
from dtbox.questions import LETTERS, Question
from dtbox.registry import DATASETS

SHORTEST = 64
"""A cell of the column `image` that is no longer than this is the index of the row that has the image."""
STEP = 1_000_000
"""Rotation r of the options of question i has the index i + r * STEP."""
ROTATIONS = ('file', 'make')


@DATASETS.register_module()
class SEEDQuestions(BenchmarkDataset):
    """SEED-Bench: `SEED-Bench.json` and the folder of its images; questions about videos are left out and counted.

    Args:
        data_root: folder of the file.
        file: of the questions.
        images: folder of the images in `data_root`.
        more: as in `BenchmarkDataset`.

    Raises:
        InputError: no such file, another version of it.
    """
    benchmark = 'seed'

    def __init__(self, data_root: str | None = None, file: str = 'SEED-Bench.json', images: str = 'SEED-Bench-image',
                 **more: Any) -> None:
        super().__init__(**more)
        root = find_data_folder(data_root, 'SEEDQuestions', 'It holds SEED-Bench.json and the images.')
        path, asked = root / file, []
        data = read_json(path)
        check_keys(data, dict(questions=list, question_type=Mapping), f'{path}, as a whole')
        names = {number: name for name, number in data['question_type'].items()}
        letters = {letter: f'choice_{letter.lower()}' for letter in 'ABCD'}
        expected: dict[str, Any] = dict(question_id=(int, str), data_id=str, question=str, answer=str,
                                        **dict.fromkeys(letters.values(), (str, int, float)))
        videos = 0
        for number, row in enumerate(data['questions'], 1):
            check_keys(row, expected, f'{path}, question {number}')
            if row.get('data_type', 'image') != 'image':
                videos += 1
                continue
            kind = row.get('question_type_id')
            asked.append(Question(
                str(row['question_id']), row['question_id'], row['question'], (row['answer'],),
                str(names.get(kind, kind if kind is not None else '')),
                {letter: str(row[name]) for letter, name in letters.items()}, image=row['data_id']))
        if videos:
            self.note(f'{format_count(videos, "question", "is")} left out in {path}: about videos')
        self.fill(asked, path, root / images)


@DATASETS.register_module()
class VLMEvalKitTSV(BenchmarkDataset):
    """A table of questions with options as VLMEvalKit has them: columns index, question, A, B, ... and image (base64,
    or the index of the row that has the image) or image_path; answer, category and hint where there are some.

    Rotations of the options of question i have the indices i + 1,000,000 r, as in the tables of MMBench.

    Args:
        data_root: folder of the file.
        file: the table.
        images: folder of the images in `data_root` that image_path is relative to.
        rotations: 'file' takes the rows as they are; 'make' adds to each question its options in every other rotation,
            for a table that does not have them.
        more: as in `BenchmarkDataset`.

    Raises:
        InputError: no such file, a column that is missing, an answer that is not an option, a row without image.
    """
    benchmark = 'vlmevalkit'

    def __init__(self, data_root: str | None = None, file: str = 'MMBench_DEV_EN.tsv', images: str = '',
                 rotations: str = 'file', **more: Any) -> None:
        super().__init__(**more)
        if rotations not in ROTATIONS:
            raise InputError(f"`rotations` is {rotations!r}; expected 'file' or 'make'.", 'rotations')
        root = find_data_folder(data_root, 'VLMEvalKitTSV', 'It holds the table.')
        self.path = root / file
        rows = read_table(self.path, ('index', 'question', 'A', 'B'))
        self.cells = {row['index']: row['image'] for row in rows if 'index' in row and 'image' in row}
        asked = [self._read(row, number) for number, row in enumerate(rows, 2)]
        if rotations == 'make':
            asked = [turned for question in asked for turned in rotate(question)]
        self.fill(asked, self.path, root / images)

    def _read(self, row: Mapping[str, str], number: int) -> Question:
        index, where = row.get('index', ''), f'{self.path}, row {number}'
        if not index.isdecimal():
            raise InputError(f'{where}, has the index {index!r}; expected a whole number, which its answer bears.',
                             'file')
        options = {letter: row[letter] for letter in LETTERS if letter in row}
        answer = row.get('answer')
        if answer is not None and answer not in options:
            raise InputError(f'{where}, has the answer {answer!r}; expected one of its options: {", ".join(options)}.',
                             'file')
        path = row.get('image_path', '')
        if not path and index not in self.cells:
            raise InputError(f'{where}, has neither `image` nor `image_path`; expected one of them.', 'file')
        if not path and len(self.cells[index]) <= SHORTEST and self.cells[index] not in self.cells:
            raise InputError(f'{where}, takes the image of the row {self.cells[index]}, which there is not.', 'file')
        return Question(index, int(index), row.get('question', ''), (answer,) if answer else (),
                        row.get('category', ''), options, row.get('hint', ''), str(int(index) % STEP), path,
                        {name: cell for name, cell in row.items() if name != 'image'})

    def open_image(self, question: Question) -> Image.Image:
        """See BenchmarkDataset."""
        if question.image:
            return super().open_image(question)
        cell = self._find_cell(question)
        try:
            content = base64.b64decode(cell, validate=True)
        except (binascii.Error, ValueError) as e:
            raise InputError(f'{self.path}: the image of the row {question.id} is not base64 ({e}).', 'file') from e
        return read_image(io.BytesIO(content))

    def contents(self) -> Iterator[str]:
        """Yield the questions, and the content of images that the table holds."""
        yield from super().contents()
        for question in self.questions:
            if not question.image:
                yield hashlib.sha256(self._find_cell(question).encode()).hexdigest()

    def _find_cell(self, question: Question) -> str:
        cell = self.cells.get(question.key) or self.cells[question.group]
        return self.cells[cell] if len(cell) <= SHORTEST else cell


def rotate(question: Question) -> list[Question]:
    """Return a question with its options in every rotation, the first one as it is: option p of rotation r is option
    p + r of the first."""
    letters, texts = list(question.options), list(question.options.values())
    turned = [question]
    for r in range(1, len(letters)):
        options = dict(zip(letters, texts[r:] + texts[:r]))
        answers = tuple(letters[(letters.index(answer) - r) % len(letters)] for answer in question.answers)
        index = int(question.id) + r * STEP
        row = {**question.row, 'index': str(index), **options, **({'answer': answers[0]} if answers else {})}
        turned.append(replace(question, key=str(index), id=index, options=options, answers=answers, row=row))
    return turned
