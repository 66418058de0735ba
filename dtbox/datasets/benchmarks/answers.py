"""Files of answers in the official formats: written after a run, and read again to be scored without the model.

| format | file |
|---|---|
| `llava` | answers.jsonl: {"question_id", "prompt", "text", "answer_id", "model_id", "metadata"} a line |
| `vqa` | answers.json: [{"question_id", "answer"}], what the server of VQAv2 takes |
| `gqa` | answers.json: [{"questionId", "prediction"}], in lower case, without periods at the end, as LLaVA does |
| `mme` | a folder of CATEGORY.txt: image, question, right answer and reply, divided by tabs, for calculation.py |
| `vlmevalkit` | answers.tsv: the table of questions without images, and the column `prediction` |
| `mmvet` | answers.json: {"v1_0": reply}, what the grader of MM-Vet takes |
"""
from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from dtbox.arguments import describe
from dtbox.counts import format_count
from dtbox.datasets.benchmarks.base import BenchmarkDataset
from dtbox.datasets.benchmarks.files import check_keys, read_json, read_rows, read_table, read_text, write_table
from dtbox.datasets.left_out import name_some
from dtbox.errors import InputError, closest
from dtbox.files import write_atomic
from dtbox.questions import Question

IDS = (int, str)
Replies = Mapping[str, str]
"""Key of a question -> reply."""


class Format(NamedTuple):
    """A format of answer files.

    Attributes:
        suffix: of the file; '' for a folder.
        texts: (dataset, replies, model) -> name of a file below the path ('' for the path itself) -> its content.
        rows: (path, dataset) -> pairs (id of the question as a text, reply).
    """
    suffix: str
    texts: Callable[[BenchmarkDataset, Replies, str], dict[str, str]]
    rows: Callable[[Path, BenchmarkDataset], Iterator[tuple[str, str]]]


def write_answers(name: str, path: str | os.PathLike, dataset: BenchmarkDataset, replies: Replies,
                  model: str = 'dtbox') -> str:
    """Write the replies to the questions of a dataset.

    Args:
        name: of the format.
        path: of the file without its suffix, or of the folder.
        dataset: whose questions were asked; those without a reply are left out.
        replies: key -> reply.
        model: what the answers are said to be of.

    Returns:
        the path of the file or folder.
    """
    form = find_format(name)
    target = f'{os.fspath(path)}{form.suffix}'
    for file, text in form.texts(dataset, replies, model).items():
        write_atomic(os.path.join(target, file) if file else target, text)
    return target


def read_answers(name: str, path: str | os.PathLike, dataset: BenchmarkDataset) -> dict[str, str]:
    """Return key -> reply of each question of a dataset.

    Args:
        name: of the format.
        path: of the file or folder.
        dataset: that was asked.

    Raises:
        InputError: no such file, another format, answers without ids, an id that comes twice or that the dataset does
            not have, a question without an answer.
    """
    keys = {str(question.id): question.key for question in dataset.questions}
    replies: dict[str, str] = {}
    unknown = []
    for number, reply in find_format(name).rows(Path(path), dataset):
        key = keys.get(number)
        if key is None:
            unknown.append(number)
        elif key in replies:
            raise InputError(f'{path} has two answers to the question {number}; expected one. Keep one of them.',
                             '--answers')
        else:
            replies[key] = reply
    if unknown:
        raise InputError(f'{len(unknown):,} answers of {path} are to questions that the data does not have, such as '
                         f'{name_some(unknown)}. Give the data that was asked.', '--answers')
    missing = [question.id for question in dataset.questions if question.key not in replies]
    if missing:
        raise InputError(f'{path} has no answer to {len(missing):,} of {format_count(len(dataset), "question")}, '
                         f'such as '
                         f'{name_some(map(str, missing))}; a score of the rest would not be that of the benchmark.',
                         '--answers')
    return replies


def find_format(name: str) -> Format:
    """Return a format; `InputError` where there is none of that name."""
    if name not in FORMATS:
        raise InputError(f'there is no format of answers {name!r}.{closest(str(name), FORMATS)} There are: '
                         f'{", ".join(FORMATS)}.', 'answers')
    return FORMATS[name]


def _answered(dataset: BenchmarkDataset, replies: Replies) -> Iterator[tuple[Question, str]]:
    return ((question, replies[question.key]) for question in dataset.questions if question.key in replies)


def _llava_texts(dataset: BenchmarkDataset, replies: Replies, model: str) -> dict[str, str]:
    lines = [json.dumps(dict(
        question_id=question.id, prompt=dataset.prompt.word(question), text=reply,
        answer_id=hashlib.sha256(f'{model} {question.key}'.encode()).hexdigest()[:22], model_id=model, metadata={}))
        for question, reply in _answered(dataset, replies)]
    return {'': ''.join(f'{line}\n' for line in lines)}


