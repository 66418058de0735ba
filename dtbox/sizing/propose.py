"""Which batch, accumulation and recomputation let a recipe train on a GPU of a given memory.

A proposal keeps the images of an update: batch_size x accumulative_counts stays what the recipe has. Counts of
iterations count batches, and are multiplied where an update takes more of them.
"""
from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from dtbox.config import list_known_keys, load_config, resolve, set_option
from dtbox.config.references import find_references, is_reference
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.runs import name_run
from dtbox.sizing.blocks import measure_largest_block
from dtbox.sizing.describe import GB, Description, describe

ROOM = 0.9
"""Fraction of a GPU's memory that a proposal fills; the rest is that of CUDA, of the allocator and of libraries."""
FEW = 8
"""Images of a batch below which recomputation, which makes room for more, is proposed."""
LADDER = ('dualtoken_l16_384', 'dualtoken_b16_256', 'dualtoken_rq')
"""Recipes to suggest where one does not fit, the largest first."""


@dataclass(frozen=True)
class Proposal:
    """What a recipe trains with on a GPU.

    Attributes:
        options: key of the config -> value, for `--cfg-options`; those that differ from the recipe.
        batch: images of a batch.
        counts: batches of an update.
        recompute: whether the blocks of encoders and decoder are recomputed.
        description: Description of the recipe with these options.
        iterations: of the run, in batches; None where the recipe does not say.
    """
    options: dict[str, Any]
    batch: int
    counts: int
    recompute: bool
    description: Description
    iterations: int | None


