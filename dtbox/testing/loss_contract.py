"""The contract of losses (see `dtbox.losses.base` and the table of paths in `dtbox/losses/README.md`)."""
from __future__ import annotations

import inspect

import torch
from torch import Tensor

from dtbox.errors import InputError
from dtbox.losses.base import lookup
from dtbox.losses.paths import PATHS, match_path
from dtbox.structures import take
from dtbox.testing.contract import Contract, index_by_name
from dtbox.testing.loss_subject import FROZEN, B, LossSubject, keep, list_leaves, name_field, require_equal_terms
from dtbox.testing.subject import copy_state, fail, require, require_same, require_state


def legal_paths(subject: LossSubject) -> None:
    """`requires` names fields that a tokenizer's output has: those of the table in dtbox/losses/README.md."""
    require(not isinstance(subject.build().requires, str),
            f'`requires` is the string {subject.build().requires!r}; expected a tuple.')
    wrong = [path for path in subject.requires if match_path(path) is None]
    require(not wrong, f'`requires` names {", ".join(wrong)}; legal are {", ".join(PATHS)}.')


def reads_what_it_requires(subject: LossSubject) -> None:
    """The terms follow from the paths in `requires` alone; without one of them the loss is an InputError."""
    loss = subject.build()
    outputs = subject.outputs()
    batch = subject.batch()
    try:
        alone = loss(keep(outputs, subject.requires), batch)
    except Exception as e:
        fail(f'with nothing but {", ".join(subject.requires) or "the images"} the loss raises {type(e).__name__}: {e}')
    require_equal_terms(alone, loss(outputs, batch), 'with the required fields alone and with all fields', 0.0)
    for path in subject.requires:
        if path == 'images' or '.' not in path and name_field(path) in ('codes', 'features', 'losses'):
            continue
        try:
            loss(keep(outputs, [p for p in subject.requires if p != path]), batch)
        except InputError:
            continue
        except Exception as e:
            fail(f'without `{path}` the loss ends in {type(e).__name__} ({e}), not in an InputError. Read fields by '
                 '`self.read`.')
        fail(f'without `{path}`, which it requires, the loss computes its terms all the same.')


def names(subject: LossSubject) -> None:
    """Terms have the names that `names` promises; no name contains "loss" or is "total"."""
    loss = subject.build()
    terms = loss(subject.outputs(), subject.batch())
    require(isinstance(terms, dict) and terms,
            f'the loss returns {terms!r}; expected a dict name -> scalar with at least one term.')
    for name in terms:
        require(isinstance(name, str) and 'loss' not in name.lower() and name != 'total',
                f'the term {name!r} contains "loss" or is "total", which MMEngine would add up.')
    require(loss.names is None or set(loss.names) == set(terms),
            f'`names` is {loss.names!r}, and the terms are {sorted(terms)}.')


def scalars(subject: LossSubject) -> None:
    """Every term is one finite number in float32 (or float64), also for outputs in bfloat16."""
    for dtype in (torch.float32, torch.bfloat16):
        for name, value in subject.build()(subject.outputs(dtype=dtype), subject.batch()).items():
            require(isinstance(value, Tensor) and value.numel() == 1 and value.dtype in (torch.float32, torch.float64)
                    and bool(value.isfinite()),
                    f'the term `{name}` of outputs in {dtype} is {value!r}; expected one finite float32 number.')


def gradients(subject: LossSubject) -> None:
    """The terms carry a finite gradient to what they read; no gradient reaches the teacher."""
    outputs = subject.outputs()
    total = sum(subject.build()(outputs, subject.batch()).values())
    require(total.requires_grad, 'the terms carry no gradient.')
    total.backward()
    read = list_leaves(outputs, [path for path in subject.requires if name_field(path) not in FROZEN])
    wrong = [path for path, value in read.items() if value.grad is not None and not value.grad.isfinite().all()]
    require(not wrong, f'NaN or infinite gradients at {", ".join(wrong)}.')
    require(any(v.grad is not None and v.grad.any() for v in read.values()),
            f'no gradient reaches any of {", ".join(read) or "no field"}.')
    reached = [p for p, v in list_leaves(outputs, ['teacher.tokens', 'teacher.pooled', 'teacher.last']).items()
               if v.grad is not None and v.grad.any()]
    require(not reached, f'a gradient reaches {", ".join(reached)}; the teacher is frozen: detach it.')


