"""What the checks share: the quantizer under test, its data, one way to train it, and comparisons that say what differs.

Legend: B batch, N tokens, C code width, Q codes per token.
"""
import copy

import torch

from dtbox.extend import load_plugins
from dtbox.registry import QUANTIZERS
from dtbox.testing.rank_group import SHARED


class Broken(AssertionError):
    """The quantizer does not do what the contract asks; the message says what it does instead."""


class DoesNotApply(Exception):
    """The contract asks nothing of this quantizer here; the message says why."""


def require(condition, message):
    """Raise `Broken` unless the condition holds."""
    if not condition:
        raise Broken(message)


class Subject:
    """A quantizer under test. Every instance is built afresh, so that no check sees another's traces.

    Args:
        cfg: config of the quantizer; with `type` alone, the arguments are those of the class's `example`.
        plugins: the plugins that register it.
        ranks: the `Ranks` that the check of two processes runs on; None takes those that this process shares.
    """

    def __init__(self, cfg, plugins=(), ranks=None):
        self.cfg, self.plugins = cfg, [plugins] if isinstance(plugins, str) else list(plugins)
        self.ranks = SHARED if ranks is None else ranks
        load_plugins(self.plugins)
        if set(self.cfg) == {'type'}:
            self.cfg = {**(getattr(QUANTIZERS.get(self.cfg['type']), 'example', None) or {}), **self.cfg}
        example = self.build()
        self.dim, self.sizes = example.dim, example.codebook_sizes
        self.depth = len(example.codebook_sizes)
        self.updates_in_forward = getattr(example, 'updates_in_forward', False)

    def build(self, seed=1):
        """Return a new instance, in training; the same seed gives the same one."""
        torch.manual_seed(seed)
        return QUANTIZERS.build(copy.deepcopy(self.cfg)).train()

    def trained(self, steps=3):
        """Return an instance that has trained for a few steps."""
        quantizer = self.build()
        for seed in range(steps):
            train_step(quantizer, self.z(seed=seed), seed)
        return quantizer

    def z(self, b=4, n=9, seed=0, scale=1.0):
        """Return features [B,N,C]."""
        return torch.randn(b, n, self.dim, generator=torch.Generator().manual_seed(1000 + seed)) * scale

    def collects_only(self):
        """Leave the check where the quantizer is the named exception that rewrites its state inside a training forward."""
        if self.updates_in_forward:
            raise DoesNotApply('the quantizer updates its state inside the forward (`updates_in_forward`).')


def objective(out, z):
    """Return the scalar that the checks train with: the quantizer's own terms and the reconstruction of its input."""
    return (out.features - z).pow(2).mean() + sum(out.losses.values())


def train_step(quantizer, z, seed, lr=0.05):
    """Make one training step, commit included; returns the QuantizerOutput."""
    torch.manual_seed(seed)
    quantizer.zero_grad(set_to_none=True)
    out = quantizer(z)
    loss = objective(out, z)
    if loss.requires_grad:
        loss.backward()
        with torch.no_grad():
            for p in quantizer.parameters():
                if p.grad is not None:
                    p.sub_(p.grad, alpha=lr)
    quantizer.commit()
    return out


def state_of(quantizer):
    """Return a copy of a quantizer's state dict."""
    return {name: value.detach().clone() for name, value in quantizer.state_dict().items()}


def same(a, b, tolerance=0.0):
    """Whether two tensors have one shape and one value, within the tolerance; NaN equals nothing."""
    if a.shape != b.shape:
        return False
    return bool((a == b).all()) if tolerance == 0 else bool(((a.double() - b.double()).abs() <= tolerance).all())


def apart(a, b):
    """Say how far two tensors are from each other."""
    if a.shape != b.shape:
        return f'the shapes are {list(a.shape)} and {list(b.shape)}'
    for values in (a, b):
        if values.is_floating_point() and values.isnan().any():
            return f'{int(values.isnan().sum())} of {values.numel()} values are NaN'
    distance = (a.double() - b.double()).abs()
    return f'{int((distance != 0).sum())} of {distance.numel()} values differ, by {distance.max().item():.3g} at most'


def require_same(a, b, what, tolerance=0.0):
    """Raise `Broken` unless two tensors are the same within the tolerance."""
    if not same(a, b, tolerance):
        raise Broken(f'{what}: {apart(a, b)}.')


def require_state(quantizer, state, what, tolerance=0.0):
    """Raise `Broken`, naming the entries, unless a quantizer's state is the given one within the tolerance."""
    own = state_of(quantizer)
    require(own.keys() == state.keys(), f'{what}: the entries {sorted(own.keys() ^ state.keys())} are in one state dict only.')
    wrong = [f'`{name}` ({apart(own[name], value)})' for name, value in state.items() if not same(own[name], value, tolerance)]
    require(not wrong, f'{what}: the state differs in {", ".join(wrong)}.')
