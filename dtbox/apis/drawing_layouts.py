"""Which files a public benchmark of text-to-image models expects, and the prompt of each.

    mjhq       CATEGORY/NAME.jpg                             MJHQ-30K (arXiv 2402.17245), for clean-fid
    geneval    00000/metadata.jsonl, 00000/samples/0000.png  GenEval (arXiv 2310.11513)
"""
from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dtbox.checksums import compute_sha256
from dtbox.errors import InputError, at, closest
from dtbox.evaluation.geneval import IMAGES, read_metadata
from dtbox.weights.model_folders import read_json


@dataclass(frozen=True)
class Drawing:
    """One file.

    Attributes:
        file: path within the folder, with '/'.
        prompt: what it shows.
        number: its number among the drawings of this prompt, from 0: the drawing is `draw(prompt, n)[0, number]`.
    """
    file: str
    prompt: str
    number: int = 0


@dataclass(frozen=True)
class Layout:
    """A folder of drawings.

    Attributes:
        name: of the layout.
        digest: SHA-256 of the file of prompts.
        drawings: in order.
        texts: file -> text of what lies beside the drawings.
        save: arguments of PIL's `save`.
    """
    name: str
    digest: str
    drawings: tuple[Drawing, ...]
    texts: dict[str, str] = field(default_factory=dict)
    save: dict[str, Any] = field(default_factory=dict)


def read_layout(name: str, prompts: str | os.PathLike, n: int | None = None) -> Layout:
    """Return the layout of a benchmark for its file of prompts.

    Args:
        name: 'mjhq' or 'geneval'.
        prompts: MJHQ-30K's meta_data.json, or GenEval's evaluation_metadata.jsonl.
        n: drawings of each prompt; None for those of the benchmark, 1 or 4.

    Raises:
        InputError: an unknown layout, a file of another kind, names that cannot be those of files.
    """
    if name not in LAYOUTS:
        raise InputError(f'there is no layout {name!r}.{closest(str(name), LAYOUTS)} There are: {", ".join(LAYOUTS)}.',
                         'layout')
    if not os.path.isfile(prompts):
        raise InputError(f'the file of prompts {os.fspath(prompts)} does not exist. Give {FILES[name]}.', 'prompts')
    with at('prompts'):
        return LAYOUTS[name](prompts, n)


def _read_mjhq(path: str | os.PathLike, n: int | None) -> Layout:
    if n not in (None, 1):
        raise InputError(f'got n={n}; MJHQ-30K has one drawing of each prompt. Leave `n` out.')
    rows = read_json(os.fspath(path))
    if not rows:
        raise InputError(f'{os.fspath(path)} is empty; expected MJHQ-30K\'s meta_data.json.')
    files = []
    for name, row in rows.items():
        strings = isinstance(row, dict) and all(isinstance(row.get(key), str) for key in ('category', 'prompt'))
        if not strings or not row['prompt'].strip():
            raise InputError(f'the entry {name[:60]!r} of {os.fspath(path)} is {row!r:.80}; expected an object with '
                             '`category` and `prompt`, as in MJHQ-30K\'s meta_data.json.')
        for part in (name, row['category']):
            if part.strip('.') == '' or set(part) & set('/\\\0'):
                raise InputError(f'{os.fspath(path)} has the name {part[:60]!r}, which cannot be that of a file or a '
                                 'folder.')
        files.append((f'{row["category"]}/{name}.jpg', row['prompt']))
    return Layout('mjhq', compute_sha256(path), _number(files), save=dict(format='JPEG', quality=95))


def _read_geneval(path: str | os.PathLike, n: int | None) -> Layout:
    files, texts = [], {}
    for i, row in enumerate(read_metadata(path)):
        texts[f'{i:05}/metadata.jsonl'] = json.dumps(row)  # without a line's end, as GenEval's own writer has it
        files += [(f'{i:05}/samples/{j:04}.png', row['prompt']) for j in range(IMAGES if n is None else n)]
    return Layout('geneval', compute_sha256(path), _number(files), texts, dict(format='PNG'))


def _number(files: Iterable[tuple[str, str]]) -> tuple[Drawing, ...]:
    """Return (file, prompt) pairs as drawings: a prompt that comes again continues its numbers."""
    seen: Counter[str] = Counter()
    drawings = []
    for file, prompt in files:
        drawings.append(Drawing(file, prompt, seen[prompt]))
        seen[prompt] += 1
    return tuple(drawings)


LAYOUTS = dict(mjhq=_read_mjhq, geneval=_read_geneval)
FILES = dict(mjhq='MJHQ-30K\'s meta_data.json', geneval='GenEval\'s evaluation_metadata.jsonl')
"""Layout -> its file of prompts."""
