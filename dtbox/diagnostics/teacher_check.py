"""What the frozen encoder itself scores, before anything is trained towards it: a wrong preprocessing, activation or
file shows at once."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from dtbox.config import load_config, resolve, set_option, take_data_options
from dtbox.config.find import find_config
from dtbox.counts import format_count
from dtbox.diagnostics.subjects import open_encoder
from dtbox.errors import InputError
from dtbox.evaluation import EvalContext, SetEvaluator
from dtbox.evaluation.base import REASONS
from dtbox.structures import TeacherOutput, TokenizerOutput
from dtbox.training.build import check_required
from dtbox.training.dataloaders import build_val_dataloader
from dtbox.training.preprocess import prepare

PUBLISHED = {
    'vit_base_patch16_siglip_224': (76.2, 78.2), 'vit_base_patch16_siglip_256': (76.7, 79.1),
    'vit_base_patch16_siglip_384': (78.6, 80.6), 'vit_base_patch16_siglip_512': (79.2, 81.2),
    'vit_large_patch16_siglip_256': (80.5, 82.5), 'vit_large_patch16_siglip_384': (82.1, 83.1),
    'vit_so400m_patch14_siglip_224': (82.2, 83.2), 'vit_so400m_patch14_siglip_384': (83.2, 84.1),
    'vit_so400m_patch16_siglip_256': (None, 83.4), 'vit_so400m_patch16_siglip_384': (None, 84.1)}
"""timm name -> zero-shot top-1 on ImageNet validation [%] of (SigLIP, SigLIP 2), as SigLIP 2 reports it (arXiv
2502.14786, table 1). Written down without the paper at hand: check a value there before leaning on it. The paper
squashes images and has templates of its own."""
IMAGENET = 'ImageNet'
NO_TOKENS = REASONS['pooled']


def check_teacher(config: str, data: str | None = None, encoder: str = 'teacher', options: dict | None = None,
                  plugins: Sequence[str] = (), templates: str | Sequence[str] = 'imagenet80', limit: int | None = None,
                  say: Callable[[str], None] = print) -> dict:
    """Measure the frozen encoder of a config or run with its text tower.

    Args:
        config: config, whose starting weights are measured, or run folder.
        data: config with `val_dataloader`, such as configs/_base_/datasets/imagenet.py; None takes the config's own.
        encoder: 'teacher', or the name of an encoder of the tokenizer.
        options: dict of dotted key -> value; keys that the data config has go there, all others to the config.
        plugins: plugins that the config does not name.
        templates: as ZeroShot takes them.
        limit: images at most; None for all.
        say: called with lines of text.

    Returns:
        dict: `scores` (Results), `published` (list of (name, percent)), `settings`, `remarks`.

    Raises:
        InputError: no text tower, no such encoder, no data.
    """
    begun = time.time()
    options = dict(options or {})
    own = {}
    if data is not None:
        data = find_config(data, 'data', '--data')
        own = take_data_options(data, options)
    subject = open_encoder(config, encoder, options, plugins)
    if subject.text is None:
        raise InputError(f'the encoder cannot be compared with texts: {"; ".join(subject.remarks)}. A config with a '
                         'text tower and its weights is needed (model.tokenizer.text).')
    if not subject.encoder.pooled_dim:
        raise InputError(f'the encoder `{subject.name}` has no pool of its own, so there is no image embedding to '
                         'compare with texts.', '--encoder')
    loader, kind = _loader(subject, data, own)
    results, seen = _evaluate(subject, loader, templates, limit, say)
    left = {label: '; '.join(part for part in why.split('; ') if NO_TOKENS not in part)
            for label, why in results.skipped.items()}
    results = replace(results, skipped={label: why for label, why in left.items() if why})
    name = getattr(subject.encoder, 'name', '')
    settings = dict(
        encoder=subject.name, model=name, weights=str(getattr(subject.encoder, 'weights', None)),
        image_size=list(subject.encoder.image_size), activation=list_activations(subject.encoder),
        resize=describe_resize(loader.dataset), data=kind, images=seen, seconds=round(time.time() - begun, 1))
    published = PUBLISHED.get(name.split('.')[0], ()) if kind == IMAGENET else ()
    return dict(scores=results, published=[(n, v) for n, v in zip(('SigLIP', 'SigLIP 2'), published) if v],
                settings=settings, remarks=[*subject.remarks,
                                            *list_remarks(settings, limit, results,
                                                          len(loader.dataset.metainfo.get('classes') or ()))])


def _evaluate(subject, loader, templates, limit, say):
    """Return (Results of the encoder itself, images that were seen)."""
    evaluator = SetEvaluator([dict(type='ZeroShot', templates=templates), dict(type='Retrieval')])
    device = next(subject.encoder.parameters()).device
    evaluator.setup(
        replace(
            EvalContext(),
            classes=list(loader.dataset.metainfo.get('classes') or ()) or None,
            embed_text=lambda texts: torch.nn.functional.normalize(subject.text(subject.text.ids(texts)), dim=-1),
        )
    )
    seen = 0
    with torch.no_grad():
        for batch in loader:
            evaluator.lose(batch.broken or ())
            if limit is not None and seen >= limit:
                break
            if len(batch):
                batch = prepare(batch, device)
                tokens, _ = subject.encoder.run(subject.encoder.embed(batch.images), 0, subject.encoder.depth)
                pooled = subject.encoder.pool(tokens)
                evaluator.update(batch, TokenizerOutput(images=batch.images, teacher=TeacherOutput(pooled=pooled)))
                seen += len(batch)
                if seen % 6400 < len(batch):
                    say(format_count(seen, 'image'))
    return evaluator.results(), seen


def _loader(subject, data, own):
    if data is None:
        cfg = subject.cfg
        check_required(cfg, ('val_dataloader',))
    else:
        cfg = load_config(data, own)
        if 'image_size' in cfg and 'image_size' not in own:
            set_option(cfg, 'image_size', subject.encoder.image_size[0])
        check_required(cfg, ('val_dataloader',))
        cfg = resolve(cfg)
    return build_val_dataloader(cfg.val_dataloader), str(cfg.val_dataloader['dataset'].get('type'))


def list_activations(encoder: Any) -> str:
    """Return the names of the activations in an encoder, the form of GELU among them."""
    found = set()
    for module in encoder.modules():
        name = type(module).__name__
        if isinstance(module, torch.nn.GELU):
            found.add('gelu (tanh)' if module.approximate == 'tanh' else 'gelu (exact)')
        elif name in ('GELUTanh', 'QuickGELU', 'SiLU', 'ReLU'):
            found.add({'GELUTanh': 'gelu (tanh)'}.get(name, name.lower()))
        elif name == 'GELU':
            found.add('gelu (exact)')
    return ', '.join(sorted(found)) or 'none found'


def describe_resize(dataset: Any) -> str:
    """Return how a data set's transforms bring images to size."""
    steps = [step for step in getattr(dataset, 'pipeline', ()) if type(step).__name__ == 'ResizeCrop']
    return steps[0].mode if steps else 'transforms of its own'


