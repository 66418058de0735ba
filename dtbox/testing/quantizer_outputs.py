"""Quantizers: checks of what a quantizer returns.

Legend: B batch, N tokens, C code width, Q codes per token.
"""
from __future__ import annotations

import copy

import torch

from dtbox.counts import format_count
from dtbox.quantizers.base import Quantizer
from dtbox.structures import QuantizerOutput
from dtbox.testing.quantizer_subject import QuantizerSubject, train_step
from dtbox.testing.subject import copy_state, is_same, require, require_floats, require_same, require_state


def sizes(subject: QuantizerSubject) -> None:
    """`dim` is the width C of the features, `codebook_sizes` a list of Q positive integers, Q the number of codes per
    token; it is empty where `encode` gives latents [B,N,C]."""
    quantizer = subject.build()
    for value in [quantizer.dim, *quantizer.codebook_sizes]:
        require(type(value) is int and value > 0,
                f'`dim` is {quantizer.dim!r} and `codebook_sizes` {quantizer.codebook_sizes!r}; '
                'expected positive integers.')
    depth = quantizer.encode(subject.z()).shape[-1]
    if subject.continuous:
        require(depth == quantizer.dim, f'latents of {format_count(depth, "channel")} for the `dim` {quantizer.dim}.')
        return
    require(depth == len(quantizer.codebook_sizes),
            f'{len(quantizer.codebook_sizes)} `codebook_sizes` for {format_count(depth, "code")} per token.')


def shapes(subject: QuantizerSubject) -> None:
    """Features come back as finite float32 [B,N,C], codes as int64 [B,N,Q], for any B and N, in training and in
    evaluation; without codebooks forward gives no codes, encode float32 latents [B,N,C]."""
    for training in (True, False):
        quantizer = subject.build().train(training)
        for b, n in subject.shapes((4, 9), (1, 5), (3, 1), (2, 16)):
            z, tokens = subject.z(b, n), subject.count_codes(n)
            out, codes = quantizer(z), quantizer.encode(z)
            require(isinstance(out, QuantizerOutput), f'forward returns a {type(out).__name__}, not a QuantizerOutput.')
            if subject.continuous:
                require(out.codes is None, f'forward gives codes {out.codes!r} without codebooks; expected None.')
                require_floats(codes, (b, tokens, subject.dim), 'latents that encode gives')
            for what, given in () if subject.continuous else (('forward', out.codes), ('encode', codes)):
                require(given.dtype == torch.int64 and given.shape == (b, tokens, subject.depth),
                        f'{what} of [{b}, {n}, {subject.dim}] gives codes {given.dtype} {list(given.shape)}; '
                        f'expected int64 [{b}, {tokens}, {subject.depth}].')
            for what, given in (('forward', out.features), ('decode', quantizer.decode(codes))):
                require_floats(given, (b, n, subject.dim), f'features that {what} gives')
        quantizer.discard()


def dtypes(subject: QuantizerSubject) -> None:
    """Features come back in the type that came in; the codes, and what `commit` learns, are those of the same values in
    float32."""
    quantizer = subject.trained().eval()
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        z = subject.z(8, 64).to(dtype)
        out, want = quantizer(z), quantizer(z.float())
        require(out.features.dtype == dtype, f'features of {dtype} come back as {out.features.dtype}.')
        for what, codes in () if subject.continuous else (('forward', out.codes), ('encode', quantizer.encode(z))):
            require_same(codes, want.codes, f'codes that {what} gives for {dtype} and for the same values in float32')
    half, full = subject.build(), subject.build()
    for quantizer, z in ((half, subject.z().bfloat16()), (full, subject.z().bfloat16().float())):
        torch.manual_seed(0)
        quantizer(z)
        quantizer.commit()
    require_state(half, copy_state(full), 'commit of bfloat16 features and of the same values in float32', 1e-5)


def autocast(subject: QuantizerSubject) -> None:
    """Codes are found and statistics kept in float32: bfloat16 autocast changes neither codes nor what `commit` writes.
    """
    quantizer, z = subject.trained().eval(), subject.z(8, 256)
    want = quantizer.encode(z) if subject.continuous else quantizer(z).codes
    with torch.autocast('cpu', torch.bfloat16):
        given, encoded = quantizer(z).codes, quantizer.encode(z)
    if not subject.continuous:
        require_same(given, want, 'codes that forward gives with and without autocast')
    require_same(encoded, want, 'codes that encode gives with and without autocast')
    states = []
    for enabled in (False, True):
        quantizer = subject.build()
        torch.manual_seed(0)
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            quantizer(z)
            quantizer.commit()
        states.append(copy_state(quantizer))
    require_state(quantizer, states[0], 'commit with and without autocast', 1e-5)


def decode_equals_forward(subject: QuantizerSubject) -> None:
    """`encode(z)` are the codes of evaluation's forward, and `decode` of them its features, within 1e-5."""
    for quantizer in (subject.build().eval(), subject.trained().eval()):
        z = subject.z(8, 16)
        out, codes = quantizer(z), quantizer.encode(z)
        if not subject.continuous:
            require_same(codes, out.codes, 'codes of encode and of forward')
        require_same(quantizer.decode(codes), out.features, 'features of decode(encode(z)) and of forward', 1e-5)


