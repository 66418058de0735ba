"""What a config takes before it is run: parameters, tokens and bits, FLOPs, memory, days.

The model is built on the meta device (shapes without memory), so that a model of any size is described on any machine.
FLOPs are those of matrix products, convolutions and attention in one forward pass of one image
(`torch.utils.flop_counter`, a multiply-add counts as two), quantizers by formula (2 N K (C + 1) a depth); a training
step follows from them by the rules of `step_flops`. Activations are what autograd keeps of an image.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from dtbox.apis.opening import TOKENIZER, check_use, find_use
from dtbox.errors import ForeignError, InputError, reason
from dtbox.registry import MODELS
from dtbox.sizing.tracing import FlopLedger, KeptBytes, PassFeatures, fuse_attention, read_any_text

GB = 1e9
ADAM = 2
"""Moments that Adam keeps for a parameter."""


@dataclass
class Part:
    """One part of a model.

    Attributes:
        parameters: their number.
        trained: of these, those that learn.
        flops: of one forward pass of one image.
        recomputed: whether its blocks are run again in the backward pass.
        size: bytes of a parameter; its gradient and moments have the same.
    """
    parameters: int = 0
    trained: int = 0
    flops: float = 0.0
    recomputed: bool = False
    size: int = 4


@dataclass
class Description:
    """Result of `describe`.

    Attributes:
        parts: name -> Part; the teacher, LPIPS and the discriminator stand under their own names.
        tokens, bits: of one image, of all streams (see Budget); continuous ones have no bits.
        streams: name -> (tokens, codes a token, codebook size).
        latents: name -> (tokens, channels) of continuous streams.
        buffers: bytes of codebooks and other buffers.
        activations: bytes that autograd keeps of one image, in float32.
        half: whether activations are kept in bfloat16 (autocast).
        missing: what could not be counted, as sentences.
    """
    parts: dict
    tokens: int
    bits: float
    streams: dict
    buffers: int = 0
    activations: float = 0.0
    half: bool = False
    latents: dict = field(default_factory=dict)
    missing: list = field(default_factory=list)

    def inference_flops(self) -> float:
        """FLOPs of encoding and decoding one image."""
        return sum(p.flops for name, p in self.parts.items()
                   if name not in ('teacher', 'lpips', 'discriminator', 'text'))

    def step_flops(self) -> float:
        """FLOPs of one training step for one image, in forward passes of each part.

        A part that learns counts 3 (forward, gradients of inputs and of weights), 4 where its blocks are recomputed; a
        frozen part 1; LPIPS 3 (two images forward, one back); the discriminator 8 (forward and backward on the
        reconstruction for the generator; then two images at 3).
        """
        factors = dict(lpips=3, discriminator=8)
        return sum(part.flops * factors.get(name, 1 if part.trained == 0 else 4 if part.recomputed else 3)
                   for name, part in self.parts.items())

    def state_bytes(self) -> int:
        """Bytes that do not depend on the batch: weights, gradients and Adam's moments in float32, buffers."""
        parameters, trained = (sum(getattr(p, k) for p in self.parts.values()) for k in ('parameters', 'trained'))
        return 4 * (parameters + trained * (1 + ADAM)) + self.buffers

    def memory(self, batch: int) -> float:
        """Bytes of a GPU at `batch` images: the state, and activations (in bfloat16 half of them)."""
        return self.state_bytes() + batch * self.activations * (0.5 if self.half else 1.0)

    def largest_batch(self, room: float) -> int:
        """Return the largest batch that fits into `room` bytes, 0 where not even the state does."""
        return max(0, int((room - self.state_bytes()) // (self.activations * (0.5 if self.half else 1.0))))


def describe(cfg: Config) -> Description:
    """Count a model.

    Args:
        cfg: resolved config of a recipe.

    Returns:
        Description.

    Raises:
        InputError: a model that cannot be built.
    """
    missing = []
    model, nets = build_without_memory(cfg)
    with torch.device('meta'):
        description = _measure(model, missing)
        for net in nets:
            description.parts['lpips'], kept = _measure_lpips(net, model.tokenizer.image_size, missing)
            description.activations += kept
    description.half = cfg.get('amp') == 'bfloat16'
    return description


def build_without_memory(cfg: Config) -> tuple[nn.Module, list[str]]:
    """Build a config's model on the meta device, frozen where its optimizer freezes.

    Args:
        cfg: resolved config of a recipe.

    Returns:
        TokenizerTask without LPIPS and, where it had LPIPS, without adaptive weight; list of the networks of LPIPS.

    Raises:
        InputError: a model that cannot be built.
    """
    check_use(find_use(cfg), TOKENIZER, None)
    model_cfg = cfg.model.to_dict() if hasattr(cfg.model, 'to_dict') else dict(cfg.model)
    lpips = [name for name, loss in (model_cfg.get('losses') or {}).items() if loss
             and loss.get('type') in ('LPIPSLoss', 'GramLoss')]  # the two read the same networks
    nets = [model_cfg['losses'].pop(name).get('net', 'vgg') for name in lpips]
    if nets and model_cfg.get('gan'):
        gan = model_cfg['gan']
        model_cfg['gan'] = dict(gan, adversarial=dict(gan['adversarial'], adaptive=None))
    with torch.device('meta'):
        try:
            model = MODELS.build(model_cfg, where='model')
        except ForeignError as e:
            if not isinstance(e.__cause__, (RuntimeError, NotImplementedError)):
                raise
            raise InputError('the model cannot be built without memory, a part of it computes with values '
                             f'({reason(e.__cause__)}). Let that part use plain Python numbers in its constructor.',
                             e.where) from e
    freeze_by_config(model, cfg)
    return model, nets


def freeze_by_config(model: nn.Module, cfg: Config) -> None:
    """Freeze what the config's optimizer freezes."""
    import fnmatch
    patterns = ((cfg.get('optim_wrapper') or {}).get('generator') or {}).get('freeze') or []
    for name, parameter in model.tokenizer.named_parameters():
        if any(fnmatch.fnmatch(name, p) for p in patterns):
            parameter.requires_grad_(False)


def _measure(model, missing):
    """Run one image through all parts, with quantizers that return their input."""
    from torch.utils.flop_counter import FlopCounterMode
    tokenizer = model.tokenizer.train()
    streams = {name: (s.tokens, len(s.sizes), max(s.sizes)) for name, s in tokenizer.streams.items() if s.sizes}
    latents = {name: (s.tokens, s.quantizer.dim) for name, s in tokenizer.streams.items() if not s.sizes}
    search = sum(count_search(stream) for stream in tokenizer.streams.values())
    for stream in tokenizer.streams.values():
        stream.quantizer.forward = PassFeatures(len(stream.sizes), stream.quantizer.dim)
    counter = FlopCounterMode(display=False)
    ledger = FlopLedger(counter)
    parts = {}
    for name, encoder in tokenizer.encoders.items():
        parts[f'encoders.{name}'] = _part(encoder)
        ledger.watch(f'encoders.{name}', encoder, 'embed', 'step', 'pool')
    for name, vocabulary in tokenizer.vocabularies.items():
        parts[f'vocabularies.{name}'] = _part(vocabulary)
        for projection in (*vocabulary.projections, vocabulary.post_projection):
            ledger.watch(f'vocabularies.{name}', projection, 'forward')
    others = dict(decoder=tokenizer.decoder, head=tokenizer.head, text=tokenizer.text,
                  discriminator=model.discriminator)
    for name, part in others.items():
        if part is not None:
            parts[name] = _part(part)
            ledger.watch(name, part, 'forward', *(['tokens'] if name == 'text' else []))
    if model.teacher is not None:
        parts['teacher'] = _part(model.teacher)
        ledger.watch('teacher', model.teacher.encoder, 'embed', 'step', 'pool')
    images = torch.zeros(1, 3, *tokenizer.image_size)
    kept = KeptBytes(model.parameters())
    with counter, fuse_attention():
        with kept:
            outputs = tokenizer(images, read_any_text(tokenizer))
            if model.discriminator is not None:
                model.discriminator(outputs.reconstructions)
        if model.teacher is not None:
            with torch.no_grad():
                encoder = model.teacher.encoder
                encoder.pool(encoder.run(encoder.embed(images), 0, encoder.depth, set())[0])
    for name, part in parts.items():
        part.flops = ledger.flops.get(name, 0.0)
    parts['quantizers'] = Part(flops=search)
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    tokens, bits = sum(s[0] for s in (streams | latents).values()), sum(tokenizer.streams[n].bits for n in streams)
    return Description(parts, tokens, bits, streams, buffers, kept.bytes, latents=latents, missing=missing)


def count_search(stream: Any) -> float:
    """Return the FLOPs of a stream's search: 2 K (C + 1) a code, of quantizers that look codes up in a table."""
    widths = [(k, _code_width(stream.quantizer, k)) for k in stream.sizes]
    return stream.tokens * sum(2 * k * (width + 1) for k, width in widths if width)


def _code_width(quantizer, size):
    """Return the width of a table of so many rows, 0 where the quantizer looks nothing up."""
    return next((t.shape[-1] for t in quantizer.state_dict().values() if t.ndim >= 2 and size in t.shape[:-1]), 0)


def _measure_lpips(net, size, missing):
    """Return (Part of LPIPS's network on one image, bytes that autograd keeps of it)."""
    import warnings

    from torch.utils.flop_counter import FlopCounterMode
    try:
        import lpips
    except ImportError:
        missing.append('LPIPS is not counted: the package `lpips` is not installed (pip install "dtbox[lpips]")')
        return Part(), 0
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        network = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False).requires_grad_(False)
    kept = KeptBytes(network.parameters())
    with FlopCounterMode(display=False) as counter, kept:
        network.net(torch.zeros(1, 3, *size, requires_grad=True))
    return Part(sum(p.numel() for p in network.parameters()), 0, counter.get_total_flops()), kept.bytes


def _part(module):
    own = list(module.parameters())
    recomputed = any(getattr(m, 'recompute', False) is True for m in module.modules())
    trained = sum(p.numel() for p in own if p.requires_grad)
    return Part(sum(p.numel() for p in own), trained, 0.0, recomputed and trained > 0)
