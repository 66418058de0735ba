"""A packaged model: a run's weights in half precision, measured as packed, with a model card. Towers of images and
texts, that recipes start from; whole tokenizers; multimodal language models."""
from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any, Sequence

from dtbox.apis.loading import load, open_config
from dtbox.apis.opening import MLLM, TOKENIZER, find_use, load_task
from dtbox.errors import InputError
from dtbox.evaluation import SetEvaluator
from dtbox.evaluation.loop import evaluate
from dtbox.evaluation.table import format_table
from dtbox.files import apply_umask, replacing, write_atomic
from dtbox.registry import TOKENIZERS
from dtbox.training.build import build_parts

CARD = """# {name}

{what}

- Trained by `{command}`, config `{config}`; packed by `dtbox pack-zoo`.{note}
- {parameters:.2f} M parameters, stored as float16.
- Data: {data}
- For experiments at toy scale. {limits}

Scores on the held-out sets, of the weights as packed (scores.json):

```
{table}
```
"""
TOWERS = 'towers'
WHAT = {TOWERS: 'A small image and text tower for the embedded recipes; it loads as `dtbox://{name}`.',
        TOKENIZER: 'A small visual tokenizer; `dtbox.load(\'dtbox://{name}\')` opens it.',
        MLLM: 'A small multimodal language model; `dtbox.load(\'dtbox://{name}\')` opens it.'}
LARGEST = {TOKENIZER: 8, MLLM: 10}
"""Most megabytes of a folder."""


def pack_zoo_entry(run: str, name: str, zoo: str, card: dict, plugins: Sequence[str] = (),
                   tokenizer: str | None = None) -> str:
    """Write ZOO/NAME with the weights of a run as float16, scores.json (of the packed weights) and a model card.

    Args:
        run: run folder.
        name: of the entry; one that exists is replaced as a whole.
        zoo: folder of entries.
        card: `command`, `config`, `note`, `data` and `limits` for the model card.
        plugins: plugins that the run needs.
        tokenizer: `dtbox://NAME` of the packaged tokenizer that a multimodal language model was trained with, which it
            then names instead of holding it.

    Returns:
        table of scores as text.

    Raises:
        InputError: a packaged tokenizer with other weights, an entry that is too large.
    """
    cfg, path = open_config(run, plugins=plugins)
    parts = build_parts(cfg, 0, training=False)
    task = parts['model']
    load_task(task, cfg, path)
    part = task.parts[task.main_part]
    for value in part.state_dict().values():
        value.copy_(value.half() if value.is_floating_point() else value)
    kind = find_use(cfg)
    if kind == TOKENIZER and not task.tokenizer.streams:
        kind = TOWERS
    results = evaluate(task, parts['val'], SetEvaluator(parts['metrics']))
    table = format_table(results)
    card = dict(card, note=card['note'] and f'\n  {card["note"]}', what=WHAT[kind].format(name=name))
    os.makedirs(zoo, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=f'.{name}.', dir=zoo)
    try:
        if kind == TOWERS:
            _write_towers(part, folder)
        else:
            _write_model(run, plugins, tokenizer, folder)
        results.write(os.path.join(folder, 'scores.json'))
        numbers = {v.data_ptr(): v.numel() for v in part.state_dict().values()}  # a tied table counts once
        write_atomic(os.path.join(folder, 'README.md'), CARD.format(
            name=name, parameters=sum(numbers.values()) / 1e6, table=table, **card))
        _check_size(folder, LARGEST.get(kind))
        _replace(folder, os.path.join(zoo, name))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return table


def _write_towers(part: Any, folder: str) -> None:
    from safetensors.torch import save_file
    with replacing(os.path.join(folder, 'model.safetensors')) as temporary:
        save_file({k: v.half().contiguous() for k, v in part.state_dict().items()}, temporary)
    part.text.tokenizer.save(os.path.join(folder, 'tokenizer.json'))


def _write_model(run: str, plugins: Sequence[str], tokenizer: str | None, folder: str) -> None:
    """Write the folder of a tokenizer or of a multimodal language model."""
    opened = load(run, plugins=plugins)
    if tokenizer is not None:
        if opened.use != MLLM:
            raise InputError(f'{run} is a tokenizer, which has no tokenizer {tokenizer}. Leave it out.', 'tokenizer')
        digest = opened.model.tokenizer.digest
        opened.model.tokenizer.source = TOKENIZERS.build(
            dict(type='TrainedTokenizer', source=tokenizer, digest=digest), where='tokenizer').source
    opened.model.half()
    opened.save_pretrained(folder)


def _check_size(folder: str, most: int | None) -> None:
    """Raise `InputError` for a folder of more than `most` megabytes."""
    size = sum(os.path.getsize(os.path.join(place, name)) for place, _, names in os.walk(folder) for name in names)
    if most is not None and size > most * 10 ** 6:
        raise InputError(f'the packed model takes {size / 1e6:.1f} MB; expected at most {most}. Pack a smaller one, or '
                         'let a multimodal language model name its packaged tokenizer (--tokenizer dtbox://NAME).')


def _replace(folder: str, place: str) -> None:
    """Let a folder take the place of another one."""
    apply_umask(folder)
    old = f'{folder}.old'
    if os.path.isdir(place):
        os.rename(place, old)
    os.rename(folder, place)
    shutil.rmtree(old, ignore_errors=True)
