"""The contract of decoders (see `dtbox.decoders.base`).

Legend: B batch, N tokens in row-major order, D feature width, H and W pixels.
"""
from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dtbox import layout
from dtbox.counts import format_count
from dtbox.decoders.base import Decoder
from dtbox.errors import InputError
from dtbox.layers.sizes import read_pair
from dtbox.layout import Grid, TokenLayout
from dtbox.registry import DECODERS
from dtbox.testing.contract import Contract, index_by_name
from dtbox.testing.rank_group import Ranks
from dtbox.testing.subject import (
    DoesNotApply,
    Subject,
    copy_state,
    list_idle_parameters,
    make_generator,
    require,
    require_gradient,
    require_refused,
    require_same,
    require_state,
)

TOLERANCE = 1e-4
"""Largest difference between an image decoded alone and in a batch."""


class DecoderSubject(Subject):
    """A decoder under test.

    Attributes:
        dim: feature width D.
        layout: where the tokens lie.
        tokens: number of tokens N.
        size: (H, W).
    """
    registry, base = DECODERS, Decoder
    defaults = dict(in_dim=16, layout=Grid(4, 4), image_size=(32, 32))

    def __init__(self, cfg: dict, plugins: str | Sequence[str] = (), ranks: Ranks | None = None):
        super().__init__(cfg, plugins, ranks)
        example = self.build()
        self.dim, self.size = example.in_dim, example.image_size
        self.layout, self.tokens = example.layout, example.layout.tokens

    def features(self, b: int = 3, seed: int = 0) -> Tensor:
        """Return features [B,N,D]."""
        return torch.randn(b, self.tokens, self.dim, generator=make_generator(seed))


def images(subject: DecoderSubject) -> None:
    """Features [B,N,D] become finite float images [B,3,H,W], for any B, in training and in evaluation."""
    for training in (True, False):
        decoder = subject.build().train(training)
        for b in (1, 3):
            out = decoder(subject.features(b))
            require(out.shape == (b, 3, *subject.size) and out.dtype == torch.float32,
                    f'features of {format_count(b, "image")} give {out.dtype} '
                    f'{list(out.shape)}; expected float32 {[b, 3, *subject.size]}.')
            require(out.isfinite().all(), 'the images have NaN or infinite values.')


def other_layouts(subject: DecoderSubject) -> None:
    """A grid twice as wide, or a sequence of twice the tokens, gives images twice as wide; where the decoder takes no
    such sizes, its constructor says so."""
    wide, size = _widen_layout(subject.layout), _widen(subject.size)
    latent = subject.cfg.get('latent_size')
    changes: dict[str, Any] = dict(latent_size=_widen(read_pair(latent, 'latent_size'))) if latent else {}
    try:
        decoder = subject.build(layout=wide, image_size=size, **changes)
    except InputError as e:
        raise DoesNotApply(f'the decoder refuses a {wide}: {e.message}') from e
    out = decoder(torch.randn(2, wide.tokens, subject.dim, generator=make_generator(0)))
    require(out.shape == (2, 3, *size), f'a {wide} gives images {list(out.shape)}; expected {[2, 3, *size]}.')


def _widen(size: tuple[int, int]) -> tuple[int, int]:
    return size[0], 2 * size[1]


def _widen_layout(tokens: TokenLayout) -> TokenLayout:
    if isinstance(tokens, Grid):
        return Grid(*_widen(tokens.map_shape))
    if isinstance(tokens, layout.Sequence):
        return layout.Sequence(2 * tokens.length)
    raise DoesNotApply(f'the decoder takes a {tokens}.')


