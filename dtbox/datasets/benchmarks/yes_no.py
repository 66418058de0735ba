"""POPE and MME in their official files.

POPE: Li et al., arXiv 2305.10355. MME: Fu et al., arXiv 2306.13394.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dtbox.counts import format_count
from dtbox.datasets.benchmarks.base import BenchmarkDataset
from dtbox.datasets.benchmarks.files import read_rows, read_text
from dtbox.datasets.folder_listing import SUFFIXES
from dtbox.datasets.image_files import find_data_folder
from dtbox.errors import InputError
from dtbox.questions import Question
from dtbox.registry import DATASETS

CATEGORIES = ('random', 'popular', 'adversarial')
ASK = 'Please answer yes or no.'
"""How each question of MME ends."""


@DATASETS.register_module()
class POPEQuestions(BenchmarkDataset):
    """POPE: `coco_pope_CATEGORY.json`, a question a line, and COCO's images.

    A question is called CATEGORY/ID, since each file counts from 1; or by the id that LLaVA's question file gives it,
    whose lines are in the order of the others, category by category.

    Args:
        data_root: folder of the files.
        categories: parts that are asked.
        images: folder of the images in `data_root`.
        name: of a file, with `{category}`.
        ids: LLaVA's question file, `llava_pope_test.jsonl`, by whose ids its answers are read; None for none.
        more: as in `BenchmarkDataset`.

    Raises:
        InputError: no such file, another version of it, a label that is neither yes nor no.
    """
    benchmark = 'pope'

    def __init__(self, data_root: str | None = None, categories: Sequence[str] = CATEGORIES, images: str = 'val2014',
                 name: str = 'coco_pope_{category}.json', ids: str | None = None, **more: Any) -> None:
        super().__init__(**more)
        root = find_data_folder(data_root, 'POPEQuestions', 'It holds coco_pope_random.json, ... and images.')
        asked: list[Question] = []
        for category in categories:
            path = root / name.format(category=category)
            for row in read_rows(path, dict(question_id=(int, str), image=str, text=str, label=str)):
                if row['label'] not in ('yes', 'no'):
                    raise InputError(f'{path}: the question {row["question_id"]} has the label {row["label"]!r}; '
                                     'expected yes or no.', 'file')
                key = f'{category}/{row["question_id"]}'
                asked.append(Question(key, key, row['text'], (row['label'],), category, image=row['image']))
        self.fill(asked if ids is None else take_ids(asked, root / ids), root, root / images)


def take_ids(questions: Sequence[Question], path: Path) -> list[Question]:
    """Return questions of POPE with the ids of LLaVA's question file.

    Raises:
        InputError: another number of questions in a category, or another image.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in read_rows(path, dict(question_id=(int, str), image=str, text=str, category=str)):
        rows.setdefault(row['category'], []).append(row)
    count = Counter(question.category for question in questions)
    named = []
    for category, number in count.items():
        some = rows.get(category, [])
        own = [question for question in questions if question.category == category]
        odd = [row['question_id'] for row, question in zip(some, own) if row['image'] != question.image]
        if len(some) != number or odd:
            raise InputError(f'{path} has {format_count(len(some), "question")} of the category {category}, and the '
                             f'labels are of '
                             f'{number:,}' + (f'; {odd[0]} is about another image' if odd else '') + '. The files are '
                             'not of one version.', 'ids')
        named += [replace(question, key=str(row['question_id']), id=row['question_id'])
                  for row, question in zip(some, own)]
    return named


@DATASETS.register_module()
class MMEQuestions(BenchmarkDataset):
    """MME: a folder for each category, with IMAGE.txt beside each image, or in `questions_answers_YN` beside `images`;
    each line of it is a question, a tab, and Yes or No.

    A question is asked without its last words, "Please answer yes or no.", which the prompt adds as it likes.

    Args:
        data_root: folder of the categories.
        more: as in `BenchmarkDataset`.

    Raises:
        InputError: no categories, an image without questions or with another number than two, questions without image,
            an answer that is neither yes nor no.
    """
    benchmark = 'mme'

    def __init__(self, data_root: str | None = None, **more: Any) -> None:
        super().__init__(**more)
        root = find_data_folder(data_root, 'MMEQuestions', 'It holds a folder for each category: existence, count, ...')
        asked: list[Question] = []
        for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith('.')):
            asked += self._read_category(root, folder)
        if not asked:
            raise InputError(f'{root} holds no questions; expected folders such as existence/ with images and .txt '
                             'files.', 'data_root')
        self.fill(asked, root, root)

    def _read_category(self, root: Path, folder: Path) -> list[Question]:
        apart = (folder / 'questions_answers_YN').is_dir()
        texts, images = (folder / 'questions_answers_YN', folder / 'images') if apart else (folder, folder)
        found = {path.stem: path for path in sorted(images.iterdir())
                 if path.suffix.lower() in SUFFIXES} if images.is_dir() else {}
        asked = []
        named = {path.stem: path for path in sorted(texts.iterdir()) if path.suffix == '.txt'}
        lone = sorted(set(found) ^ set(named))
        if lone:
            here = 'no questions' if lone[0] in found else 'no image'
            raise InputError(f'{folder}: {lone[0]} has {here} ({len(lone)} such in the category). Each image needs a '
                             '.txt of its name.', 'data_root')
        for stem, path in named.items():
            lines = [line for line in read_text(path).split('\n') if line.strip()]
            if len(lines) != 2:
                raise InputError(f'{path} has {format_count(len(lines), "question")}; MME asks two about each '
                                 f'image.', 'data_root')
            for number, line in enumerate(lines, 1):
                asked.append(self._read_line(root, folder.name, found[stem], number, line, path))
        return asked

    def _read_line(self, root: Path, category: str, image: Path, number: int, line: str, path: Path) -> Question:
        text, tab, answer = line.rstrip('\r').partition('\t')
        truth = answer.strip().lower()
        if not tab or truth not in ('yes', 'no'):
            raise InputError(f'{path}, line {number}, is {line[:80]!r}; expected a question, a tab, and Yes or No.',
                             'data_root')
        group = f'{category}/{image.name}'
        return Question(f'{group}#{number}', f'{group}#{number}', text.strip().removesuffix(ASK).rstrip(), (truth,),
                        category, group=group, image=image.relative_to(root).as_posix(),
                        row=dict(image=image.name, question=text.strip(), answer=answer.strip()))
