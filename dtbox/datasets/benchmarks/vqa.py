"""VQAv2 and GQA in their official files.

VQAv2: Goyal et al., arXiv 1612.00837. GQA: Hudson and Manning, arXiv 1902.09506.
"""
from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dtbox.counts import format_count
from dtbox.datasets.benchmarks.base import BenchmarkDataset, check_unique
from dtbox.datasets.benchmarks.files import check_keys, read_json
from dtbox.datasets.image_files import find_data_folder
from dtbox.errors import InputError
from dtbox.questions import Question
from dtbox.registry import DATASETS

QUESTION = dict(question_id=int, image_id=int, question=str)
ANNOTATION = dict(question_id=int, answers=list, answer_type=str)


@DATASETS.register_module()
class VQAv2Questions(BenchmarkDataset):
    """VQAv2: `v2_OpenEnded_mscoco_SPLIT_questions.json`, `v2_mscoco_SPLIT_annotations.json`, and COCO's images.

    Args:
        data_root: folder of the files.
        split: 'val2014', 'train2014', or 'test2015' and 'test-dev2015', which have no annotations: answers are written
            and not scored.
        questions, annotations, images: names of the files and of the folder of images in `data_root`; None takes the
            published ones.
        more: as in `BenchmarkDataset`.

    Raises:
        InputError: no such file, another version of it, a question without its annotation.
    """
    benchmark = 'vqav2'

    def __init__(self, data_root: str | None = None, split: str = 'val2014', questions: str | None = None,
                 annotations: str | None = None, images: str | None = None, **more: Any) -> None:
        super().__init__(**more)
        root = find_data_folder(data_root, 'VQAv2Questions', 'It holds questions, annotations and images.')
        path = root / (questions or f'v2_OpenEnded_mscoco_{split}_questions.json')
        part = split.replace('-dev', '')
        scored = annotations is not None or not split.startswith('test')
        truths = {} if not scored else self._read_annotations(
            root / (annotations or f'v2_mscoco_{split}_annotations.json'))
        rows = read_list(path, 'questions', QUESTION)
        missing = [row['question_id'] for row in rows if row['question_id'] not in truths]
        if scored and missing:
            raise InputError(f'{format_count(len(missing), "question")} of {path} have no annotation, such as '
                             f'{missing[0]}. The two '
                             'files are not of one split.', 'annotations')
        asked = []
        for row in rows:
            truth = truths.get(row['question_id'], {})
            asked.append(Question(
                str(row['question_id']), row['question_id'], row['question'],
                tuple(sys.intern(answer['answer']) for answer in truth.get('answers', ())),
                truth.get('answer_type', ''),
                image=f'COCO_{part}_{row["image_id"]:012d}.jpg'))
        self.fill(asked, path, root / (images or part))

    def _read_annotations(self, path: Path) -> dict[int, dict[str, Any]]:
        rows = read_list(path, 'annotations', ANNOTATION)
        check_unique([row['question_id'] for row in rows], f'{path} has two annotations of the question')
        for row in rows:
            for number, answer in enumerate(row['answers'], 1):
                check_keys(answer, dict(answer=str), f'{path}, question {row["question_id"]}, answer {number}')
            if not row['answers']:
                raise InputError(f'{path}: the question {row["question_id"]} has no answers; expected those of ten '
                                 'people.', 'annotations')
        return {row['question_id']: row for row in rows}


@DATASETS.register_module()
class GQAQuestions(BenchmarkDataset):
    """GQA: a file of questions, such as `testdev_balanced_questions.json`, and `images/IMAGE.jpg`. The category is the
    structural type of a question.

    Args:
        data_root: folder of the file.
        file: of the questions.
        images: folder of the images in `data_root`.
        more: as in `BenchmarkDataset`.

    Raises:
        InputError: no such file, or another version of it.
    """
    benchmark = 'gqa'

    def __init__(self, data_root: str | None = None, file: str = 'testdev_balanced_questions.json',
                 images: str = 'images', **more: Any) -> None:
        super().__init__(**more)
        root = find_data_folder(data_root, 'GQAQuestions', 'It holds the questions and images of GQA.')
        path, asked = root / file, []
        rows = read_json(path)
        if not isinstance(rows, Mapping):
            raise InputError(f'{path} holds a {type(rows).__name__}; expected an object id -> question.', 'file')
        for name, row in rows.items():
            check_keys(row, dict(imageId=str, question=str), f'{path}, question {name}')
            answer = row.get('answer')
            kind = row.get('types')
            asked.append(Question(
                name, name, row['question'], (answer,) if isinstance(answer, str) else (),
                str(kind.get('structural') or '') if isinstance(kind, Mapping) else '', image=f'{row["imageId"]}.jpg'))
        self.fill(asked, path, root / images)


def read_list(path: Path, name: str, expected: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the list `name` of a JSON object, its rows with the keys `expected`."""
    data = read_json(path)
    check_keys(data, {name: list}, f'{path}, as a whole')
    for number, row in enumerate(data[name], 1):
        check_keys(row, expected, f'{path}, entry {number} of `{name}`')
    return data[name]