def rows_and_columns(subject: DecoderSubject) -> None:
    """Tokens lie row by row: the last token of the first row changes the upper right more than the lower left."""
    if not isinstance(subject.layout, Grid):
        raise DoesNotApply(f'the tokens of a {subject.layout} have no places in the image.')
    decoder, (height, width) = subject.build().eval(), subject.size
    difference = torch.zeros(height, width)
    for seed in range(4):
        features = subject.features(1, seed)
        changed = features.clone()
        changed[:, subject.layout.columns - 1] += 0.1
        difference += (decoder(changed) - decoder(features)).abs().sum(1)[0].detach()
    right, left = difference[:height // 2, width // 2:].mean(), difference[height // 2:, :width // 2].mean()
    require(min(subject.layout.map_shape) < 2 or right > left,
            f'the last token of the first row changes the upper right quarter by {right:.3g} in the '
            f'mean and the lower left one by {left:.3g}. Are rows and columns exchanged?')


def last_layer(subject: DecoderSubject) -> None:
    """`last_layer` is a trainable parameter of the decoder that gets a gradient from the images, and that they depend
    on."""
    decoder, features = subject.build(), subject.features()
    weight = decoder.last_layer
    require(any(weight is p for p in decoder.parameters()), '`last_layer` is not a parameter of the decoder.')
    before = decoder(features)
    (before * torch.randn(before.shape, generator=make_generator(1))).sum().backward()
    require_gradient(weight.grad, '`last_layer`')
    with torch.no_grad():
        weight.add_(1)
    require(not torch.equal(decoder(features), before), 'the images do not depend on `last_layer`.')


def gradients(subject: DecoderSubject) -> None:
    """The images alone carry finite gradients, not just zeros, to every token and channel of the features and to every
    trainable parameter."""
    decoder, features = subject.build(), subject.features().requires_grad_(True)
    out = decoder(features)
    (out * torch.randn(out.shape, generator=make_generator(1))).sum().backward()
    require_gradient(features.grad, 'the features')
    for what, axes in (('tokens', (0, 2)), ('channels', (0, 1))):
        pull = features.grad.abs().sum(axes)
        ignored = (pull == 0).nonzero().flatten().tolist()
        require(not ignored, f'the images do not depend on {len(ignored)} of the {len(pull)} {what}: '
                f'{", ".join(map(str, ignored[:8]))}.')
    idle = list_idle_parameters(decoder)
    require(not idle, f'no gradient, zeros, or NaN at {", ".join(idle)}.')


def stands_alone(subject: DecoderSubject) -> None:
    """In evaluation an image does not depend on the rest of the batch, and two passes give the same."""
    decoder, features = subject.build().eval(), subject.features(4)
    out = decoder(features)
    require_same(decoder(features), out, 'images of the same features, twice')
    require_same(decoder(features[2:3]), out[2:3], 'an image alone and in a batch', TOLERANCE)
    require_same(decoder(features.flip(0)).flip(0), out, 'images in another order', TOLERANCE)


def not_clamped(subject: DecoderSubject) -> None:
    """Images are not clamped: a pixel outside of [-1, 1] still has a gradient."""
    decoder = subject.build()
    with torch.no_grad():
        decoder.last_layer.mul_(1e3)
    features = subject.features().requires_grad_(True)
    out = decoder(features)
    far = out.abs() > 1
    require(far.any(), 'with a last layer a thousand times larger, no pixel leaves [-1, 1]: are the images clamped?')
    out[far].sum().backward()
    require_gradient(features.grad, 'the features, from pixels outside of [-1, 1]')


def recompute(subject: DecoderSubject) -> None:
    """With `recompute`, where the constructor takes it, images and gradients are the same."""
    if 'recompute' not in inspect.signature(type(subject.build())).parameters:
        raise DoesNotApply('the constructor takes no `recompute`.')
    runs = []
    for value in (False, True):
        decoder, features = subject.build(recompute=value), subject.features().requires_grad_(True)
        torch.manual_seed(0)
        out = decoder(features)
        out.pow(2).sum().backward()
        runs.append((out, features.grad, decoder.last_layer.grad))
    for what, a, b in zip(('images', 'gradients at the features', 'gradients at `last_layer`'), *runs):
        require_same(a, b, f'{what} with and without recomputation', 1e-5 * max(1.0, a.abs().max().item()))


def forward_leaves_state(subject: DecoderSubject) -> None:
    """A pass in evaluation changes nothing."""
    decoder = subject.build().eval()
    before = copy_state(decoder)
    decoder(subject.features())
    require_state(decoder, before, 'a pass in evaluation')


def state_dict(subject: DecoderSubject) -> None:
    """The state dict holds all there is: an instance of another seed that loads it gives the same images; so does a
    copy."""
    decoder = subject.build()
    twin = subject.build(seed=99)
    features = subject.features()
    twin.load_state_dict(copy_state(decoder), strict=True)
    want = decoder.eval()(features)
    require_same(twin.eval()(features), want, 'images after loading', 1e-6)
    require_same(copy.deepcopy(decoder)(features), want, 'images of a deep copy', 1e-6)
    require_state(subject.build(seed=5), copy_state(subject.build(seed=5)), 'two instances of one seed')


def autocast(subject: DecoderSubject) -> None:
    """A training pass under bfloat16 autocast has finite images of the same size, and finite gradients."""
    decoder = subject.build()
    with torch.autocast('cpu', torch.bfloat16):
        out = decoder(subject.features())
    require(out.shape == (3, 3, *subject.size) and out.isfinite().all(),
            f'images under autocast are {list(out.shape)}; expected '
            f'{[3, 3, *subject.size]}, all finite.')
    out.float().pow(2).mean().backward()
    wrong = [name for name, p in decoder.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    require(not wrong, f'NaN or infinite gradients under autocast at {", ".join(wrong)}.')


def refuses_wrong_features(subject: DecoderSubject) -> None:
    """Features of another width, another number of tokens, or without a batch are an InputError."""
    decoder = subject.build()
    n, d = subject.tokens, subject.dim
    for shape in ((1, n, d + 1), (1, n + 1, d), (1, n - 1, d), (n, d), (1, d, n, 1)):
        require_refused(decoder, torch.zeros(shape), f'features of shape {list(shape)}')


def refuses_wrong_sizes(subject: DecoderSubject) -> None:
    """Sizes that are not positive, other layouts, and image sizes that the decoder cannot give are an InputError."""
    other = layout.Sequence(16) if isinstance(subject.layout, Grid) else Grid(4, 4)
    for changes in (dict(in_dim=0), dict(image_size=0), dict(layout=other), dict(layout=(4, 4))):
        require_refused(lambda changes: subject.build(**changes), changes, f'the sizes {changes}')
    odd = (subject.size[0] + 1, subject.size[1])
    try:
        out = subject.build(image_size=odd)(subject.features(1))
    except InputError:
        return
    require(out.shape[2:] == odd, f'`image_size` {odd} is accepted, and the images have {list(out.shape[2:])} pixels.')


DECODER = Contract('decoder', 'decoders', DecoderSubject, index_by_name(
    images, other_layouts, rows_and_columns, last_layer, gradients, stands_alone, not_clamped, recompute,
    forward_leaves_state,
    state_dict, autocast, refuses_wrong_features, refuses_wrong_sizes))
