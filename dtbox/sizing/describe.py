"""What a config takes before it is run: parameters, tokens and bits, FLOPs, memory, days.

The model is built on the meta device (shapes without memory), so that a model of any size is described on any machine. FLOPs are those of matrix
products, convolutions and attention in one forward pass of one picture (`torch.utils.flop_counter`, a multiply-add counts as two), quantizers by
formula (2 N K (C + 1) a depth); a training step follows from them by the rules of `step_flops`. Activations are what autograd keeps of a picture.
"""
import contextlib
from dataclasses import dataclass, field

import torch

from dtbox.errors import InputError, reason
from dtbox.registry import MODELS
from dtbox.structures import QuantizerOutput

GB = 1e9
ADAM = 2
"""Moments that Adam keeps for a parameter."""


@dataclass
class Part:
    """One part of a model.

    Attributes:
        parameters: their number.
        trained: of these, those that learn.
        flops: of one forward pass of one picture.
        recomputed: whether its blocks are run again in the backward pass.
    """
    parameters: int = 0
    trained: int = 0
    flops: float = 0.0
    recomputed: bool = False


@dataclass
class Description:
    """What `describe` found.

    Attributes:
        parts: name -> Part; the teacher, LPIPS and the discriminator stand under their own names.
        tokens, bits: of one picture, of all streams (see Budget).
        streams: name -> (tokens, codes a token, codebook size).
        buffers: bytes of codebooks and other buffers.
        activations: bytes that autograd keeps of one picture, in float32.
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
    missing: list = field(default_factory=list)

    def inference_flops(self):
        """FLOPs of encoding and decoding one picture."""
        return sum(p.flops for name, p in self.parts.items() if name not in ('teacher', 'lpips', 'discriminator', 'text'))

    def step_flops(self):
        """FLOPs of one training step for one picture, in forward passes of each part: 3 where it learns (forward, gradients of inputs and of
        weights), 4 where its blocks are recomputed; 1 where it is frozen; LPIPS 3 (two pictures forward, one back); the discriminator 8 (the
        fake there and back for the generator; then two pictures at 3)."""
        factors = dict(lpips=3, discriminator=8)
        return sum(part.flops * factors.get(name, 1 if part.trained == 0 else 4 if part.recomputed else 3) for name, part in self.parts.items())

    def state_bytes(self):
        """Bytes that do not depend on the batch: weights, gradients and Adam's moments in float32, buffers."""
        parameters, trained = (sum(getattr(p, k) for p in self.parts.values()) for k in ('parameters', 'trained'))
        return 4 * (parameters + trained * (1 + ADAM)) + self.buffers

    def memory(self, batch):
        """Bytes of a GPU at `batch` pictures: the state, and activations (in bfloat16 half of them)."""
        return self.state_bytes() + batch * self.activations * (0.5 if self.half else 1.0)

    def largest_batch(self, room):
        """Return the largest batch that fits into `room` bytes, 0 where not even the state does."""
        return max(0, int((room - self.state_bytes()) // (self.activations * (0.5 if self.half else 1.0))))


def describe(cfg):
    """Count a model.

    Args:
        cfg: resolved config of a recipe.

    Returns:
        Description.

    Raises:
        InputError: a model that cannot be built.
    """
    missing = []
    model, nets = without_memory(cfg)
    with torch.device('meta'):
        found = _measure(model, missing)
        for net in nets:
            found.parts['lpips'], kept = _lpips(net, model.tokenizer.image_size, missing)
            found.activations += kept
    found.half = cfg.get('amp') == 'bfloat16'
    return found


def without_memory(cfg):
    """Build a config's model on the meta device, frozen where its optimizer freezes.

    Args:
        cfg: resolved config of a recipe.

    Returns:
        TokenizerTask without LPIPS and, where it had LPIPS, without adaptive weight; list of the networks of LPIPS.

    Raises:
        InputError: a model that cannot be built.
    """
    model_cfg = cfg.model.to_dict() if hasattr(cfg.model, 'to_dict') else dict(cfg.model)
    lpips = [name for name, loss in (model_cfg.get('losses') or {}).items() if loss and loss.get('type') == 'LPIPSLoss']
    nets = [model_cfg['losses'].pop(name).get('net', 'vgg') for name in lpips]
    if nets and model_cfg.get('gan'):
        gan = model_cfg['gan']
        model_cfg['gan'] = dict(gan, adversarial=dict(gan['adversarial'], adaptive=None))
    with torch.device('meta'):
        try:
            model = MODELS.build(model_cfg, where='model')
        except (RuntimeError, NotImplementedError) as e:
            raise InputError(f'the model cannot be built without memory, a part of it computes with numbers when it is built ({reason(e)}). '
                             'Let that part use plain Python numbers in its constructor.', 'model') from e
    frozen_by_config(model, cfg)
    return model, nets


def frozen_by_config(model, cfg):
    """Freeze what the config's optimizer freezes."""
    import fnmatch
    patterns = ((cfg.get('optim_wrapper') or {}).get('generator') or {}).get('freeze') or []
    for name, parameter in model.tokenizer.named_parameters():
        if any(fnmatch.fnmatch(name, p) for p in patterns):
            parameter.requires_grad_(False)


def _measure(model, missing):
    """Run one picture through everything, with quantizers that pass features on."""
    from torch.utils.flop_counter import FlopCounterMode
    tokenizer = model.tokenizer.train()
    streams = {name: (s.tokens, len(s.sizes), max(s.sizes)) for name, s in tokenizer.streams.items()}
    search = sum(s.tokens * sum(2 * k * (_code_width(s.quantizer, k) + 1) for k in s.sizes if _code_width(s.quantizer, k))
                 for s in tokenizer.streams.values())
    for stream in tokenizer.streams.values():
        stream.quantizer.forward = _Passing(len(stream.sizes))
    counter = FlopCounterMode(display=False)
    ledger = _Ledger(counter)
    parts = {}
    for name, encoder in tokenizer.encoders.items():
        parts[f'encoders.{name}'] = _part(encoder)
        ledger.watch(f'encoders.{name}', encoder, 'embed', 'step', 'pool')
    for name, vocabulary in tokenizer.vocabularies.items():
        parts[f'vocabularies.{name}'] = _part(vocabulary)
        for projection in (*vocabulary.projections, vocabulary.post_projection):
            ledger.watch(f'vocabularies.{name}', projection, 'forward')
    for name, part in (('decoder', tokenizer.decoder), ('head', tokenizer.head), ('text', tokenizer.text), ('discriminator', model.discriminator)):
        if part is not None:
            parts[name] = _part(part)
            ledger.watch(name, part, 'forward')
    if model.teacher is not None:
        parts['teacher'] = _part(model.teacher)
        ledger.watch('teacher', model.teacher.encoder, 'embed', 'step', 'pool')
    images = torch.zeros(1, 3, *tokenizer.image_size)
    kept = _Kept(model.parameters())
    with counter, _fused_attention():
        with kept:
            outputs = tokenizer(images)
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
    return Description(parts, sum(s[0] for s in streams.values()), tokenizer.budget().bits, streams, buffers, kept.bytes, missing=missing)


def _code_width(quantizer, size):
    """Return the width of a table of so many rows, 0 where the quantizer looks nothing up."""
    return next((t.shape[-1] for t in quantizer.state_dict().values() if t.ndim >= 2 and size in t.shape[:-1]), 0)


def _lpips(net, size, missing):
    """Return (Part of LPIPS's network on one picture, bytes that autograd keeps of it)."""
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
    kept = _Kept(network.parameters())
    with FlopCounterMode(display=False) as counter, kept:
        network.net(torch.zeros(1, 3, *size, requires_grad=True))
    return Part(sum(p.numel() for p in network.parameters()), 0, counter.get_total_flops()), kept.bytes


def _part(module):
    own = list(module.parameters())
    recomputed = any(getattr(m, 'recompute', False) is True for m in module.modules())
    trained = sum(p.numel() for p in own if p.requires_grad)
    return Part(sum(p.numel() for p in own), trained, 0.0, recomputed and trained > 0)


class _Passing:
    """A quantizer's forward that hands features on: what it computes depends on numbers, which fake tensors have not."""

    def __init__(self, depth):
        self.depth = depth

    def __call__(self, z):
        codes = torch.zeros(*z.shape[:2], self.depth, dtype=torch.int64)
        return QuantizerOutput(z * 1.0, codes, dict(commitment=z.square().mean()))


class _Attention(torch.autograd.Function):
    """Attention that keeps what fused kernels keep (q, k, v, the output); without kernels, as on the meta device, PyTorch keeps the scores, too."""

    @staticmethod
    def forward(ctx, q, k, v, bias):
        out = (q @ k.transpose(-2, -1)) @ v
        ctx.save_for_backward(q, k, v, out)
        return out


@contextlib.contextmanager
def _fused_attention():
    def attend(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
        return _Attention.apply(q, k, v, attn_mask)
    own = torch.nn.functional.scaled_dot_product_attention
    torch.nn.functional.scaled_dot_product_attention = attend
    try:
        yield
    finally:
        torch.nn.functional.scaled_dot_product_attention = own


class _Ledger:
    """Books FLOPs to the innermost part whose method runs."""

    def __init__(self, counter):
        self.counter, self.flops, self.stack, self.last = counter, {}, [], 0

    def _settle(self):
        now = self.counter.get_total_flops()
        if self.stack:
            self.flops[self.stack[-1]] = self.flops.get(self.stack[-1], 0) + now - self.last
        self.last = now

    def watch(self, name, part, *methods):
        """Book what these methods of an object compute to `name`."""
        for method in methods:
            object.__setattr__(part, method, self._watched(name, getattr(part, method)))

    def _watched(self, name, method):
        def watched(*args, **kwargs):
            self._settle()
            self.stack.append(name)
            try:
                return method(*args, **kwargs)
            finally:
                self._settle()
                self.stack.pop()
        return watched


class _Kept(torch.autograd.graph.saved_tensors_hooks):
    """Adds up the bytes of the tensors that autograd keeps, each storage once, without the parameters.

    Attributes:
        bytes: of them.
    """

    def __init__(self, parameters):
        self.bytes, self.seen = 0, {p.untyped_storage()._cdata: p for p in parameters}
        super().__init__(self._pack, lambda tensor: tensor)

    def _pack(self, tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in self.seen:
            self.seen[storage._cdata] = tensor  # kept, so that its place is not given to another
            self.bytes += storage.nbytes()
        return tensor
