"""Quantizers: checks of unusual and of wrong inputs.

Legend: B batch, N tokens, C code width, Q codes per token.
"""
from __future__ import annotations

import torch

from dtbox.counts import format_count
from dtbox.testing.quantizer_subject import QuantizerSubject
from dtbox.testing.subject import copy_state, require, require_refused


def empty_batches(subject: QuantizerSubject) -> None:
    """A batch without images or tokens, and a single token, pass through training, `commit` and evaluation."""
    quantizer = subject.trained()
    for b, n in subject.shapes((0, 9), (2, 0), (0, 0), (1, 1)):
        z = subject.z(b, n)
        quantizer.train()(z)
        quantizer.commit()
        codes = quantizer.eval().encode(z)
        for what, features in (('forward', quantizer(z).features), ('decode', quantizer.decode(codes))):
            require(features.shape == (b, n, subject.dim),
                    f'{what} gives features of shape {list(features.shape)} for {list(z.shape)}.')
        broken = [name for name, value in copy_state(quantizer).items() if not value.isfinite().all()]
        require(not broken, f'after [{b}, {n}, {subject.dim}] and `commit`, {broken} hold NaN or infinite values.')


def refuses_non_finite(subject: QuantizerSubject) -> None:
    """Features with NaN or infinite values are an InputError: no code is nearest to them."""
    for value in (float('nan'), float('inf'), -float('inf')):
        z = subject.z()
        z[1, 2, 0] = value
        for training in (True, False):
            quantizer = subject.build().train(training)
            for name in ('forward', 'encode'):
                require_refused(getattr(quantizer, name), z, f'features with {value} in {name}')


def refuses_wrong_shapes(subject: QuantizerSubject) -> None:
    """Features that are not [B,N,C], or not of the layout that the quantizer needs, are an InputError."""
    quantizer, c = subject.build(), subject.input_dim
    n = subject.layout.tokens if subject.layout else 9
    wrong = [(2, n + 1, c)] if subject.layout else []
    for shape in (*wrong, (2, n, c + 1), (2, n, 2 * c), (n, c), (2, 3, 3, c)):
        for name in ('forward', 'encode'):
            require_refused(getattr(quantizer, name), torch.zeros(shape), f'features of shape {list(shape)} in {name}')


def refuses_wrong_codes(subject: QuantizerSubject) -> None:
    """`decode` refuses codes out of range, codes that are not integers, another number of codes per token, and another
    number of tokens where the quantizer needs a layout.

    A continuous quantizer refuses codes, latents of another width, and latents that are not finite."""
    quantizer = subject.build()
    if subject.continuous:
        latents = torch.zeros(2, subject.count_codes(9), subject.dim)
        require_refused(quantizer.decode, latents.long(), 'codes in the place of latents')
        require_refused(quantizer.decode, latents[..., :-1], 'latents of another width')
        require_refused(quantizer.decode, latents / 0, 'latents with NaN')
        return
    good = torch.zeros(2, subject.count_codes(9), subject.depth, dtype=torch.int64)
    for depth, size in enumerate(subject.sizes):
        for value in (-1, size):
            codes = good.clone()
            codes[1, 4, depth] = value
            require_refused(quantizer.decode, codes,
                            f'codes of {value} at depth {depth}, whose codebook has {format_count(size, "code")},')
    require_refused(quantizer.decode, good.float(), 'codes in float32')
    if subject.layout:
        require_refused(quantizer.decode, good[:, 1:],
                        f'codes of {format_count(len(good[0]) - 1, "token")} instead of {len(good[0])}')
    depth = subject.depth
    require_refused(quantizer.decode, torch.cat([good, good[..., :1]], -1),
                    f'{format_count(depth + 1, "code")} per token instead of {depth}')
    require_refused(quantizer.decode, good[..., :-1], f'{format_count(depth - 1, "code")} per token instead of {depth}')
