"""The contract of losses (see `dtbox.losses.base` and the table of paths in `dtbox/losses/README.md`).

Legend: B images, N tokens, D feature width, E joint width, H and W pixels.
"""
from __future__ import annotations

import inspect
from typing import Any, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError
from dtbox.losses.base import Loss, lookup
from dtbox.losses.paths import PATHS, match_path
from dtbox.registry import LOSSES
from dtbox.structures import Batch, TeacherOutput, TokenizerOutput, take
from dtbox.testing.contract import Contract, by_name
from dtbox.testing.rank_group import Ranks
from dtbox.testing.subject import Subject, fail, generator, require, require_same, require_state, state_of

B, N, D, E, SIDE = 4, 16, 8, 12, 32
FROZEN = ('images', 'codes', 'teacher')
"""Fields that carry no gradient to anything that learns."""


class StubTeacher:
    """What `bind` hands over: layers of a teacher that are averages of pixels."""

    def taps(self, images: Tensor, layers: Sequence[int]) -> dict[int, Tensor]:
        """images [B,3,H,W] -> dict layer -> patch tokens [B,16,3]."""
        return {layer: F.adaptive_avg_pool2d(images, 4).flatten(2).transpose(1, 2) * layer for layer in layers}


class LossSubject(Subject):
    """A loss under test.

    Attributes:
        requires: the paths it reads.
        names: vocabularies that the outputs have: those of the paths, or 'pixel' and 'semantic'.
    """
    registry, base = LOSSES, Loss

    def __init__(self, cfg: dict, plugins: str | Sequence[str] = (), ranks: Ranks | None = None):
        super().__init__(cfg, plugins, ranks)
        self.requires = tuple(self.build().requires)
        named = [path.split('.')[1] for path in self.requires if path.split('.')[0] in ('features', 'codes', 'losses') and '.' in path]
        self.names = list(dict.fromkeys([*named, 'pixel', 'semantic']))

    def build(self, seed: int = 1, **changes: Any) -> Loss:
        """Return a new instance in training, with a teacher bound to it."""
        loss = super().build(seed, **changes)
        if isinstance(loss, Loss):
            loss.bind(StubTeacher())
        return loss

    def outputs(self, seed: int = 0, dtype: torch.dtype = torch.float32) -> TokenizerOutput:
        """Return a TokenizerOutput that has every field; all tensors but images and codes are leaves that ask for a gradient."""
        rng = generator(seed)

        def leaf(*shape: int) -> Tensor:
            return torch.randn(shape, generator=rng).to(dtype).requires_grad_(True)
        images = (torch.rand(B, 3, SIDE, SIDE, generator=rng) * 2 - 1).to(dtype)
        terms = list(dict.fromkeys([p.split('.')[2] for p in self.requires if p.count('.') == 2] + ['commitment', 'entropy']))
        return TokenizerOutput(
            images=images, reconstructions=(images + 0.3 * torch.randn(images.shape, generator=rng)).to(dtype).requires_grad_(True),
            codes={name: torch.randint(0, 16, (B, N, 2), generator=rng) for name in self.names},
            features={name: leaf(B, N, D) for name in self.names}, losses={name: {t: leaf() for t in terms} for name in self.names},
            pooled=leaf(B, E), last=leaf(B, N, D), text_pooled=leaf(B, E), logit_scale=leaf(), logit_bias=leaf(),
            teacher=TeacherOutput(tokens=leaf(B, N, D), pooled=leaf(B, E), last=leaf(B, N, D)))

    def batch(self) -> Batch:
        """Return the batch of the outputs, with a text, a class and a key for each image."""
        return Batch(images=torch.zeros(B, 3, SIDE, SIDE), texts=[f'text {i}' for i in range(B)], labels=torch.arange(B),
                     keys=[f'key {i}' for i in range(B)])


def field_of(path: str) -> str:
    """Return the first name of a path."""
    return path.split('.')[0]


def leaves(outputs: TokenizerOutput, paths: Sequence[str]) -> dict[str, Tensor]:
    """Return path -> tensor under these paths, dicts walked."""
    found = {}

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, below in value.items():
                walk(f'{path}.{name}', below)
        elif isinstance(value, Tensor):
            found[path] = value
    for path in paths:
        walk(path, lookup(outputs, path))
    return found


