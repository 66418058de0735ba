"""Captions of a folder of images: which file holds them, and how its formats are read."""
from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dtbox.arguments import describe
from dtbox.errors import InputError, reason
from dtbox.files import parse_json

FILES = ('captions.json', 'captions.jsonl', 'captions.csv', 'captions.tsv', 'captions.txt', 'metadata.jsonl',
         'metadata.csv')
"""Names looked for, in this order."""

FILE_KEYS = ('file_name', 'filename', 'file', 'image', 'path')
TEXT_KEYS = ('caption', 'captions', 'text', 'texts', 'title')


def find_captions(*folders: str | Path) -> Path | None:
    """Return the first captions file in one of the folders, or None."""
    return next((Path(folder) / name for folder in folders for name in FILES if (Path(folder) / name).is_file()), None)


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """Read a captions file.

    Formats, by suffix:

    - .json: {file: caption or [captions]}, or a list of objects as in .jsonl, or COCO's `images` and `annotations`;
    - .jsonl: an object a line with a file (`file_name`, `file`, `image`, ...) and a text (`caption`, `text`, ...);
    - .csv, .tsv: a header with such names, an image a line; fields of .csv are parted by commas, or by the semicolons
      or bars of its header;
    - .txt: file, tab, caption.

    A file that comes again adds another caption.

    Args:
        path: of the captions file.

    Returns:
        dict file name (with '/') -> list of captions; white space is tidied, empty captions are left out, so a list can
        be empty.

    Raises:
        InputError: the file is missing, has another format, or holds no captions.
    """
    path = Path(path)
    readers = {'.json': _from_json, '.jsonl': _from_jsonl, '.csv': _from_table, '.tsv': _from_table,
               '.txt': _from_lines}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f'captions file {path} has the suffix {path.suffix!r}; expected one of {", ".join(readers)}.')
    try:
        content = path.read_text(encoding='utf-8-sig')
    except OSError as e:
        raise InputError(f'captions file {path} cannot be read ({e.strerror or e}). Check the path.') from e
    except UnicodeDecodeError as e:
        raise InputError(f'captions file {path} is not UTF-8 ({e}). Save it as UTF-8.') from e
    captions_of = {}
    for name, texts in reader(content, path):
        captions_of.setdefault(_tidy_name(name), []).extend(filter(None, map(tidy_text, texts)))
    if not captions_of:
        raise InputError(f'captions file {path} holds no captions. Fill it, or set captions=False to go without.')
    return captions_of


def tidy_text(text: str) -> str:
    """Return a caption with tidy white space. A lone surrogate (a JSON escape \\ud83d) is no character, and becomes a
    question mark."""
    return ' '.join(text.split()).encode('utf-8', 'replace').decode()


def read_texts(value: Any, where: str) -> list[str]:
    """Return the captions of an entry, a text, a list of them or None, tidied and without empty ones; `InputError` that
    begins with `where` for anything else."""
    values = value if isinstance(value, list) else [value]
    if not all(text is None or isinstance(text, str) for text in values):
        raise InputError(f'{where}: a caption must be a string or a list of strings, got {describe(value)}.')
    return [tidy for text in values if text and (tidy := tidy_text(text))]


def match_captions(captions_of: dict[str, list[str]], names: dict[str, Sequence[str]],
                   path: str | Path) -> tuple[dict[str, list[str]], int]:
    """Match captions to images by relative path or, where it is unique on both sides, by bare file name.

    Args:
        captions_of: dict file name -> captions, as `read_captions` returns it.
        names: dict relative path of an image -> other paths (relative to other folders) that it may go by.
        path: of the captions file, for messages.

    Returns:
        (dict relative path -> captions, number of entries that match no image).

    Raises:
        InputError: no entry matches an image.
    """
    by_base = {}
    for name in captions_of:
        by_base.setdefault(name.rsplit('/', 1)[-1], []).append(name)
    bases = Counter(name.rsplit('/', 1)[-1] for name in names)
    matched, used = {}, set()
    for name, others in names.items():
        hit = next((n for n in (name, *others) if n in captions_of), None)
        base = name.rsplit('/', 1)[-1]
        if hit is None and bases[base] == 1 and len(by_base.get(base, ())) == 1:
            hit = by_base[base][0]
        if hit is not None:
            matched[name] = captions_of[hit]
            used.add(hit)
    if names and not matched:
        raise InputError(f'no entry of {path} matches an image: it names {", ".join(list(captions_of)[:3])}, the '
                         f'folder holds {", ".join(list(names)[:3])}. Name images by their path relative to the '
                         'captions file.')
    return matched, len(captions_of) - len(used)


