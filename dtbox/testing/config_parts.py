"""The parts of a config that a contract is about, each with the arguments that other parts fill in."""
from __future__ import annotations

from typing import Any, Callable

import torch
from mmengine.config import Config

from dtbox.errors import InputError
from dtbox.registry import TOKENIZERS


def list_parts(cfg: Config, kind: str, source: str) -> list[tuple[str, dict]]:
    """Return (where it stands, config) of the parts of one kind, each distinct one once.

    Args:
        cfg: resolved Config.
        kind: kind of part, a key of `dtbox.testing.CONTRACTS`.
        source: path of the config, for messages.

    Raises:
        InputError: the config has no such part.
    """
    distinct: dict[str, tuple[dict, list[str]]] = {}
    for name, part in FINDERS[kind](cfg, source):
        if not isinstance(part, dict) or not part.get('type'):
            raise InputError(f'expected a dict with `type`, got {part!r}.', name)
        distinct.setdefault(repr(sorted(part.items(), key=str)), (part, []))[1].append(name)
    if not distinct:
        raise InputError(f'{source} has no {kind} to check.')
    return [(', '.join(names), part) for part, names in distinct.values()]


def _tokenizer(cfg: Config, source: str) -> dict:
    tokenizer = (cfg.get('model') or {}).get('tokenizer')
    if not tokenizer:
        raise InputError(f'{source} has no `model.tokenizer`, so there is no such part in it to check.')
    return tokenizer.to_dict()


def _find_quantizers(cfg: Config, source: str) -> list[tuple[str, Any]]:
    vocabularies = ((cfg.get('model') or {}).get('tokenizer') or {}).get('vocabularies')
    if not vocabularies:
        raise InputError(f'{source} has no `model.tokenizer.vocabularies`, so there is no quantizer in it to check.')
    shared, parts = _tokenizer(cfg, source).get('quantizers') or {}, []
    for name, vocabulary in _tokenizer(cfg, source)['vocabularies'].items():
        quantizer = vocabulary.get('quantizer')
        if not quantizer:
            raise InputError('the vocabulary has no `quantizer`.', f'model.tokenizer.vocabularies.{name}')
        quantizer = shared.get(quantizer, quantizer) if isinstance(quantizer, str) else quantizer
        if isinstance(quantizer, str):
            raise InputError(f'`{quantizer}` is not a quantizer of the tokenizer; `quantizers` has: '
                             f'{", ".join(shared) or "none"}.',
                             f'model.tokenizer.vocabularies.{name}.quantizer')
        parts.append((name, quantizer))
    return parts


def _find_encoders(cfg: Config, source: str) -> list[tuple[str, Any]]:
    tokenizer = _tokenizer(cfg, source)
    size, encoders = tokenizer.get('image_size'), tokenizer.get('encoders') or {}
    return [(name, {'image_size': size, **encoder}) for name, encoder in encoders.items()]


def _find_decoder(cfg: Config, source: str) -> list[tuple[str, Any]]:
    tokenizer = _tokenizer(cfg, source)
    if not tokenizer.get('decoder'):
        return []
    with torch.device('meta'):  # sizes alone are asked for
        decoder = TOKENIZERS.build({'type': 'VisualTokenizer', **tokenizer}, where='model.tokenizer').decoder
    sizes = dict(in_dim=decoder.in_dim, layout=decoder.layout, image_size=decoder.image_size)
    return [('decoder', {**sizes, **{k: v for k, v in tokenizer['decoder'].items() if k != 'reads'}})]


def _find_head(cfg: Config, source: str) -> list[tuple[str, Any]]:
    head = _tokenizer(cfg, source).get('head')
    return [('head', head)] if head else []


def _find_slot(slot: str) -> Callable[[Config, str], list[tuple[str, Any]]]:
    """Return a finder of the part in a slot of the model."""
    def find(cfg: Config, source: str) -> list[tuple[str, Any]]:
        part = (cfg.get('model') or {}).get(slot)
        return [(slot, part.to_dict() if hasattr(part, 'to_dict') else part)] if part else []
    return find


def _find_losses(cfg: Config, source: str) -> list[tuple[str, Any]]:
    losses = (cfg.get('model') or {}).get('losses') or {}
    return [(name, {k: v for k, v in loss.items() if k != 'weight'}) for name, loss in losses.items() if loss]


def _find_metrics(cfg: Config, source: str) -> list[tuple[str, Any]]:
    metrics = cfg.get('val_evaluator') or {}
    named = metrics.items() if isinstance(metrics, dict) else enumerate(metrics)
    return [(str(name), dict(metric)) for name, metric in named if metric]


def _find_datasets(cfg: Config, source: str) -> list[tuple[str, Any]]:
    return [(loader, cfg[loader].dataset.to_dict()) for loader in ('train_dataloader', 'val_dataloader')
            if cfg.get(loader)]


FINDERS: dict[str, Callable] = dict(
    encoder=_find_encoders, quantizer=_find_quantizers, decoder=_find_decoder, loss=_find_losses, metric=_find_metrics,
    dataset=_find_datasets, head=_find_head, visual_embedding=_find_slot('visual_embedding'),
    visual_head=_find_slot('visual_head'))
"""Kind of part -> function of a config that returns (name, config of the part)."""