def propose(source: Config, memory: float, gpus: int = 1) -> Proposal:
    """Return the largest batch that fits, with recomputation where without it fewer than `FEW` images fit.

    Args:
        source: config of a tokenizer's recipe, not resolved.
        memory: bytes of a GPU.
        gpus: their number.

    Raises:
        InputError: not even one image fits; says what would.
    """
    cfg = resolve(source)
    batch, counts = read_update(cfg, gpus)
    room, switches = ROOM * memory, find_switches(source, cfg)
    tried: list[tuple[int, bool, Description]] = []
    largest = 0.0
    for recompute in (False, True) if switches else (False,):
        changed = resolve(change(source, dict.fromkeys(switches, recompute)))
        description = describe(changed)
        description.activations += largest  # a block that is recomputed is there as a whole for its moment
        tried.append((find_batch(batch * counts, description.largest_batch(room)), recompute, description))
        if tried[-1][0] >= min(FEW, batch * counts):
            break
        largest = measure_largest_block(changed) if switches and not recompute else 0.0
    size, recompute, description = max(tried, key=lambda one: one[0])
    if not size:
        refuse(tried[-1][2], memory, str(source.filename or ''))
    options = list_options(source, cfg, size, batch * counts // size, gpus)
    options.update({key: recompute for key, value in switches.items() if value is not recompute})
    iterations = (cfg.get('train_cfg') or {}).get('max_iters')
    return Proposal(options, size, batch * counts // size, recompute, description,
                    iterations and iterations * (batch * counts // size) // counts)


def read_update(cfg: Config, gpus: int) -> tuple[int, int]:
    """Return (images of a batch of a GPU, batches of an update) of a resolved config."""
    loader = cfg.get('train_dataloader') or {}
    batch = loader.get('batch_size') or -(-(loader.get('global_batch_size') or 1) // gpus)
    return batch, ((cfg.get('optim_wrapper') or {}).get('generator') or {}).get('accumulative_counts', 1)


def find_batch(update: int, most: int) -> int:
    """Return the largest divisor of the images of an update that is not above `most`; 0 where `most` is."""
    return next((size for size in range(min(update, most), 0, -1) if update % size == 0), 0)


def change(source: Config, options: Mapping[str, Any]) -> Config:
    """Return a copy of a config with dotted keys set."""
    changed = copy.deepcopy(source)
    for key, value in options.items():
        set_option(changed, key, value)
    return changed


def refuse(description: Description, memory: float, recipe: str) -> None:
    """Raise the `InputError` of a recipe of which not even one image fits, with a recipe that does."""
    need, state = description.memory(1) / ROOM, description.state_bytes()
    raise InputError(
        f'Not even one image fits into {memory / GB:,.3g} GB, also where blocks are recomputed: weights, gradients and '
        f'optimizer take {state / GB:,.3g} GB, an image {(description.memory(1) - state) / GB:,.3g} GB, so that the '
        f'smallest GPU has {need / GB:,.3g} GB. {suggest(memory, need, recipe)}', '--memory')


def suggest(memory: float, need: float, recipe: str) -> str:
    """Return the sentence that names a smaller recipe which fits; one for several GPUs where none does."""
    own = name_run(recipe)
    for name in LADDER[LADDER.index(own) + 1:] if own in LADDER else LADDER:
        source = load_config(name)
        switches = find_switches(source, resolve(source))
        smallest = describe(resolve(change(source, dict.fromkeys(switches, True)))).memory(1) / ROOM
        if smallest < need and smallest <= memory:
            return f'Take the recipe {name}, which needs {smallest / GB:,.3g} GB at least.'
    return "Take a smaller encoder and decoder, or divide the model among GPUs (model_wrapper_cfg=dict(type='FSDP2'))."


# ---- keys of the config ---------------------------------------------------------------------------------------------


def find_key(source: Config, path: str) -> tuple[str, Any]:
    """Return (the key by which a value is set, the value) of a dotted path in a config whose references stay: that of
    the variable which the path leads to. The value is None where there is none."""
    plain = source._cfg_dict.to_dict()
    node, key = plain, ''
    for part in path.split('.'):
        node, key = _follow(plain, node, key)
        node = node.get(part) if isinstance(node, dict) else None
        key = f'{key}.{part}' if key else part
    node, key = _follow(plain, node, key)
    return key, node


def _follow(plain: dict, node: Any, key: str) -> tuple[Any, str]:
    while is_reference(node):
        key, = find_references(node)
        node = plain.get(key)
    return node, key


def find_switches(source: Config, cfg: Config) -> dict[str, bool]:
    """Return key -> value of the `recompute` of the encoders and the decoder that have one."""
    tokenizer = cfg.model.tokenizer
    places = [f'encoders.{name}' for name in tokenizer.encoders] + ['decoder'] * bool(tokenizer.get('decoder'))
    switches = {}
    for place in places:
        part = tokenizer
        for name in place.split('.'):
            part = part[name]
        path = f'model.tokenizer.{place}'
        if 'recompute' in list_known_keys(dict(part), path):
            switches[find_key(source, f'{path}.recompute')[0]] = bool(part.get('recompute', False))
    return switches


def list_options(source: Config, cfg: Config, batch: int, counts: int, gpus: int) -> dict[str, Any]:
    """Return key -> value of the options that give a recipe this batch and accumulation, where they differ from its
    own: counts of iterations count batches, and follow."""
    before = read_update(cfg, gpus)[1]
    shared = (cfg.get('train_dataloader') or {}).get('batch_size') is None
    name, factor = ('global_batch_size', gpus) if shared else ('batch_size', 1)
    wanted = {f'train_dataloader.{name}': batch * factor}
    parts = ['generator'] + ['discriminator'] * bool(cfg.model.get('gan'))
    wanted.update({f'optim_wrapper.{part}.accumulative_counts': counts for part in parts})
    places = ['train_cfg.max_iters', 'model.gan.adversarial.start',
              *(f'param_scheduler.{part}.{key}' for part in parts for key in ('total', 'warmup'))]
    for path in places:
        value = find_key(source, path)[1]
        if isinstance(value, (int, float)) and value >= 1:  # a warm-up below 1 is a fraction
            wanted[path] = int(value * counts // before)
    found = {find_key(source, path): value for path, value in wanted.items()}
    return {key: value for (key, old), value in found.items() if value != (old if old is not None else 1)}


def format_proposal(proposal: Proposal, memory: float) -> str:
    """Return a Proposal as lines of text."""
    options = ' '.join(f'{key}={value}' for key, value in proposal.options.items())
    update = format_count(proposal.batch * proposal.counts, 'image')
    lines = ['', f'proposed for a GPU of {memory / GB:g} GB, of which {ROOM:.0%} are filled: batch_size '
                 f'{proposal.batch}, accumulative_counts {proposal.counts}, recompute {proposal.recompute}',
             f'    --cfg-options {options}' if options else '    (as the recipe has it)']
    if proposal.counts > 1:
        lines.append(f'an update sees {update}, in {format_count(proposal.counts, "batch")}; iterations count batches')
    return '\n'.join(lines)
