"""Exported folders: what `save_pretrained` writes, with a model card and what `transformers` needs to open it."""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Optional

import torch.nn as nn

from dtbox import __version__
from dtbox.apis.auto_shim import AUTO_MAP, MODULE, write_shim
from dtbox.apis.card_metadata import build_metadata, format_metadata, list_origins
from dtbox.apis.opening import MLLM
from dtbox.apis.pretrained import write_config
from dtbox.counts import format_count
from dtbox.evaluation.results import Results
from dtbox.evaluation.table import format_table
from dtbox.files import explain_writing, write_atomic
from dtbox.runs import RunFolder
from dtbox.weights.exported_folders import CARD, CONFIG, SUMS, read_config_of

HEAD = """
# {name}

{what}

{facts}

## Open it

```python
import dtbox

{use}
```

`transformers` opens it where dtbox is installed, and gives an object with the same functions:

```python
from transformers import AutoModel

model = AutoModel.from_pretrained('{name}', trust_remote_code=True)
```

The code that this trusts is {module}.py, a few lines that import dtbox. `dtbox.load` runs nothing of this folder.
"""
TOKENIZER_USE = """tok = dtbox.load('{name}')
codes = tok.encode('image.png')        # stream -> [B,N,Q]
images = tok.decode(codes)             # [B,3,H,W] in [-1,1]"""
MLLM_USE = """m = dtbox.load('{name}')
m.ask('image.png', 'what is it?')
m.chat([{{'role': 'user', 'content': 'hello'}}])"""
DRAW_USE = """
images = m.draw_pil('red apple', n=4)"""
LANGUAGE_PART = """
`dtbox serve {name}` serves it to clients of OpenAI's API. Its language model opens without dtbox, for text alone:
`AutoModelForCausalLM.from_pretrained('{name}/language_model')`.
"""
LICENCE = """
## Licence

Converted from `{file}`. {projects}
"""
SCORES = """
## Scores

Of the run's last evaluation:

```
{table}
```
"""


def export_folder(model: Any, folder: str | os.PathLike, run: Optional[str] = None, licence: Optional[str] = None,
                  datasets: Optional[Sequence[str]] = None) -> None:
    """Write a model as a folder for others: that of `save_pretrained`, with README.md and what `transformers` needs.

    Args:
        model: MultimodalModel or Tokenizer.
        folder: new or empty.
        run: run folder whose scores the card shows; None, or one without scores, shows none.
        licence, datasets: what the metadata of the card says, see `dtbox.apis.card_metadata.build_metadata`.

    Raises:
        InputError: as `save_pretrained` and `build_metadata`.
    """
    name = os.path.basename(os.path.abspath(folder))
    card = write_card(model, name, run, licence, datasets)
    model.save_pretrained(folder)
    config = read_config_of(folder)
    module = f'{MODULE}.py'
    names = [name for name in config[SUMS] if name != CONFIG]
    with explain_writing(folder):
        write_atomic(os.path.join(folder, CARD), card)
        write_atomic(os.path.join(folder, module), write_shim(config['model_type']))
        write_config(dict(config, auto_map=AUTO_MAP), folder, [*names, module])


def write_card(model: Any, name: str, run: Optional[str] = None, licence: Optional[str] = None,
               datasets: Optional[Sequence[str]] = None) -> str:
    """Return the model card of a model that is exported under a name; arguments as those of `export_folder`."""
    language = model.use == MLLM
    what = 'A multimodal language model: it reads images and text' if language else 'A visual tokenizer of dtbox.'
    if language:
        what += f', and writes {"both" if model.can_draw else "text"}.'
    use = (MLLM_USE if language else TOKENIZER_USE).format(name=name)
    use += DRAW_USE if language and model.can_draw else ''
    facts = '\n'.join(f'- {title}: {value}' for title, value in list_facts(model).items())
    card = format_metadata(build_metadata(model, name, run, licence, datasets))
    card += HEAD.format(name=name, what=what, facts=facts, use=use, module=MODULE)
    card += write_licence(run)
    card += LANGUAGE_PART.format(name=name) if language else ''
    results = Results.read(RunFolder(run).metrics) if run is not None and os.path.isdir(run) else None
    return card if results is None else card + SCORES.format(table=format_table(results))


def write_licence(run: Optional[str]) -> str:
    """Return what a card says of the projects that converted weights may be of; '' of other runs."""
    converted = RunFolder(run).read_converted() if run is not None and os.path.isdir(run) else {}
    projects = [f'{project["name"]} ({project["source"]}): licence of the code {project["code"]}, of the weights '
                f'{project["weights"]}. {project["remark"]}'.rstrip() for project in list_origins(converted)]
    several = 'Its names are those of several projects. ' if projects[1:] else ''
    return LICENCE.format(file=converted.get('file'), projects=several + ' '.join(projects)) if projects else ''


def list_facts(model: Any) -> dict[str, str]:
    """Return what a card says of a model, title -> value."""
    tokenizer = model.tokenizer if model.use == MLLM else model
    streams = [f'{stream.name}, {format_count(stream.tokens, "token")} of {format_count(len(stream.sizes), "code")} '
               f'out of '
               f'{" or ".join(f"{size:,}" for size in sorted(set(stream.sizes)))}'
               for stream in tokenizer.model.layout.streams if stream.has_codes]
    latents = [f'{name}, {format_count(stream.tokens, "token")} of {format_count(stream.quantizer.dim, "channel")}'
               for name, stream in tokenizer.model.streams.items() if not stream.layout.has_codes]
    height, width = model.image_size
    facts = {'Images': f'{width} x {height} pixels'}
    facts.update({title: '; '.join(lines) for title, lines in (('Codes of an image', streams),
                                                               ('Latents of an image', latents)) if lines})
    if model.use == MLLM:
        facts['Language model'] = (f'{count(model.model.lm) / 1e6:,.2f} M parameters, {model.model.lm.vocab_size:,} '
                                   f'text tokens, {format_count(model.model.lm.context_length, "place")} of context')
        facts['Visual embedding and heads'] = f'{(count(model.model) - count(model.model.lm)) / 1e6:,.2f} M parameters'
    return dict(facts, Tokenizer=f'{count(tokenizer.model) / 1e6:,.2f} M parameters', Written=f'by dtbox {__version__}')


def count(module: nn.Module) -> int:
    """Return the number of parameters, tied ones once."""
    return sum({p.data_ptr(): p.numel() for p in module.parameters()}.values())
