"""Drawings as files: a PNG each, a sheet, and how they were drawn."""
from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Optional, Tuple

import numpy as np

from dtbox import __version__
from dtbox.apis.mllm_arguments import read_prompts
from dtbox.arguments import read_arguments, read_path
from dtbox.counts import format_count
from dtbox.drawing.sample_sheet import Sample, draw_samples
from dtbox.drawing.sheets import TILE
from dtbox.errors import InputError
from dtbox.files import check_writable, explain_writing, find_unused_path, parse_json, replacing, write_atomic

SHEET, RECORD = 'drawings.png', 'drawings.json'
Found = Tuple[str, Optional[InputError]]
"""An image, and what is wrong with it."""


@read_arguments(prompts=read_prompts, out=read_path)
def draw_files(model: Any, prompts: str | Sequence[str], out: str, n: int = 1, run: str = '',
               **settings: Any) -> list[str]:
    """Draw prompts and write OUT/PROMPT_NUMBER.png, OUT/drawings.png with all of them, and OUT/drawings.json.

    A name that is taken gets a number (NAME.1.png), so that nothing is overwritten.

    Args:
        model: MultimodalModel.
        prompts: P texts, or one.
        out: folder; made where it does not exist.
        n: drawings of each prompt.
        run: where the model comes from, for the record.
        settings: of `MultimodalModel.draw`.

    Returns:
        the paths that were written.

    Raises:
        InputError: what `draw` says; a folder that cannot be written to.
    """
    with explain_writing(out):
        check_writable(os.path.join(out, SHEET))
    rows = model.draw_pil(prompts, n, **settings)
    paths: list[list[str]] = []
    with explain_writing(out):
        os.makedirs(out, exist_ok=True)
        for prompt, images in zip(prompts, rows):
            paths.append([save_image(image, os.path.join(out, f'{name_file(prompt)}_{i}.png'))
                          for i, image in enumerate(images)])
        sheet = find_unused_path(os.path.join(out, SHEET))
        samples = [Sample([np.asarray(image) for image in images], [prompt]) for prompt, images in zip(prompts, rows)]
        draw_samples(samples, sheet, name_sheet(run, len(samples), n), max(TILE, *model.image_size))
        record = find_unused_path(os.path.join(out, RECORD))
        asked = {name: value for name, value in settings.items() if value is not None}
        about = dict(run=run, dtbox=__version__, n=n, settings={**model.generation.to_dict(), **asked}, sheet=sheet,
                     drawings=[dict(prompt=prompt, files=files) for prompt, files in zip(prompts, paths)])
        write_atomic(record, json.dumps(about, indent=2, ensure_ascii=False) + '\n')
    return [*(path for files in paths for path in files), sheet, record]


def leave_out_sheets(folder: str, found: Iterable[Found], say: Callable[[str], Any]) -> Iterator[Found]:
    """Yield the images found in a folder without the sheets that `draw_files` wrote beside its drawings. An image that
    is given by itself stays.

    Args:
        folder: that was searched, or an image.
        found: (path, what is wrong with it or None).
        say: called with a sentence on each sheet.
    """
    given, sheets = os.path.isdir(folder), dict[str, set[str]]()
    some = False
    for path, error in found:
        place = os.path.dirname(path)
        if given and error is None:
            if place not in sheets:
                sheets[place] = _list_sheets(place)
            if os.path.basename(path) in sheets[place]:
                say(f'{path} is left out: it is the sheet of all drawings of a call of `dtbox draw`.')
                continue
        some = True
        yield path, error
    if not some:
        yield folder, InputError(f'the folder {folder} holds no images beside sheets of drawings.')


def _list_sheets(folder: str) -> set[str]:
    """Return the names of the sheets that the records of a folder name."""
    stem, ending = os.path.splitext(RECORD)
    sheets = set()
    for path in glob.glob(os.path.join(glob.escape(folder), f'{stem}*{ending}')):
        try:
            with open(path, encoding='utf-8') as file:
                sheet = parse_json(file.read())['sheet']
        except (OSError, ValueError, KeyError, TypeError):  # another file of that name
            continue
        sheets |= {os.path.basename(sheet)} if isinstance(sheet, str) else set()
    return sheets


def name_sheet(run: str, prompts: int, n: int) -> str:
    """Return the title of a sheet of drawings: 'mllm_twemoji: 3 prompts, 4 drawings of each'."""
    start = f'{os.path.basename(os.path.normpath(run))}: ' if run else ''
    return f'{start}{format_count(prompts, "prompt")}, {format_count(n, "drawing")}{" of each" if prompts > 1 else ""}'


def save_image(image: Any, path: str) -> str:
    """Write a PIL image as a PNG under a name that is free; returns its path."""
    path = find_unused_path(path)
    with replacing(path) as temporary:
        image.save(temporary)
    return path


def name_file(text: str, most: int = 60) -> str:
    """Return a text as the beginning of a file's name: words joined by underscores."""
    return re.sub(r'\W+', '_', text.encode('utf-8', 'ignore').decode()).strip('_')[:most] or 'drawing'
