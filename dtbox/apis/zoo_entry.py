"""A packaged encoder and text tower: a run's weights, measured as packed, with a model card."""
from __future__ import annotations

import os
from typing import Sequence

from dtbox.apis.loading import open_config
from dtbox.evaluation import SetEvaluator
from dtbox.evaluation.loop import evaluate
from dtbox.evaluation.table import format_table
from dtbox.files import replacing, write_atomic
from dtbox.training import checkpoint
from dtbox.training.build import build_parts
from dtbox.weights.state_dicts import load_into, select_prefix

CARD = """# {name}

A small image and text tower for the embedded recipes; it loads as `dtbox://{name}`.

- Trained by `{command}`, config `{config}`; packed by `dtbox pack-zoo`.{note}
- {parameters:.2f} M parameters, stored as float16.
- Data: {data}
- For experiments with tokenizers at toy scale. {limits}

Scores on the held-out sets, of the weights as packed (scores.json):

```
{table}
```
"""


def pack_zoo_entry(run: str, name: str, zoo: str, card: dict, plugins: Sequence[str] = ()) -> str:
    """Write ZOO/NAME with model.safetensors (float16), tokenizer.json, scores.json (of the packed weights) and a model
    card.

    Args:
        run: run folder.
        name: of the entry; one that exists is replaced as a whole.
        zoo: folder of entries.
        card: `command`, `config`, `note`, `data` and `limits` for the model card.
        plugins: plugins that the run needs.

    Returns:
        table of scores as text.
    """
    import torch
    from safetensors.torch import save_file
    cfg, path = open_config(run, plugins=plugins)
    weights = select_prefix(checkpoint.load(path)['state_dict'], 'tokenizer.')
    packed = {k: v.half().contiguous() for k, v in weights.items()}
    parts = build_parts(cfg, 0, training=False)
    load_into(parts['model'].tokenizer, {k: v.float() for k, v in packed.items()}, path)
    with torch.no_grad():
        results = evaluate(parts['model'], parts['val'], SetEvaluator(parts['metrics']))
    folder = os.path.join(zoo, name)
    os.makedirs(folder, exist_ok=True)
    with replacing(os.path.join(folder, 'model.safetensors')) as temporary:
        save_file(packed, temporary)
    parts['model'].tokenizer.text.tokenizer.save(os.path.join(folder, 'tokenizer.json'))
    results.write(os.path.join(folder, 'scores.json'))
    table = format_table(results)
    card = dict(card, note=card['note'] and f'\n  {card["note"]}')
    write_atomic(os.path.join(folder, 'README.md'), CARD.format(
        name=name, parameters=sum(v.numel() for v in packed.values()) / 1e6, table=table, **card))
    return table