def finite_where_it_is_best(subject: LossSubject) -> None:
    """Terms and gradients are finite where reconstructions equal the images and features equal the teacher's."""
    outputs = subject.outputs()
    tokens, pooled = (lookup(outputs, f'teacher.{name}').detach() for name in ('tokens', 'pooled'))
    best = outputs.replace(
        reconstructions=outputs.images.clone().requires_grad_(True),
        pooled=pooled.clone().requires_grad_(True),
        features={name: tokens.clone().requires_grad_(True) for name in outputs.features})
    terms = subject.build()(best, subject.batch())
    wrong = [name for name, value in terms.items() if not value.isfinite()]
    require(not wrong, f'the terms {", ".join(wrong)} are NaN or infinite there.')
    sum(terms.values()).backward()
    wrong = [p for p, v in list_leaves(best, ['reconstructions', 'pooled', 'features']).items() if v.grad is not None
             and not v.grad.isfinite().all()]
    require(not wrong, f'the gradients at {", ".join(wrong)} are NaN or infinite there (a root or a norm of 0?).')


def raw(subject: LossSubject) -> None:
    """Terms are not weighted: the criterion takes `weight` out of a config, so the constructor has no such argument."""
    parameters = inspect.signature(type(subject.build())).parameters
    require('weight' not in parameters, 'the constructor takes `weight`, which never arrives: the criterion weighs '
            'terms. Name it otherwise.')


def autocast(subject: LossSubject) -> None:
    """bfloat16 autocast changes no term: losses compute in float32."""
    loss = subject.build()
    outputs = subject.outputs()
    batch = subject.batch()
    want = loss(outputs, batch)
    with torch.autocast('cpu', torch.bfloat16):
        terms = loss(outputs, batch)
    require_equal_terms(terms, want, 'terms with and without autocast', 1e-6)


def order_of_images(subject: LossSubject) -> None:
    """The order of the images in the batch changes no term."""
    loss = subject.build()
    outputs = subject.outputs()
    batch = subject.batch()
    order = torch.tensor([2, 0, 3, 1])
    require_equal_terms(loss(take(outputs, order, B), take(batch, order, B)), loss(outputs, batch),
                        'terms of images in another order')


def one_image(subject: LossSubject) -> None:
    """A batch of one image has finite terms."""
    index = torch.tensor([1])
    terms = subject.build()(take(subject.outputs(), index, B), take(subject.batch(), index, B))
    wrong = [name for name, value in terms.items() if not value.isfinite()]
    require(not wrong, f'of one image, the terms {", ".join(wrong)} are NaN or infinite.')


def leaves_state(subject: LossSubject) -> None:
    """A call changes neither the loss nor what it reads; two calls give the same terms."""
    loss = subject.build()
    outputs = subject.outputs()
    batch = subject.batch()
    before, values = copy_state(loss), {path: v.detach().clone()
                                        for path, v in list_leaves(outputs, list(PATHS)).items()}
    first = loss(outputs, batch)
    require_equal_terms(loss(outputs, batch), first, 'two calls', 0.0)
    require_state(loss, before, 'a call')
    for path, value in list_leaves(outputs, list(values)).items():
        require_same(value, values[path], f'`{path}` before and after a call')


def nothing_to_train(subject: LossSubject) -> None:
    """A loss has no trainable parameters: no optimizer sees them. Networks that it asks are frozen."""
    trainable = [name for name, p in subject.build().named_parameters() if p.requires_grad]
    require(not trainable, f'{", ".join(trainable)} would never learn. Freeze them, or let a part of the tokenizer own '
            'them.')


LOSS = Contract('loss', 'losses', LossSubject, index_by_name(
    legal_paths, reads_what_it_requires, names, scalars, gradients, finite_where_it_is_best, raw, autocast,
    order_of_images,
    one_image, leaves_state, nothing_to_train))