def _llava_rows(path: Path, dataset: BenchmarkDataset) -> Iterator[tuple[str, str]]:
    for row in read_rows(path, dict(question_id=IDS, text=str)):
        yield str(row['question_id']), row['text']


def _list_texts(name: str, value: str, tidy: Callable[[str], str]) -> Callable[..., dict[str, str]]:
    def write(dataset: BenchmarkDataset, replies: Replies, model: str) -> dict[str, str]:
        rows = [{name: question.id, value: tidy(reply)} for question, reply in _answered(dataset, replies)]
        return {'': json.dumps(rows) + '\n'}
    return write


def _list_rows(name: str, value: str) -> Callable[[Path, BenchmarkDataset], Iterator[tuple[str, str]]]:
    def read(path: Path, dataset: BenchmarkDataset) -> Iterator[tuple[str, str]]:
        rows = read_json(path)
        if not isinstance(rows, list):
            raise InputError(f'{path} holds {describe(rows)}; expected a list of answers.', '--answers')
        for number, row in enumerate(rows, 1):
            check_keys(row, {name: IDS, value: str}, f'{path}, answer {number}')
            yield str(row[name]), row[value]
    return read


def _mme_texts(dataset: BenchmarkDataset, replies: Replies, model: str) -> dict[str, str]:
    files: dict[str, list[str]] = {}
    for question, reply in _answered(dataset, replies):
        row = question.row
        cells = row['image'], row['question'], row['answer'], ' '.join(reply.split())
        files.setdefault(f'{question.category}.txt', []).append('\t'.join(cells) + '\n')
    return {name: ''.join(lines) for name, lines in files.items()}


def _mme_rows(path: Path, dataset: BenchmarkDataset) -> Iterator[tuple[str, str]]:
    ids = {(question.category, question.row['image'], question.row['question']): str(question.id)
           for question in dataset.questions}
    if not path.is_dir():
        raise InputError(f'{path} is not a folder; expected one with a .txt file for each category.', '--answers')
    for file in sorted(path.glob('*.txt')):
        for number, line in enumerate(read_text(file).split('\n'), 1):
            cells = line.rstrip('\r').split('\t')
            if not line.strip():
                continue
            if len(cells) != 4:
                raise InputError(f'{file}, line {number}, has {format_count(len(cells), "cell")}; expected image, '
                                 f'question, right '
                                 'answer and reply, divided by tabs.', '--answers')
            known = (file.stem, cells[0], cells[1].strip())
            yield ids.get(known, '/'.join(known)), cells[3]


def _table_texts(dataset: BenchmarkDataset, replies: Replies, model: str) -> dict[str, str]:
    rows = [{**question.row, 'prediction': reply} for question, reply in _answered(dataset, replies)]
    names = dict.fromkeys(name for row in rows for name in row if name != 'prediction')
    handle = io.StringIO()
    write_table(rows, [*names, 'prediction'], handle)
    return {'': handle.getvalue()}


def _table_rows(path: Path, dataset: BenchmarkDataset) -> Iterator[tuple[str, str]]:
    for number, row in enumerate(read_table(path, ('index', 'prediction')), 2):
        if 'index' not in row:
            raise InputError(f'{path}, row {number}, has no index; an answer needs the id of its question.',
                             '--answers')
        yield row['index'], row.get('prediction', '')


def _tidy_gqa(reply: str) -> str:
    return reply.rstrip('.').lower()


def _object_texts(dataset: BenchmarkDataset, replies: Replies, model: str) -> dict[str, str]:
    return {'': json.dumps({str(question.id): reply for question, reply in _answered(dataset, replies)}, indent=2)
            + '\n'}


def _object_rows(path: Path, dataset: BenchmarkDataset) -> Iterator[tuple[str, str]]:
    rows = read_json(path)
    if not isinstance(rows, dict) or not all(isinstance(reply, str) for reply in rows.values()):
        raise InputError(f'{path} holds {describe(rows)}; expected an object id -> reply.', '--answers')
    yield from rows.items()


FORMATS = {
    'llava': Format('.jsonl', _llava_texts, _llava_rows),
    'vqa': Format('.json', _list_texts('question_id', 'answer', str), _list_rows('question_id', 'answer')),
    'gqa': Format('.json', _list_texts('questionId', 'prediction', _tidy_gqa), _list_rows('questionId', 'prediction')),
    'mme': Format('', _mme_texts, _mme_rows),
    'vlmevalkit': Format('.tsv', _table_texts, _table_rows),
    'mmvet': Format('.json', _object_texts, _object_rows)}
"""Name -> Format."""
