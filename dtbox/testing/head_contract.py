"""The contract of heads (see `dtbox.heads.pools`).

A head reads the trunk of a small vision transformer, or features of a vocabulary on the same grid.

Legend: B batch, P prefix tokens, N patch tokens, D width, E width of the embedding, M regions.
"""
from __future__ import annotations

import copy
from typing import Sequence

import torch
from torch import Tensor

from dtbox.counts import format_count
from dtbox.encoders.base import Encoder
from dtbox.errors import InputError
from dtbox.heads.pools import Head
from dtbox.registry import ENCODERS, HEADS
from dtbox.testing.contract import Contract, index_by_name
from dtbox.testing.rank_group import Ranks
from dtbox.testing.subject import (
    DoesNotApply,
    Subject,
    copy_state,
    list_idle_parameters,
    make_generator,
    require,
    require_floats,
    require_gradient,
    require_same,
    require_state,
)

TRUNK = dict(type='TimmViT', name='vit_base_patch16_siglip_224', image_size=32,
             model_args=dict(embed_dim=32, depth=1, num_heads=2, patch_size=8))
"""The encoder whose tokens the head reads: 4 x 4 patch tokens of width 32, no prefix token, an attention pool."""
TOLERANCE = 1e-5
"""Largest difference between an embedding alone and in a batch."""


class HeadSubject(Subject):
    """A head under test.

    Attributes:
        width: E.
        reads: vocabulary that it reads, or None.
    """
    registry, base = HEADS, Head
    defaults = dict(in_dim=32, pooled_dim=32)

    def __init__(self, cfg: dict, plugins: str | Sequence[str] = (), ranks: Ranks | None = None):
        self._trunk: Encoder | None = None
        super().__init__(cfg, plugins, ranks)
        example = self.build()
        self.width, self.reads = example.pooled_dim, example.reads

    @property
    def trunk(self) -> Encoder:
        """The encoder, in evaluation, without gradients of its own."""
        trunk = self._trunk
        if trunk is None:
            torch.manual_seed(0)
            trunk = self._trunk = ENCODERS.build(copy.deepcopy(TRUNK)).eval().requires_grad_(False)
        return trunk

    def tokens(self, b: int = 3, seed: int = 0) -> Tensor:
        """Return what the head reads: tokens [B,P+N,D] of the trunk, or features [B,N,D]."""
        return torch.randn(b, 16, 32, generator=make_generator(seed))


def shape(subject: HeadSubject) -> None:
    """The output is a finite float32 [B, pooled_dim], in training and in evaluation."""
    require(type(subject.width) is int and subject.width > 0,
            f'`pooled_dim` is {subject.width!r}; expected the width of the output.')
    for training in (True, False):
        head = subject.build().train(training)
        for b in (1, 4):
            out = head(subject.tokens(b), subject.trunk)
            require_floats(out, (b, subject.width), f'embeddings of {format_count(b, "image")}')


def stands_alone(subject: HeadSubject) -> None:
    """In evaluation an embedding does not depend on the rest of the batch, and two passes give the same."""
    head, tokens = subject.build().eval(), subject.tokens(4)
    out = head(tokens, subject.trunk)
    require_same(head(tokens, subject.trunk), out, 'embeddings of the same tokens, twice')
    require_same(head(tokens[2:3], subject.trunk), out[2:3], 'an embedding alone and in a batch', TOLERANCE)
    require_same(head(tokens.flip(0), subject.trunk).flip(0), out, 'embeddings in another order', TOLERANCE)


def gradients(subject: HeadSubject) -> None:
    """The embedding carries finite gradients, not just zeros, to the tokens and to every trainable parameter of the
    head."""
    head, tokens = subject.build(), subject.tokens().requires_grad_(True)
    out = head(tokens, subject.trunk)
    (out * torch.randn(out.shape, generator=make_generator(1))).sum().backward()
    require_gradient(tokens.grad, 'the tokens')
    idle = list_idle_parameters(head)
    require(not idle, f'no gradient, zeros, or NaN at {", ".join(idle)}.')


def regions(subject: HeadSubject) -> None:
    """Regions pool like images: one row each, the whole image as a region gives the embedding of the image."""
    head = subject.build().eval()
    tokens = subject.tokens(3)
    size = subject.trunk.image_size
    masks = [torch.zeros(m, *size, dtype=torch.bool) for m in (2, 0, 1)]
    masks[0][0] = True
    masks[0][1, :16, :16] = True
    masks[2][0, -8:, -8:] = True
    try:
        pooled = head.pool_regions(tokens, masks, subject.trunk, (4, 4))
    except InputError as e:
        raise DoesNotApply(f'the head does not pool regions: {e.message}') from e
    require([len(rows) for rows in pooled] == [2, 0, 1],
            f'images of 2, 0 and 1 regions give {[len(rows) for rows in pooled]} rows.')
    require_same(pooled[0][:1], head(tokens[:1], subject.trunk), 'the whole image as a region and as an image',
                 TOLERANCE)
    require(not torch.equal(pooled[0][0], pooled[0][1]), 'a quarter of the image pools like the whole image.')
    alone, = head.pool_regions(tokens[2:], masks[2:], subject.trunk, (4, 4))
    require_same(alone, pooled[2], 'a region alone and in a batch', TOLERANCE)


def state_dict(subject: HeadSubject) -> None:
    """The state dict holds all there is, a pass leaves it alone, and one seed gives one head."""
    head = subject.build()
    twin = subject.build(seed=99)
    tokens = subject.tokens()
    before = copy_state(head)
    want = head.eval()(tokens, subject.trunk)
    require_state(head, before, 'a pass in evaluation')
    twin.load_state_dict(before, strict=True)
    require_same(twin.eval()(tokens, subject.trunk), want, 'embeddings after loading', 1e-6)
    require_state(subject.build(seed=5), copy_state(subject.build(seed=5)), 'two instances of one seed')


def trunk_stays_outside(subject: HeadSubject) -> None:
    """The encoder that a head is called with does not become part of it: its weights stay out of the head's state."""
    head = subject.build()
    before = set(copy_state(head))
    head(subject.tokens(), subject.trunk)
    require(set(copy_state(head)) == before,
            f'after a pass the state holds {sorted(set(copy_state(head)) - before)[:3]} '
            'as well.')


def autocast(subject: HeadSubject) -> None:
    """Under bfloat16 autocast the embedding is finite and has the same shape."""
    head = subject.build()
    with torch.autocast('cpu', torch.bfloat16):
        out = head(subject.tokens(), subject.trunk)
    require(out.shape == (3, subject.width) and out.isfinite().all(),
            f'under autocast the embedding is {list(out.shape)}; '
            f'expected {[3, subject.width]}, all finite.')


HEAD = Contract('head', 'heads', HeadSubject, index_by_name(
    shape, stands_alone, gradients, regions, state_dict, trunk_stays_outside, autocast))