def keep(outputs: TokenizerOutput, paths: Sequence[str]) -> TokenizerOutput:
    """Return outputs that have the images and the fields of some paths, and nothing else."""
    kept: dict[str, Any] = {}
    for path in paths:
        first, _, rest = path.partition('.')
        if first == 'teacher':
            kept.setdefault('teacher', {})[rest] = lookup(outputs, path)
        elif rest:
            where, names = kept.setdefault(first, {}), rest.split('.')
            for name in names[:-1]:
                where = where.setdefault(name, {})
            where[names[-1]] = lookup(outputs, path)
        else:
            kept[first] = getattr(outputs, first)
    if 'teacher' in kept:
        kept['teacher'] = TeacherOutput(**kept['teacher'])
    return TokenizerOutput(**{'images': outputs.images, **kept})


def require_equal_terms(a: dict[str, Tensor], b: dict[str, Tensor], what: str, tolerance: float = 1e-5) -> None:
    """Raise `Broken` unless two dicts of terms are equal within a relative tolerance."""
    require(a.keys() == b.keys(), f'{what}: the terms are {sorted(a)} and {sorted(b)}.')
    for name in a:
        require_same(a[name], b[name], f'{what}: `{name}`', tolerance * max(1.0, abs(float(a[name].detach()))))


def legal_paths(subject: LossSubject) -> None:
    """`requires` names fields that a tokenizer's output has: those of the table in dtbox/losses/README.md."""
    require(not isinstance(subject.build().requires, str), f'`requires` is the string {subject.build().requires!r}; expected a tuple.')
    wrong = [path for path in subject.requires if match_path(path) is None]
    require(not wrong, f'`requires` names {", ".join(wrong)}; legal are {", ".join(PATHS)}.')


def reads_what_it_requires(subject: LossSubject) -> None:
    """The terms follow from the paths in `requires` alone; without one of them the loss is an InputError."""
    loss, outputs, batch = subject.build(), subject.outputs(), subject.batch()
    try:
        alone = loss(keep(outputs, subject.requires), batch)
    except Exception as e:
        fail(f'with nothing but {", ".join(subject.requires) or "the images"} the loss raises {type(e).__name__}: {e}')
    require_equal_terms(alone, loss(outputs, batch), 'with the required fields alone and with all fields', 0.0)
    for path in subject.requires:
        if path == 'images' or '.' not in path and field_of(path) in ('codes', 'features', 'losses'):
            continue
        try:
            loss(keep(outputs, [p for p in subject.requires if p != path]), batch)
        except InputError:
            continue
        except Exception as e:
            fail(f'without `{path}` the loss ends in {type(e).__name__} ({e}), not in an InputError. Read fields by `self.read`.')
        fail(f'without `{path}`, which it requires, the loss computes its terms all the same.')


def names(subject: LossSubject) -> None:
    """Terms have the names that `names` promises; no name contains "loss" or is "total"."""
    loss = subject.build()
    terms = loss(subject.outputs(), subject.batch())
    require(isinstance(terms, dict) and terms, f'the loss returns {terms!r}; expected a dict name -> scalar with at least one term.')
    for name in terms:
        require(isinstance(name, str) and 'loss' not in name.lower() and name != 'total', f'the term {name!r} contains "loss" or is '
                '"total", which MMEngine would add up.')
    require(loss.names is None or set(loss.names) == set(terms), f'`names` is {loss.names!r}, and the terms are {sorted(terms)}.')


def scalars(subject: LossSubject) -> None:
    """Every term is one finite number in float32 (or float64), also for outputs in bfloat16."""
    for dtype in (torch.float32, torch.bfloat16):
        for name, value in subject.build()(subject.outputs(dtype=dtype), subject.batch()).items():
            require(isinstance(value, Tensor) and value.numel() == 1 and value.dtype in (torch.float32, torch.float64)
                    and bool(value.isfinite()), f'the term `{name}` of outputs in {dtype} is {value!r}; expected one finite float32 number.')


