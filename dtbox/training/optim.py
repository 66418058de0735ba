"""Optimizers from a config: one for each part of a task, in MMEngine's OptimWrapperDict.

    optim_wrapper = dict(
        generator=dict(optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.95), weight_decay=0.05),
                       freeze=['text.*'], groups={'encoders.*': dict(lr_mult=0.5)}, clip_grad=dict(max_norm=1.0)),
        discriminator=dict(optimizer=dict(type='Adam', lr=2e-4)))

Patterns (shell style) match the parameter's name in its part. A pattern that matches nothing is an error. Weight decay
is for tensors of two or more dimensions. PyTorch's fused form of an optimizer, which takes a third of the time on CPUs,
is the default where there is one (`fused=False` for the plain one). `type` is a class of torch.optim, or `MuonAdamW`
(muon.py). `groups` take `lr_mult`, `decay_mult`, and `options`, arguments of the optimizer's that differ there.
"""
from __future__ import annotations

import fnmatch
import inspect
import warnings
from typing import Any, Iterable, Mapping, Optional, Sequence

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn

from dtbox.config.schema import Optimization
from dtbox.errors import InputError, at, closest, explained
from dtbox.registry import call_checked
from dtbox.training.muon import MuonAdamW
from dtbox.values import Factor, check_value

FORMS = {'fused', 'foreach', 'capturable', 'differentiable'}
"""Arguments that choose how PyTorch computes a step."""
OWN = {'MuonAdamW': MuonAdamW}
"""Optimizers beside those of torch.optim."""
NARROW = 64
"""Muon leaves matrices with a smaller side, such as adapters and projections of codes, to AdamW."""


def build_optim_wrappers(parts: Mapping[str, nn.Module], cfg: Mapping[str, Any],
                         optional: Sequence[str] = ()) -> OptimWrapperDict:
    """Build the optimizers of a task.

    Args:
        parts: name -> module.
        cfg: name of a part -> dict(optimizer, freeze, groups, clip_grad, accumulative_counts), or None for one that a
            child config takes out.
        optional: names of parts that may be absent; their optimizers are then left out.

    Returns:
        OptimWrapperDict with the names of `parts`. Frozen parameters get requires_grad=False.

    Raises:
        InputError: a part without optimizer, an optimizer for a part that the task does not have, or an entry that
            cannot be built.
    """
    cfg = {name: one for name, one in cfg.items() if one is not None and (name in parts or name not in optional)}
    for name in parts:
        if name not in cfg:
            raise InputError(f'the model has a {name}, but `optim_wrapper` has no optimizer for it. It has: '
                             f'{", ".join(cfg)}.',
                             'optim_wrapper')
    for name in cfg:
        if name not in parts:
            raise InputError(f'there is an optimizer for `{name}`, which the model does not '
                             f'have.{closest(name, parts)} It has: {", ".join(parts)}.', 'optim_wrapper')
    with at('optim_wrapper'):
        return OptimWrapperDict(**{name: _build_one(name, parts[name], cfg[name]) for name in parts})


def _build_one(where: str, module: nn.Module, cfg: Mapping[str, Any]) -> OptimWrapper:
    check_value(cfg, Optimization, where)
    freeze_parameters(module, cfg.get('freeze') or [], f'{where}.freeze')
    args = {'lr': None, **cfg['optimizer']}
    kind = args.pop('type', None)
    target = OWN.get(kind, getattr(torch.optim, kind, None)) if isinstance(kind, str) else kind
    if not inspect.isclass(target) or not issubclass(target, torch.optim.Optimizer):
        known = [k for k in [*dir(torch.optim), *OWN] if k[:1].isupper()]
        raise InputError(f'torch.optim has no `{kind}`.{closest(str(kind), known)}', f'{where}.optimizer')
    for name in ('lr', *(('weight_decay',) if 'weight_decay' in args else ())):
        check_value(args[name], Factor, f'{where}.optimizer.{name}')
    matrices = find_matrices(module) if 'muon' in inspect.signature(target).parameters else None
    groups = _make_groups(module, cfg, where, matrices)
    if 'fused' in inspect.signature(target).parameters and not FORMS & set(args):
        args['fused'] = True
    with at(f'{where}.optimizer'):
        optimizer = call_checked(target, args, f'`{target.__name__}`', dict(params=groups))
        with explained(f'`{target.__name__}` cannot take a step'):
            _try_step(target, args)
    for pattern, own in (cfg.get('groups') or {}).items():
        with at(f'{where}.groups.{pattern}.options'):
            call_checked(target, {**args, **((own or {}).get('options') or {})}, f'`{target.__name__}`',
                         dict(params=[nn.Parameter(torch.zeros(2, 2))]))
    return OptimWrapper(optimizer, clip_grad=cfg.get('clip_grad'),
                        accumulative_counts=cfg.get('accumulative_counts', 1))