def list_remarks(settings: dict, limit: int | None, results: Any, classes: Any) -> list[str]:
    """Return what may be wrong, as sentences."""
    found = []
    if 'siglip' in settings['model'] and 'gelu (exact)' in settings['activation']:
        found.append('SigLIP was trained with the tanh form of GELU; this encoder has the exact one '
                     '(model_args=dict(act_layer="gelu_tanh") mends it; features differ by about 0.2 %)')
    if 'siglip' in settings['model'] and settings['resize'] == 'short_side':
        found.append('SigLIP squashes images to a square; here their centres are cut out, as DualToken does '
                     '(resize=squash for the other)')
    if limit is not None and settings['images'] >= limit:
        found.append(f'on the first {format_count(settings["images"], "image")} only')
    for values in results.sets.values():
        for metric, value in values.items():
            if metric == 'zeroshot_top1/teacher' and value < 1.5 / max(classes, 1):
                found.append('zero-shot top-1 is at chance: weights, texts and classes do not belong together')
    return found


def report(found: dict) -> str:
    """Return what `check_teacher` found as text."""
    s = found['settings']
    lines = [f'encoder     {s["encoder"]}: {s["model"] or "?"}, weights {s["weights"]}', 'images    '
                                                                                         f'{s["images"]:,} of '
                                                                                         f'{s["data"]} at '
             f'{s["image_size"][0]} x {s["image_size"][1]}, resized by {s["resize"]}', 'activation  '
                                                                                       f'{s["activation"]}', '']
    for part in found['scores'].held_out:
        for metric, value in found['scores'].sets[part].items():
            name = metric.removesuffix('/teacher')
            beside = ''.join(f'   published {n}: {v:.1f} %'
                             for n, v in found['published']) if name == 'zeroshot_top1' else ''
            lines.append(f'{part:<12}{name:<16}{100 * value:6.2f} %{beside}')
    lines += [f'Note: {remark}.' for remark in found['remarks']]
    lines += [f'Not measured: {label}: {why}.' for label, why in found['scores'].skipped.items()]
    if found['scores'].missing:
        lines.append(f'INCOMPLETE: {format_count(len(found["scores"].missing), "image")} could not be read, such as '
                     f'{found["scores"].missing[0]}')
    return '\n'.join(lines)