def code_range(subject: QuantizerSubject) -> None:
    """Codes lie in the range of their codebook, however large or small the features."""
    subject.has_codes('latents have no range')
    quantizer = subject.trained()
    for scale in (0.0, 1e-3, 1.0, 1e3):
        z = subject.z(8, 16, scale=scale)
        for what, codes in (('forward', quantizer(z).codes), ('encode', quantizer.encode(z))):
            for depth, size in enumerate(subject.sizes):
                low, high = int(codes[..., depth].min()), int(codes[..., depth].max())
                require(0 <= low and high < size, f'{what} gives codes from {low} to {high} at depth {depth}; '
                        f'its codebook has codes 0 to {size - 1}.')
    quantizer.discard()


def codes_stand_alone(subject: QuantizerSubject) -> None:
    """The codes of a token depend on that token alone, or on its image where the quantizer needs a layout: not on its
    place, its neighbours, the rest of the batch, or the mode."""
    quantizer, z = subject.trained().eval(), subject.z(4, 64)
    codes, order = quantizer.encode(z), torch.randperm(64, generator=torch.Generator().manual_seed(0))
    require_same(quantizer.encode(z), codes, 'codes of the same features, encoded twice')
    if subject.layout is None:
        require_same(quantizer.encode(z[:, order]), codes[:, order], 'codes of tokens in another order')
        require_same(quantizer.encode(z.reshape(256, 1, -1)).view(codes.shape), codes,
                     'codes of tokens as images of their own')
        require_same(quantizer.encode(z[2:3, 4:5]), codes[2:3, 4:5], 'codes of a token encoded by itself')
    require_same(quantizer.encode(torch.cat([z[:1], 7 * z[1:]]))[:1], codes[:1],
                 'codes of an image beside other images')
    require_same(quantizer.train().encode(z), codes, 'codes of encode in training and in evaluation')


def settles(subject: QuantizerSubject) -> None:
    """On one batch, training's and evaluation's forward come to give the same codes, and features within 1e-4: after 30
    and after 60 steps, or else after 200."""
    subject.has_codes('a training forward may draw samples or add noise')
    subject.collects_only()
    quantizer, z = subject.build(), subject.z(2, 9)
    settled = []
    for seed in range(200):
        train_step(quantizer, z, seed)
        if seed + 1 in (30, 60):
            training, evaluation = _run_both(quantizer, z)
            settled.append(is_same(training.codes, evaluation.codes)
                           and is_same(training.features, evaluation.features, 1e-4))
            if len(settled) == 2 and all(settled):
                return
    training, evaluation = _run_both(quantizer, z)
    require_same(training.codes, evaluation.codes, 'codes of training and of evaluation, after 200 steps')
    require_same(training.features, evaluation.features, 'features of training and of evaluation, after 200 steps',
                 1e-4)


def _run_both(quantizer: Quantizer, z: torch.Tensor) -> tuple[QuantizerOutput, QuantizerOutput]:
    """Return the outputs of training's and of evaluation's forward in one state; the quantizer trains on."""
    torch.manual_seed(0)
    training = quantizer(z)
    quantizer.discard()
    evaluation = quantizer.eval()(z)
    quantizer.train()
    return training, evaluation


def losses(subject: QuantizerSubject) -> None:
    """Every term of `losses` is a finite float32 scalar, under autocast and for an empty batch too."""
    quantizer = subject.build()
    for shape in subject.shapes((4, 9), (1, 1), (0, 9), (2, 0)):
        for training in (True, False):
            for dtype in (torch.float32, torch.bfloat16):
                with torch.autocast('cpu', torch.bfloat16, enabled=dtype == torch.bfloat16):
                    terms = quantizer.train(training)(subject.z(*shape).to(dtype)).losses
                for name, value in terms.items():
                    require(isinstance(value, torch.Tensor) and value.shape == () and value.dtype == torch.float32
                            and bool(value.isfinite()),
                            f'`{name}` is {value!r} for {dtype} [{shape[0]}, {shape[1]}, {subject.dim}]; expected a '
                            'finite float32 scalar.')
    quantizer.discard()


def copies(subject: QuantizerSubject) -> None:
    """A deep copy, taken in the middle of training, gives the same codes and trains without touching the original; so
    does `.double()`."""
    quantizer, z = subject.trained(), subject.z()
    quantizer(z.clone().requires_grad_(True))
    before, codes = copy_state(quantizer), quantizer.encode(z)
    twin = copy.deepcopy(quantizer)
    require_same(twin.encode(z), codes, 'codes of a deep copy')
    train_step(twin, subject.z(seed=5), 5)
    require_state(quantizer, before, 'training a deep copy')
    double = copy.deepcopy(quantizer).double()
    again = double.encode(z.double())
    require_same(again.to(codes.dtype), codes, 'codes of the quantizer in float64', 1e-6 * subject.continuous)
    quantizer.discard()
