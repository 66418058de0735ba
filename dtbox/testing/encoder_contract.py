"""The contract of encoders (see `dtbox.encoders.base`).

Legend: B batch, P prefix tokens, N patch tokens, D width, H and W pixels, E width of the pool.
"""
from __future__ import annotations

import copy

import torch

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.testing.contract import Contract, index_by_name
from dtbox.testing.encoder_subject import TOLERANCE, EncoderSubject, run_whole
from dtbox.testing.subject import (
    DoesNotApply,
    copy_state,
    fail,
    list_idle_parameters,
    make_generator,
    require,
    require_floats,
    require_gradient,
    require_refused,
    require_same,
    require_state,
)


def sizes(subject: EncoderSubject) -> None:
    """`depth`, `num_prefix_tokens`, `image_size` and `width(l)` are whole numbers; the tokens have these sizes, and are
    as many as `layout(l)`, or `grid(l)`, says; they are finite float32 of float32 images."""
    encoder = subject.build().eval()
    numbers = dict(depth=encoder.depth, num_prefix_tokens=encoder.num_prefix_tokens, image_height=subject.size[0],
                   image_width=subject.size[1])
    for name, value in numbers.items():
        least = int(name != 'num_prefix_tokens')
        require(type(value) is int and value >= least, f'`{name}` is {value!r}; expected a whole number.')
    tokens, taps = run_whole(encoder, subject.images(2))
    for layer in range(encoder.depth + 1):
        announced = (2, encoder.layout(layer).tokens, encoder.width(layer))
        require_floats(taps[layer], announced, f'patch tokens of layer {layer}, sized by `layout` and `width`,')
    last = taps[encoder.depth].shape[1]
    require(tokens.shape[1] == last + subject.prefix,
            f'after the last block there are {format_count(tokens.shape[1], "token")}; expected '
            f'{subject.prefix} prefix tokens and {last} patch tokens.')


