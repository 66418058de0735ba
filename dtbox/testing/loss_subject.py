"""The loss under test, a tokenizer's output for it to read, and comparisons of terms.

Legend: B images, N tokens, D feature width, E joint width, H and W pixels.
"""
from __future__ import annotations

from typing import Any, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.losses.base import Loss, lookup
from dtbox.registry import LOSSES
from dtbox.structures import Batch, TeacherOutput, TokenizerOutput
from dtbox.testing.rank_group import Ranks
from dtbox.testing.subject import Subject, make_generator, require, require_same

B = 4
N = 16
D = 8
E = 12
SIDE = 32
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
        named = [path.split('.')[1] for path in self.requires if path.startswith(('features.', 'codes.', 'losses.'))]
        self.names = list(dict.fromkeys([*named, 'pixel', 'semantic']))

    def build(self, seed: int = 1, **changes: Any) -> Loss:
        """Return a new instance in training, with a teacher bound to it."""
        loss = super().build(seed, **changes)
        if isinstance(loss, Loss):
            loss.bind(StubTeacher())
        return loss

    def outputs(self, seed: int = 0, dtype: torch.dtype = torch.float32) -> TokenizerOutput:
        """Return a TokenizerOutput that has every field; all tensors but images and codes are leaves that ask for a
        gradient."""
        rng = make_generator(seed)

        def leaf(*shape: int) -> Tensor:
            return torch.randn(shape, generator=rng).to(dtype).requires_grad_(True)
        images = (torch.rand(B, 3, SIDE, SIDE, generator=rng) * 2 - 1).to(dtype)
        asked = [path.split('.')[2] for path in self.requires if path.count('.') == 2]
        terms = list(dict.fromkeys([*asked, 'commitment', 'entropy']))
        noisy = images + 0.3 * torch.randn(images.shape, generator=rng)
        return TokenizerOutput(
            images=images, reconstructions=noisy.to(dtype).requires_grad_(True),
            codes={name: torch.randint(0, 16, (B, N, 2), generator=rng) for name in self.names},
            features={name: leaf(B, N, D) for name in self.names},
            losses={name: {t: leaf() for t in terms} for name in self.names},
            pooled=leaf(B, E), last=leaf(B, N, D), text_pooled=leaf(B, E), logit_scale=leaf(), logit_bias=leaf(),
            teacher=TeacherOutput(tokens=leaf(B, N, D), pooled=leaf(B, E), last=leaf(B, N, D)))

    def batch(self) -> Batch:
        """Return the batch of the outputs, with a text, a class and a key for each image."""
        return Batch(images=torch.zeros(B, 3, SIDE, SIDE), texts=[f'text {i}' for i in range(B)],
                     labels=torch.arange(B),
                     keys=[f'key {i}' for i in range(B)])


def name_field(path: str) -> str:
    """Return the first name of a path."""
    return path.split('.')[0]


def list_leaves(outputs: TokenizerOutput, paths: Sequence[str]) -> dict[str, Tensor]:
    """Return path -> tensor under these paths, dicts walked."""
    tensors = {}

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, below in value.items():
                walk(f'{path}.{name}', below)
        elif isinstance(value, Tensor):
            tensors[path] = value
    for path in paths:
        walk(path, lookup(outputs, path))
    return tensors


def keep(outputs: TokenizerOutput, paths: Sequence[str]) -> TokenizerOutput:
    """Return outputs that have the images and the fields of some paths, and nothing else."""
    fields: dict[str, Any] = {}
    for path in paths:
        first, _, rest = path.partition('.')
        if first == 'teacher':
            fields.setdefault('teacher', {})[rest] = lookup(outputs, path)
        elif rest:
            where, names = fields.setdefault(first, {}), rest.split('.')
            for name in names[:-1]:
                where = where.setdefault(name, {})
            where[names[-1]] = lookup(outputs, path)
        else:
            fields[first] = getattr(outputs, first)
    if 'teacher' in fields:
        fields['teacher'] = TeacherOutput(**fields['teacher'])
    return TokenizerOutput(**{'images': outputs.images, **fields})


def require_equal_terms(a: dict[str, Tensor], b: dict[str, Tensor], what: str, tolerance: float = 1e-5) -> None:
    """Raise `Broken` unless two dicts of terms are equal within a relative tolerance."""
    require(a.keys() == b.keys(), f'{what}: the terms are {sorted(a)} and {sorted(b)}.')
    for name in a:
        require_same(a[name], b[name], f'{what}: `{name}`', tolerance * max(1.0, abs(float(a[name].detach()))))
