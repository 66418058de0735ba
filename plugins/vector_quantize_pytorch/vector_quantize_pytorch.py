"""The quantizers of the package vector-quantize-pytorch, each by its name and with its own arguments.

The package updates its tables inside a training forward: no activation checkpointing, no gradient accumulation, no
skipped steps. It is imported when such a quantizer is built. This file is not called `__init__.py`, so that no test
runner takes it for that package.

Legend: B batch, N tokens, C code width, Q codes per token, G groups, D depths.
"""
from __future__ import annotations

import copy
import inspect
from types import ModuleType
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.errors import InputError, closest, reason
from dtbox.quantizers.base import Quantizer
from dtbox.registry import QUANTIZERS
from dtbox.structures import QuantizerOutput

DECODERS = {
    **dict.fromkeys(['FSQ', 'FSP', 'LFQ', 'SimVQ', 'LatentQuantize'], 'indices_to_codes'),
    **dict.fromkeys(['VectorQuantize', 'ResidualVQ', 'ResidualSimVQ', 'ResidualFSQ', 'ResidualLFQ', 'GroupedResidualVQ',
                     'GroupedResidualFSQ', 'GroupedResidualLFQ'], 'get_output_from_indices'),
    'BinaryMapper': None}
"""Class -> its method that turns codes into features."""

UNFIT = {
    'RandomProjectionQuantizer': 'it gives codes alone, and nothing turns them back into features',
    'HierarchicalVQ': 'its codes belong to whole grids of several scales, not to tokens',
    'EvoLFQ': 'it wants an encoder and a decoder of its own',
    'Sequential': 'it is a container; name the quantizer that would be in it'}
"""Class -> why it cannot be a quantizer here."""

REFUSED = dict.fromkeys(['channel_first', 'is_channel_first', 'accept_image_fmap', 'accept_3d_fmap'],
                        'features are [B, N, C] here')
REFUSED['quantize_dropout'] = 'it marks the depths that it leaves out by the code -1, which is none'
"""Arguments that must be off, and why."""


def package() -> ModuleType:
    """Import and return the package."""
    try:
        import vector_quantize_pytorch
    except ImportError as e:
        raise InputError(f'`VQP` needs the package vector-quantize-pytorch ({e}). Install it with: pip install '
                         'vector-quantize-pytorch') from e
    return vector_quantize_pytorch