def staged_run(subject: EncoderSubject) -> None:
    """A run in stages, one block at a time or two halves, gives the tokens and taps of one run."""
    encoder, images = subject.build().eval(), subject.images()
    whole, taps = run_whole(encoder, images)
    for stops in (range(1, encoder.depth + 1), (encoder.depth // 2, encoder.depth)):
        tokens, start = encoder.embed(images), 0
        for stop in stops:
            tokens, staged = encoder.run(tokens, start, stop, [stop])
            start = stop
            require(list(staged) == [stop], f'run(tokens, {start}, {stop}, [{stop}]) returns taps of {list(staged)}.')
            require_same(staged[stop], taps[stop], f'patch tokens of layer {stop} of a run in stages and of one run',
                         1e-6)
        require_same(tokens, whole, 'tokens of a run in stages and of one run', 1e-6)


def taps_are_raw(subject: EncoderSubject) -> None:
    """A tap is the raw output of its block without the prefix tokens; only taps that are asked for come back."""
    encoder, images = subject.build().eval(), subject.images()
    _, taps = run_whole(encoder, images)
    embedded = encoder.embed(images)
    require_same(taps[0], subject.cut(encoder, embedded, 0), 'tap 0 and the patch tokens of the embedding')
    for layer in range(1, encoder.depth + 1):
        tokens, none = encoder.run(embedded, 0, layer)
        require(none == {}, f'run without taps returns those of {list(none)}.')
        require_same(taps[layer], subject.cut(encoder, tokens, layer),
                     f'tap {layer} and the patch tokens after block {layer}', 1e-6)


def prefix_tokens(subject: EncoderSubject) -> None:
    """`patches` drops the prefix tokens, `with_patches` puts others after them; what is put there reaches the next
    block."""
    encoder, images = subject.build().eval(), subject.images()
    tokens = encoder.embed(images)
    patches = encoder.patches(tokens)
    require_same(encoder.with_patches(tokens, patches), tokens, 'tokens with their own patch tokens put back')
    changed = encoder.with_patches(tokens, patches + 1)
    require_same(changed[:, :subject.prefix], tokens[:, :subject.prefix], 'prefix tokens after `with_patches`')
    require_same(encoder.patches(changed), patches + 1, 'patch tokens after `with_patches`')
    before, after = (encoder.run(t, 0, 1, [1])[1][1] for t in (tokens, changed))
    require(not torch.equal(before, after), 'other patch tokens at layer 0 do not change layer 1.')


def stands_alone(subject: EncoderSubject) -> None:
    """In evaluation an image's tokens do not depend on the rest of the batch, and two passes give the same."""
    encoder, images = subject.build().eval(), subject.images(4)
    tokens, _ = run_whole(encoder, images)
    require_same(run_whole(encoder, images)[0], tokens, 'tokens of the same images, twice')
    require_same(run_whole(encoder, images[2:3])[0], tokens[2:3], 'tokens of an image alone and in a batch', TOLERANCE)
    require_same(run_whole(encoder, images.flip(0))[0].flip(0), tokens, 'tokens of images in another order', TOLERANCE)


def norms(subject: EncoderSubject) -> None:
    """`normalize` gives finite tokens of the same shape that are not the last block's, an image's the same alone;
    without one, `has_norm` is False."""
    encoder = subject.build().eval()
    require(type(encoder.has_norm) is bool, f'`has_norm` is {encoder.has_norm!r}; expected True or False.')
    if not encoder.has_norm:
        raise DoesNotApply('no norm follows the last block (`has_norm` is False).')
    tokens, _ = run_whole(encoder, subject.images(4))
    normed = encoder.normalize(tokens)
    require(normed.shape == tokens.shape, f'`normalize` gives {list(normed.shape)}; expected {list(tokens.shape)}.')
    require(normed.isfinite().all(), '`normalize` gives NaN or infinite values.')
    require(not torch.equal(normed, tokens), '`normalize` changes nothing; without a norm `has_norm` is False.')
    require_same(encoder.normalize(tokens[1:2]), normed[1:2], 'tokens after the norm, alone and in a batch', TOLERANCE)


def pools(subject: EncoderSubject) -> None:
    """`pool` gives finite [B, pooled_dim], the same for an image alone; without one, `pooled_dim` is None.
    """
    encoder = subject.build().eval()
    if encoder.pooled_dim is None:
        raise DoesNotApply('the encoder has no pool (`pooled_dim` is None).')
    tokens, _ = run_whole(encoder, subject.images(4))
    pooled = encoder.pool(tokens)
    require(pooled.shape == (4, encoder.pooled_dim),
            f'`pool` gives {list(pooled.shape)}; expected {[4, encoder.pooled_dim]}.')
    require(pooled.isfinite().all(), '`pool` gives NaN or infinite values.')
    require_same(encoder.pool(tokens[1:2]), pooled[1:2], 'pooled output of an image alone and in a batch', TOLERANCE)


def pools_regions(subject: EncoderSubject) -> None:
    """The region that is the whole image pools like the image; no region gives no row; prefix tokens are an InputError.
    """
    encoder = subject.build().eval()
    if encoder.pooled_dim is None:
        raise DoesNotApply('the encoder has no pool (`pooled_dim` is None).')
    tokens, _ = run_whole(encoder, subject.images(2))
    masks = [torch.ones(1, *subject.size, dtype=torch.bool), torch.zeros(0, *subject.size, dtype=torch.bool)]
    try:
        first, second = encoder.pool_regions(tokens, masks)
    except InputError as e:
        raise DoesNotApply(f'the encoder does not pool regions: {e.message}') from e
    require_same(first, encoder.pool(tokens[:1]), 'the whole image as a region and `pool`', TOLERANCE)
    require(len(second) == 0, f'an image without regions gives {format_count(len(second), "row")}.')


def gradients(subject: EncoderSubject) -> None:
    """Gradients reach the images and the parameters: finite everywhere, not zero at the images and in every block."""
    encoder, images = subject.build(), subject.images().requires_grad_(True)
    tokens, taps = run_whole(encoder, images)
    weights = torch.randn(tokens.shape, generator=make_generator(1))
    total = (tokens * weights).sum() + sum(tap.pow(2).mean() for tap in taps.values())
    if encoder.pooled_dim is not None:
        total = total + encoder.pool(tokens).pow(2).sum()
    total.backward()
    require_gradient(images.grad, 'the images')
    wrong = [name for name, p in encoder.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    require(not wrong, f'NaN or infinite gradients at {", ".join(wrong)}.')
    trainable = [name for name, p in encoder.named_parameters() if p.requires_grad]
    idle = list_idle_parameters(encoder)
    require(not trainable or len(idle) <= len(trainable) // 4,
            f'no gradient, or zeros, at {len(idle)} of '
            f'{format_count(len(trainable), "parameter")}: {", ".join(idle[:5])}. Freeze or drop what is not used.')


def forward_leaves_state(subject: EncoderSubject) -> None:
    """A pass in evaluation changes nothing, whatever it taps; a pass in training changes no parameter."""
    encoder, images = subject.build().eval(), subject.images()
    before = copy_state(encoder)
    run_whole(encoder, images)
    require_state(encoder, before, 'a pass in evaluation')
    run_whole(encoder.train(), images)
    for name, p in encoder.named_parameters():
        require_same(p, before[name], f'parameter `{name}` after a pass in training')


def state_dict(subject: EncoderSubject) -> None:
    """The state dict holds all there is: an instance of another seed that loads it gives the same tokens; so does a
    copy."""
    encoder = subject.build()
    twin = subject.build(seed=99)
    images = subject.images()
    twin.load_state_dict(copy_state(encoder), strict=True)
    want, _ = run_whole(encoder.eval(), images)
    require_same(run_whole(twin.eval(), images)[0], want, 'tokens after loading', 1e-6)
    require_same(run_whole(copy.deepcopy(encoder), images)[0], want, 'tokens of a deep copy', 1e-6)


def reproducible(subject: EncoderSubject) -> None:
    """Under one seed, two instances have the same weights."""
    require_state(subject.build(seed=5), copy_state(subject.build(seed=5)), 'two instances of one seed')


def autocast(subject: EncoderSubject) -> None:
    """A training pass under bfloat16 autocast, backward included, has finite tokens of the same shape, and finite
    gradients."""
    encoder, images = subject.build(), subject.images()
    shape = run_whole(encoder, images)[0].shape
    with torch.autocast('cpu', torch.bfloat16):
        tokens, _ = run_whole(encoder, images)
    require(tokens.shape == shape and tokens.isfinite().all(), f'tokens under autocast are {list(tokens.shape)} '
            f'{"with" if tokens.isfinite().all() else "without finite"} values; expected {list(shape)}, all finite.')
    tokens.float().pow(2).mean().backward()
    wrong = [name for name, p in encoder.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    require(not wrong, f'NaN or infinite gradients under autocast at {", ".join(wrong)}.')


def refuses_wrong_images(subject: EncoderSubject) -> None:
    """`check_images` refuses other sizes, channels, whole numbers and empty batches; the constructor refuses sizes
    below 1."""
    encoder, (height, width) = subject.build(), subject.size
    wrong = {'images of another height': torch.zeros(1, 3, height + 1, width),
             'images of another width': torch.zeros(1, 3, height, 2 * width),
             'images of one channel': torch.zeros(1, 1, height, width),
             'an image without batch': torch.zeros(3, height, width),
             'images in uint8': torch.zeros(1, 3, height, width, dtype=torch.uint8),
             'no images': torch.zeros(0, 3, height, width)}
    for what, images in wrong.items():
        require_refused(encoder.check_images, images, what)
    if 'image_size' in subject.cfg:
        for size in (0, -height, (height, 0)):
            try:
                subject.build(image_size=size)
            except InputError:
                continue
            except Exception as e:
                fail(f'`image_size` {size} ends in {type(e).__name__} ({e}), not in an InputError.')
            fail(f'`image_size` {size} is accepted, without an InputError.')


ENCODER = Contract('encoder', 'encoders', EncoderSubject, index_by_name(
    sizes, staged_run, taps_are_raw, prefix_tokens, stands_alone, norms, pools, pools_regions, gradients,
    forward_leaves_state, state_dict, reproducible, autocast, refuses_wrong_images))
