"""GenEval (arXiv 2310.11513): its prompts, and the scores of the results that its detector writes.

The detector (Mask2Former and CLIP, github.com/djghosh13/geneval) runs in an environment of its own: dtbox writes the
folder of images that it reads (`dtbox.apis.drawing_layouts`), and reads its results.jsonl here.
"""
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

from dtbox.counts import format_count
from dtbox.errors import InputError, closest, reason
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.names import ALL
from dtbox.evaluation.results import Results
from dtbox.evaluation.stamps import compute_digest
from dtbox.files import parse_json, require_file

TASKS = ('single_object', 'two_object', 'counting', 'colors', 'position', 'color_attr')
PROMPTS, IMAGES = 553, 4
"""Prompts of evaluation_metadata.jsonl, and images of each."""
NAME = 'geneval'
INFOS = (MetricInfo('geneval', 'GenEval', '', '.1%', 'higher', 'drawing', order=20),
         MetricInfo('geneval_task/{task}', 'GenEval, {task}', '', '.1%', 'higher', 'drawing', order=21),
         MetricInfo('geneval_images', 'GenEval, correct images', '', '.1%', 'higher', 'drawing', order=22),
         MetricInfo('geneval_prompts', 'GenEval, prompts with a correct image', '', '.1%', 'higher', 'drawing',
                    order=23))


def read_lines(path: str | os.PathLike, needs: dict[str, type]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number, object) of each line of a .jsonl file.

    Args:
        path: of the file.
        needs: key -> type of its value, of every object.

    Raises:
        InputError: a file that cannot be read, or a line without a key; the line is named.
    """
    try:
        require_file(path)
        with open(path, encoding='utf-8-sig') as file:
            lines = file.readlines()  # lines end with a line feed alone: a prompt may hold other breaks
    except (OSError, ValueError) as e:
        raise InputError(f'{os.fspath(path)} cannot be read ({reason(e)}).') from e
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f'line {number} of {os.fspath(path)}'
        try:
            row = parse_json(line)
        except ValueError as e:
            raise InputError(f'{place} is not JSON ({reason(e)}); expected an object with '
                             f'{", ".join(needs)}.') from e
        for key, kind in needs.items():
            if not isinstance(row, dict) or not isinstance(row.get(key), kind):
                got = f'{row.get(key)!r:.60}' if isinstance(row, dict) and key in row else 'nothing'
                raise InputError(f'{place} has {got} as `{key}`; expected a {kind.__name__}, as GenEval writes it.')
        yield number, row


def read_metadata(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Return the objects of evaluation_metadata.jsonl, each with `tag` and `prompt`, in their order.

    Raises:
        InputError: see `read_lines`; an unknown task, an empty prompt, no line at all.
    """
    rows = []
    for number, row in read_lines(path, dict(tag=str, prompt=str)):
        _check_task(row['tag'], f'line {number} of {os.fspath(path)}')
        if not row['prompt'].strip():
            raise InputError(f'line {number} of {os.fspath(path)} has an empty `prompt`; expected words to draw.')
        rows.append(row)
    if not rows:
        raise InputError(f'{os.fspath(path)} is empty; expected GenEval\'s evaluation_metadata.jsonl.')
    return rows


def _check_task(tag: str, place: str) -> None:
    if tag not in TASKS:
        raise InputError(f'{place} has the tag {tag!r:.60}.{closest(tag, TASKS)} The tasks of GenEval are: '
                         f'{", ".join(TASKS)}.')


def read_results(path: str | os.PathLike) -> Results:
    """Return the scores of a results.jsonl, which GenEval's `evaluate_images.py` writes, by its `summary_scores.py`.

    The score of a task is the fraction of its images that are correct, the overall score the mean of the six tasks.

    Args:
        path: of the file; each line has `filename`, `tag`, `correct` and `metadata` (the line of the prompt, as text).

    Returns:
        Results whose values are called METRIC@geneval; `skipped` says which prompts or images are missing.

    Raises:
        InputError: see `read_lines`; an unknown task, an image that comes twice, a task without images.
    """
    right: dict[str, list[bool]] = {task: [] for task in TASKS}
    prompts: dict[str, list[bool]] = {}
    seen: set[str] = set()
    for number, row in read_lines(path, dict(filename=str, tag=str, correct=bool, metadata=str)):
        place = f'line {number} of {os.fspath(path)}'
        _check_task(row['tag'], place)
        if row['filename'] in seen:
            raise InputError(f'{place} is a second result of {row["filename"]}; expected one of each image.')
        seen.add(row['filename'])
        right[row['tag']].append(row['correct'])
        prompts.setdefault(row['metadata'], []).append(row['correct'])
    empty = [task for task, found in right.items() if not found]
    if empty:
        raise InputError(f'{os.fspath(path)} has no image of {", ".join(empty)}; the overall score is the mean of all '
                         f'{len(TASKS)} tasks. Draw and detect all prompts of evaluation_metadata.jsonl.')
    scores = {task: sum(found) / len(found) for task, found in right.items()}
    values = dict(geneval=sum(scores.values()) / len(scores),
                  **{f'geneval_task/{task}': score for task, score in scores.items()},
                  geneval_images=sum(map(sum, right.values())) / len(seen),
                  geneval_prompts=sum(map(any, prompts.values())) / len(prompts))
    stamp = dict(hash=compute_digest([NAME, TASKS]), data=compute_digest(sorted(prompts)))
    why = _find_missing(prompts)
    part = Results({ALL: values}, {ALL: len(seen)}, dict(GenEval=why) if why else {}, protocols={NAME: stamp},
                   infos=INFOS)
    return Results.join({NAME: part})


def _find_missing(prompts: dict[str, list[bool]]) -> str:
    """Return what a whole run of GenEval has and these results do not; '' where they have all."""
    sentences = []
    if len(prompts) != PROMPTS:
        sentences.append(f'the results are of {format_count(len(prompts), "prompt")}; GenEval has {PROMPTS}')
    sizes = Counter(map(len, prompts.values()))
    sizes.pop(IMAGES, None)
    if sizes:
        sentences.append(f'{format_count(sum(sizes.values()), "prompt", "has")} another number of images than '
                         f'{IMAGES} (such as {min(sizes)})')
    return '; '.join(sentences)
