"""Draws the folder of a benchmark, and continues it where it was stopped."""
from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from dtbox import __version__
from dtbox.apis.drawing_layouts import Drawing, Layout
from dtbox.apis.mllm_arguments import check_rule
from dtbox.apis.mllm_drawing import Drawer, start_drawing
from dtbox.apis.mllm_settings import Generation
from dtbox.arguments import allow_none, read_arguments, read_count, read_path
from dtbox.checksums import hash_tensors
from dtbox.counts import format_count
from dtbox.datasets.read import verify_image
from dtbox.errors import InputError
from dtbox.files import check_writable, explain_writing, renaming, write_atomic
from dtbox.mllm.image_generation import check_drawing
from dtbox.sampling import Guidance, seed_generator
from dtbox.weights.model_folders import read_json

RECORD = 'drawings.json'


@read_arguments(out=read_path, seed=read_count(0), batch=allow_none(read_count()))
def draw_folder(model: Any, layout: Layout, out: str, run: str = '', seed: int = 0, batch: int | None = None,
                say: Callable[[str], Any] = print, **settings: Any) -> int:
    """Draw all files of a layout that are not there, and write OUT/drawings.json, which says how they were drawn.

    A file that is there whole stays. The random numbers of a drawing depend on its prompt, its number and the seed, and
    batches are the same whatever is there, so that a folder that was stopped becomes the same as one that was not, byte
    for byte. With another `batch` logits round otherwise, and a few drawings are others.

    Args:
        model: MultimodalModel.
        layout: see `read_layout`.
        out: folder; new, or one that was begun with the same prompts, model, settings and seed.
        run: where the model comes from, for the record.
        seed: of the random numbers.
        batch: drawings at a time; None takes the model's.
        say: called with lines of text.
        settings: `scale`, `temperature`, `top_k`, `top_p` of `MultimodalModel.draw`.

    Returns:
        how many were drawn.

    Raises:
        InputError: a folder with drawings of something else, or that cannot be written to; what `draw` says.
    """
    chosen = model.generation.choose(batch=batch, **settings)
    guidance = Guidance(chosen.scale)
    check_drawing(model.model, guidance)
    check_rule(chosen, model.model.visual_head.depths)
    for drawing in layout.drawings:
        start_drawing(model.model, drawing.prompt)
    with explain_writing(out):
        check_writable(os.path.join(out, RECORD))
        _begin(model, layout, out, run, chosen, seed)
        missing = {drawing.file for drawing in layout.drawings if not _is_whole(out, drawing, model.image_size)}
        there = len(layout.drawings) - len(missing)
        say(f'{format_count(len(layout.drawings), "drawing")} in {out}, {there:,} of them there already')
        drawer = Drawer(model.model, chosen.rule, guidance, chosen.batch)
        with tqdm(total=len(missing), desc='drawings', unit='image', ncols=100, disable=None) as bar:
            for first in range(0, len(layout.drawings), chosen.batch):
                some = layout.drawings[first:first + chosen.batch]
                left = [i for i, drawing in enumerate(some) if drawing.file in missing]
                images = _draw(model, drawer, some, seed) if left else []  # the whole batch: it rounds as before
                for i in left:
                    _save(images[i], os.path.join(out, some[i].file), layout.save)
                bar.update(len(left))
    return len(missing)


def _draw(model: Any, drawer: Drawer, drawings: Sequence[Drawing], seed: int) -> list[Any]:
    """Return PIL images."""
    contexts = [start_drawing(model.model, drawing.prompt) for drawing in drawings]
    generators = [seed_generator(seed, drawing.number, drawing.prompt) for drawing in drawings]
    return model.to_pil(drawer.draw(contexts, generators, [drawing.prompt for drawing in drawings])[0])


def _save(image: Any, path: str, how: dict[str, Any]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with renaming(path) as temporary:
        image.save(temporary, **how)


def _is_whole(out: str, drawing: Drawing, size: tuple[int, int]) -> bool:
    """Whether a drawing is there, can be decoded to its end, and has the model's size (height, width)."""
    path = os.path.join(out, drawing.file)
    if not os.path.isfile(path):
        return False
    try:
        return verify_image(path) == (size[1], size[0])
    except InputError:
        return False


def _begin(model: Any, layout: Layout, out: str, run: str, settings: Generation, seed: int) -> None:
    """Write the record and what lies beside the drawings; `InputError` where the folder holds something else."""
    record = os.path.join(out, RECORD)
    how = {name: getattr(settings, name) for name in ('scale', 'temperature', 'top_k', 'top_p')}
    about = json.loads(json.dumps(dict(
        layout=layout.name, prompts=layout.digest, drawings=len(layout.drawings),
        model=hash_tensors(model.model.state_dict()), tokenizer=model.model.tokenizer.digest, **how, seed=seed,
        **layout.save)))
    if not os.path.isfile(record):
        there = [drawing.file for drawing in layout.drawings if os.path.lexists(os.path.join(out, drawing.file))]
        if there:
            raise InputError(f'{out} holds {format_count(len(there), "image")} such as {there[0]} and no {RECORD} that '
                             'says how they were drawn. Give another folder.', 'out')
        write_atomic(record, json.dumps(dict(about, run=run, dtbox=__version__), indent=2, ensure_ascii=False) + '\n')
    before = read_json(record)
    for name, value in about.items():
        if before.get(name) != value:
            raise InputError(f'{out} holds drawings with {name}={before.get(name)!r:.80}; now it is {value!r:.80}. '
                             'Give another folder, or draw as before.', 'out')
    for file, text in layout.texts.items():
        path = os.path.join(out, file)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with renaming(path) as temporary:
            with open(temporary, 'w', encoding='utf-8') as f:
                f.write(text)