def _from_json(content, path):
    try:
        data = parse_json(content)
    except ValueError as e:
        raise InputError(f'captions file {path} is not valid JSON ({e}).') from e
    if isinstance(data, dict) and isinstance(data.get('annotations'), list) and isinstance(data.get('images'), list):
        yield from _from_coco(data, path)
    elif isinstance(data, dict):
        for name, value in data.items():
            yield name, read_texts(value, f'captions file {path}, file {name!r}')
    elif isinstance(data, list):
        for i, row in enumerate(data):
            yield _from_row(row, f'{path}, entry {i}')
    else:
        raise InputError(f'captions file {path} must hold {{file: caption}} or a list of objects, got '
                         f'{type(data).__name__}.')


def _from_coco(data, path):
    try:
        names = {image['id']: image['file_name'] for image in data['images']}
        for note in data['annotations']:
            yield names[note['image_id']].strip(), read_texts(note['caption'], f'captions file {path}')
    except (KeyError, TypeError, AttributeError) as e:
        raise InputError(f"captions file {path} looks like COCO's, but an entry of `images` or `annotations` lacks a "
                         f'part, or has an odd one ({reason(e)}).') from e


def _from_jsonl(content, path):
    for i, line in enumerate(content.split('\n'), 1):
        if line.strip():
            try:
                row = parse_json(line)
            except ValueError as e:
                raise InputError(f'captions file {path}, line {i}, is not valid JSON ({e}).') from e
            yield _from_row(row, f'{path}, line {i}')


def _from_table(content, path):
    head = content.split('\n', 1)[0]
    comma = next((mark for mark in ',;|' if mark in head), ',')  # spreadsheets of half of Europe write semicolons
    rows = csv.DictReader(io.StringIO(content, newline=''), delimiter='\t' if path.suffix.lower() == '.tsv' else comma)
    try:
        names = [name.strip().lower() for name in rows.fieldnames or ()]
        twice = [name for name in (*FILE_KEYS, *TEXT_KEYS) if names.count(name) > 1]
        if twice:
            raise InputError(f'captions file {path} has the column `{twice[0]}` twice. Rename or delete one; several '
                             'captions of an image are several lines.')
        for row in rows:
            if None in row:
                raise InputError(f'captions file {path}, line {rows.line_num}, has more fields than the header. '
                                 'Put captions that contain the separator into double quotes.')
            yield _from_row(row, f'{path}, line {rows.line_num}')
    except csv.Error as e:
        raise InputError(f'captions file {path}, line {rows.line_num}, cannot be read as a table ({e}).') from e


def _from_lines(content, path):
    for i, line in enumerate(content.split('\n'), 1):
        if line.strip():
            name, tab, text = line.partition('\t')
            if not tab:
                raise InputError(f'captions file {path}, line {i}, has no tab: expected file, tab, caption; got '
                                 f'{line[:60]!r}.')
            yield name, [text]


def _from_row(row, where):
    if not isinstance(row, dict):
        raise InputError(f'captions file {where}: expected an object with a file and a caption, got {row!r}.')
    keys = {key.strip().lower(): key for key in row}
    file_key, text_key = (next((keys[k] for k in known if k in keys), None) for known in (FILE_KEYS, TEXT_KEYS))
    if file_key is None or text_key is None or not isinstance(row[file_key], str):
        raise InputError(f'captions file {where}: expected a file ({", ".join(FILE_KEYS)}) and a caption '
                         f'({", ".join(TEXT_KEYS)}); got {", ".join(map(str, row)) or "nothing"}. '
                         'Rename the columns, or set captions=False to go without texts.')
    return row[file_key], read_texts(row[text_key], f'captions file {where}')


def _tidy_name(name):
    name = name.strip().replace('\\', '/')
    while name.startswith('./'):
        name = name[2:]
    return name
