"""Drawings as files: a PNG each, a sheet, and how they were drawn."""
from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from dtbox import __version__
from dtbox.apis.mllm_arguments import read_prompts
from dtbox.arguments import read_arguments, read_path
from dtbox.counts import format_count
from dtbox.drawing.sample_sheet import Sample, draw_samples
from dtbox.drawing.sheets import TILE
from dtbox.files import check_writable, explain_writing, find_unused_path, replacing, write_atomic

SHEET, RECORD = 'drawings.png', 'drawings.json'


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