@QUANTIZERS.register_module()
class VQP(Quantizer):
    """Any quantizer of the package vector-quantize-pytorch, by class name (VectorQuantize, ResidualVQ, FSQ, LFQ, SimVQ,
    LatentQuantize, ...).

    Args:
        kind: name of the class.
        args: its arguments. All but `dim` are the package's own; those that change the layout of features must stay
            off.
    """
    example = dict(kind='VectorQuantize', dim=4, codebook_size=16)
    smooth = None  # the package has several estimators
    updates_in_forward = True

    def __init__(self, kind: str, **args: Any) -> None:
        super().__init__()
        target = self._target(kind, package())
        for name, why in REFUSED.items():
            if args.get(name):
                raise InputError(f'`{name}={args[name]!r}` of {kind} cannot be used: {why}. Leave it out.')
        if args.get('channel_last') is False:
            raise InputError('`channel_last=False` cannot be used: features are [B, N, C] here. Leave it out.')
        self.kind = kind
        if kind == 'BinaryMapper':
            args.setdefault('deterministic_on_eval', True)
        known = inspect.signature(target).parameters
        for name in args:
            if name not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
                raise InputError(f'{kind} takes no argument `{name}`.{closest(name, known)} It takes: '
                                 f'{", ".join(known)}.')
        try:
            self.inner = target(**args)
            self.dim = int(args['dim'] if 'dim' in args else args['bits'] if 'bits' in args else self._width(args))
            self.codebook_sizes = self._sizes(self.inner)
        except Exception as e:  # the package checks by assertions, type errors and whatever comes up
            raise InputError(f'{kind} of vector-quantize-pytorch refuses {args}: {reason(e)}') from e
        if kind == 'LatentQuantize':  # the package passes its levels no gradient
            self.inner.requires_grad_(False)
            for part in (self.inner.project_in, self.inner.project_out):
                part.requires_grad_(True)
        self._try()

    @staticmethod
    def _target(kind: str, module: ModuleType) -> type:
        if kind in UNFIT:
            raise InputError(f'{kind} of vector-quantize-pytorch cannot be a quantizer here: {UNFIT[kind]}.')
        if kind not in DECODERS or not hasattr(module, kind):
            there = [name for name in DECODERS if hasattr(module, name)]
            raise InputError(f'`kind` is {kind!r}.{closest(kind, there)} This version of vector-quantize-pytorch has: '
                             f'{", ".join(there)}.')
        return getattr(module, kind)

    def _width(self, args: dict) -> int:
        if hasattr(self.inner, 'dim'):
            return self.inner.dim
        return self.inner.bits if self.kind == 'BinaryMapper' else len(args['levels'])

    def _sizes(self, part: nn.Module) -> list[int]:
        """Return the codebook sizes, in the order of the codes."""
        if hasattr(part, 'rvqs'):
            return [n for group in part.rvqs for n in self._sizes(group)]
        if hasattr(part, 'layers'):
            return [n for layer in part.layers for n in self._sizes(layer)]
        size = part.num_codes if self.kind == 'BinaryMapper' else part.codebook_size
        return [int(size)] * int(getattr(part, 'heads', getattr(part, 'num_codebooks', 1)))

    def _try(self) -> None:
        """Raise `InputError` unless codes decode to the features they came with: not all arguments of all classes keep
        that."""
        if any(t.is_meta for t in (*self.inner.parameters(), *self.inner.buffers())):
            return
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            twin = copy.deepcopy(self).eval()
            z = torch.randn(2, 8, self.dim, generator=torch.Generator().manual_seed(0))
            try:
                features, codes, _ = twin._run(z)
                decoded = twin.decode(codes)
            except Exception as e:
                raise InputError(f'{self.kind} with these arguments does not take or give features [B, N, {self.dim}]: '
                                 f'{reason(e)}') from e
            if features.shape != z.shape or decoded.shape != z.shape or not torch.allclose(features, decoded,
                                                                                           atol=1e-5):
                raise InputError(f'{self.kind} with these arguments decodes its codes to other features than it gave. '
                                 'Change the arguments.')

    def forward(self, z: Tensor) -> QuantizerOutput:
        """z [B,N,C] -> QuantizerOutput with the term `auxiliary`: the package's own, averaged over depths and groups.
        """
        self.check(z)
        if not z.numel():
            losses = dict(auxiliary=z.float().sum()) if self._has_loss() else {}
            return QuantizerOutput(z, torch.zeros(*z.shape[:2], len(self.codebook_sizes), dtype=torch.int64,
                                                  device=z.device), losses)
        with torch.autocast(z.device.type, enabled=False):
            features, codes, loss = self._run(z.to(next((p.dtype for p in self.inner.parameters()), torch.float32)))
            if self.kind == 'FSP' and codes.numel() == 1:  # its loss is a variance over tokens, which one token has not
                loss = features.sum() * 0
        return QuantizerOutput(features.to(z.dtype), codes,
                               dict(auxiliary=loss.float().mean()) if self._has_loss() else {})

    def _has_loss(self):
        return not self.kind.endswith('FSQ')

    def _run(self, z: Tensor):
        """z [B,N,C] -> features [B,N,C], codes [B,N,Q], the package's loss or None."""
        # a table that k-means has yet to fill would be filled in evaluation too
        waiting = []
        if not self.training:
            waiting = [b for n, b in self.inner.named_buffers() if n.endswith('initted') and not b.all()]
        for flag in waiting:
            flag.fill_(True)
        try:
            return self._call(z)
        finally:
            for flag in waiting:
                flag.fill_(False)

    def _call(self, z: Tensor):
        if self.kind == 'BinaryMapper':  # one-hot rows of width 2^C; their product with the bits is of width C
            one_hot, codes, loss = self.inner(z, return_indices=True)
            return one_hot @ (self.inner.codes * 2.0 - 1.0), codes[..., None].long(), loss
        swap = self.kind == 'LatentQuantize'
        features, codes, *rest = self.inner(z.transpose(1, 2) if swap else z)
        if codes.ndim == 4:  # [G,B,N,D]
            codes = codes.permute(1, 2, 0, 3).flatten(2)
        codes = codes.view(*z.shape[:2], -1).long()
        return features.transpose(1, 2) if swap else features, codes, rest[0] if rest else None

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,Q], as in evaluation."""
        self.check(z)
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            return self.forward(z).codes
        finally:
            for module, training in modes:
                module.training = training

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,Q] -> features [B,N,C]."""
        self.check_codes(codes)
        if not codes.numel():
            return torch.zeros(*codes.shape[:-1], self.dim, device=codes.device)
        if self.kind == 'BinaryMapper':
            return self.inner.codes[codes[..., 0]] * 2.0 - 1.0
        if hasattr(self.inner, 'rvqs'):
            codes = codes.unflatten(-1, (len(self.inner.rvqs), -1)).movedim(-2, 0)
        elif len(self.codebook_sizes) == 1 and not hasattr(self.inner, 'layers'):
            codes = codes[..., 0]
        elif self.kind == 'VectorQuantize' and not self.inner.separate_codebook_per_head:
            # the package leaves the heads apart
            return self.inner.project_out(self.inner.get_codes_from_indices(codes).flatten(-2))
        features = getattr(self.inner, DECODERS[self.kind])(codes)
        return features.transpose(1, 2) if self.kind == 'LatentQuantize' else features