def gradients(subject: LossSubject) -> None:
    """The terms carry a finite gradient to what they read; no gradient reaches the teacher."""
    outputs = subject.outputs()
    total = sum(subject.build()(outputs, subject.batch()).values())
    require(total.requires_grad, 'the terms carry no gradient.')
    total.backward()
    read = leaves(outputs, [path for path in subject.requires if field_of(path) not in FROZEN])
    wrong = [path for path, value in read.items() if value.grad is not None and not value.grad.isfinite().all()]
    require(not wrong, f'NaN or infinite gradients at {", ".join(wrong)}.')
    require(any(v.grad is not None and v.grad.any() for v in read.values()), f'no gradient reaches any of {", ".join(read) or "no field"}.')
    reached = [p for p, v in leaves(outputs, ['teacher.tokens', 'teacher.pooled', 'teacher.last']).items() if v.grad is not None and v.grad.any()]
    require(not reached, f'a gradient reaches {", ".join(reached)}; the teacher is frozen: detach it.')


def finite_where_it_is_best(subject: LossSubject) -> None:
    """Terms and gradients are finite where reconstructions equal the images and features equal the teacher's."""
    outputs = subject.outputs()
    best = outputs.replace(
        reconstructions=outputs.images.clone().requires_grad_(True), pooled=outputs.teacher.pooled.detach().clone().requires_grad_(True),
        features={name: outputs.teacher.tokens.detach().clone().requires_grad_(True) for name in outputs.features})
    terms = subject.build()(best, subject.batch())
    wrong = [name for name, value in terms.items() if not value.isfinite()]
    require(not wrong, f'the terms {", ".join(wrong)} are NaN or infinite there.')
    sum(terms.values()).backward()
    wrong = [p for p, v in leaves(best, ['reconstructions', 'pooled', 'features']).items() if v.grad is not None and not v.grad.isfinite().all()]
    require(not wrong, f'the gradients at {", ".join(wrong)} are NaN or infinite there (a root or a norm of 0?).')


def raw(subject: LossSubject) -> None:
    """Terms are not weighted: the criterion takes `weight` out of a config, so the constructor has no such argument."""
    parameters = inspect.signature(type(subject.build())).parameters
    require('weight' not in parameters, 'the constructor takes `weight`, which never arrives: the criterion weighs terms. Name it otherwise.')


def autocast(subject: LossSubject) -> None:
    """bfloat16 autocast changes no term: losses compute in float32."""
    loss, outputs, batch = subject.build(), subject.outputs(), subject.batch()
    want = loss(outputs, batch)
    with torch.autocast('cpu', torch.bfloat16):
        terms = loss(outputs, batch)
    require_equal_terms(terms, want, 'terms with and without autocast', 1e-6)


def order_of_images(subject: LossSubject) -> None:
    """The order of the images in the batch changes no term."""
    loss, outputs, batch = subject.build(), subject.outputs(), subject.batch()
    order = torch.tensor([2, 0, 3, 1])
    require_equal_terms(loss(take(outputs, order, B), take(batch, order, B)), loss(outputs, batch), 'terms of images in another order')


def one_image(subject: LossSubject) -> None:
    """A batch of one image has finite terms."""
    index = torch.tensor([1])
    terms = subject.build()(take(subject.outputs(), index, B), take(subject.batch(), index, B))
    wrong = [name for name, value in terms.items() if not value.isfinite()]
    require(not wrong, f'of one image, the terms {", ".join(wrong)} are NaN or infinite.')


def leaves_state(subject: LossSubject) -> None:
    """A call changes neither the loss nor what it reads; two calls give the same terms."""
    loss, outputs, batch = subject.build(), subject.outputs(), subject.batch()
    before, values = state_of(loss), {path: v.detach().clone() for path, v in leaves(outputs, list(PATHS)).items()}
    first = loss(outputs, batch)
    require_equal_terms(loss(outputs, batch), first, 'two calls', 0.0)
    require_state(loss, before, 'a call')
    for path, value in leaves(outputs, list(values)).items():
        require_same(value, values[path], f'`{path}` before and after a call')


def nothing_to_train(subject: LossSubject) -> None:
    """A loss has no trainable parameters: no optimizer sees them. Networks that it asks are frozen."""
    trainable = [name for name, p in subject.build().named_parameters() if p.requires_grad]
    require(not trainable, f'{", ".join(trainable)} would never learn. Freeze them, or let a part of the tokenizer own them.')


LOSS = Contract('loss', 'losses', LossSubject, by_name(
    legal_paths, reads_what_it_requires, names, scalars, gradients, finite_where_it_is_best, raw, autocast, order_of_images,
    one_image, leaves_state, nothing_to_train))