def freeze_parameters(module: nn.Module, patterns: Iterable[str], where: str) -> None:
    """Let all parameters train but those that a pattern matches or that their parts keep fixed (`frozen_names`).

    Raises:
        InputError: a pattern that matches nothing.
    """
    frozen = _match(patterns, [n for n, _ in module.named_parameters()], where) | _find_fixed(module)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in frozen)


def _try_step(target: type[torch.optim.Optimizer], args: Mapping[str, Any]) -> None:
    """Let an optimizer move a weight of its own: one that wants a closure or sparse gradients fails here."""
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    target([weight], **args).step()


def _match(patterns: Iterable[str], names: Sequence[str], where: str) -> set[str]:
    """Return the names that any pattern matches; `InputError` for a pattern that matches none."""
    matches = set()
    for pattern in patterns:
        hits = fnmatch.filter(names, pattern)
        if not hits:
            raise InputError(f'the pattern `{pattern}` matches no parameter. Names begin with: '
                             f'{", ".join(sorted({n.split(".")[0] + "." for n in names}))}', where)
        matches.update(hits)
    return matches


def _find_fixed(module: nn.Module) -> set[str]:
    """Return the names of parameters that never train, as their parts say by `frozen_names`: the base under an
    adapter."""
    return {f'{prefix}.{name}' if prefix else name for prefix, part in module.named_modules()
            if callable(getattr(part, 'frozen_names', None)) for name in part.frozen_names()}


def find_matrices(module: nn.Module) -> set[str]:
    """Return the names of the weights that map hidden states to hidden states: those of linear layers, both sides of
    `NARROW` or more, that do not end in the words of a language model (transformers' `get_output_embeddings`)."""
    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    for part in module.modules():
        last = part.get_output_embeddings() if callable(getattr(part, 'get_output_embeddings', None)) else None
        tables.add(id(getattr(last, 'weight', None)))
    linear = {id(part.weight) for part in module.modules() if isinstance(part, nn.Linear)} - tables
    return {name for name, p in module.named_parameters() if id(p) in linear and min(p.shape) >= NARROW}


def _make_groups(module: nn.Module, cfg: Mapping[str, Any], where: str, matrices: Optional[set[str]] = None,
                 ) -> list[dict[str, Any]]:
    """Return the parameter groups: by pattern, and by whether they decay."""
    settings = cfg.get('groups') or {}
    names = [n for n, p in module.named_parameters() if p.requires_grad]
    for pattern in settings:
        _match([pattern], names, f'{where}.groups')
    lr, decay = cfg['optimizer'].get('lr'), cfg['optimizer'].get('weight_decay', 0.0)
    groups = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        own = next((s for p, s in settings.items() if s and fnmatch.fnmatch(name, p)), {})
        decays = own.get('decay_mult', 1.0) * decay if parameter.ndim >= 2 else 0.0
        rate = own.get('lr_mult', 1.0) * lr
        options = {**({} if matrices is None else {'muon': name in matrices}), **(own.get('options') or {})}
        key = rate, decays, repr(sorted(options.items()))
        groups.setdefault(key, dict(params=[], lr=rate, weight_decay=decays, **options))['params'].append(parameter)
    if not groups:
        raise InputError('every parameter is frozen; there is nothing to train.', f'{where}.freeze')
    return list(groups.values())


# a step that takes gradients of single weights with autograd.grad looks to PyTorch as if the optimizer came late
warnings.filterwarnings('ignore', message='Detected call of `lr_scheduler.step')
