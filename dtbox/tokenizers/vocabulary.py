"""A vocabulary: tapped layers -> projections -> weighted sum -> quantizer -> post-projection.

Legend: B batch, N tokens, D encoder width, C code width, Q codes per token.
"""
from dataclasses import dataclass

import torch
import torch.nn as nn

from dtbox.errors import InputError, NotFinite
from dtbox.registry import PROJECTIONS, QUANTIZERS, VOCABULARIES
from dtbox.structures import QuantizerOutput, VocabularyOutput


def parse_taps(taps, encoders):
    """Read the taps of a config.

    Args:
        taps: a layer, 'encoder:layer', a list of them, or a dict tap -> weight.
        encoders: dict name -> encoder.

    Returns:
        list of ((encoder name, layer), weight).
    """
    if not isinstance(taps, dict):
        taps = {t: 1.0 for t in (taps if isinstance(taps, (list, tuple)) else [taps])}
    parsed = []
    for tap, weight in taps.items():
        name, _, layer = str(tap).rpartition(':')
        if not name:
            if len(encoders) > 1:
                raise InputError(f'tap `{tap}` names no encoder; with the encoders {", ".join(encoders)} write `name:layer`.', 'taps')
            name = next(iter(encoders))
        if name not in encoders or not layer.isdigit():
            raise InputError(f'tap `{tap}` is not `layer` or `encoder:layer`; the encoders are {", ".join(encoders)}.', 'taps')
        if int(layer) > encoders[name].depth:
            raise InputError(f'tap `{tap}` is beyond the last layer: encoder `{name}` has {encoders[name].depth} blocks. '
                             f'Choose a layer from 0 to {encoders[name].depth}.', 'taps')
        parsed.append(((name, int(layer)), float(weight)))
    if not parsed:
        raise InputError('a vocabulary needs at least one tap.', 'taps')
    if len({key for key, _ in parsed}) < len(parsed):
        raise InputError(f'a layer is tapped twice: {list(taps)}.', 'taps')
    return parsed


@dataclass(frozen=True)
class Share:
    """What a vocabulary has of a quantizer that it shares with others.

    Attributes:
        quantizer: the quantizer.
        channels: which of the quantizer's channels are this vocabulary's.
    """
    quantizer: nn.Module
    channels: slice


def build_quantizer(cfg, where):
    """Build a quantizer from its config; `InputError` where the part has not what the contract asks for."""
    quantizer = QUANTIZERS.build(cfg, where=where)
    missing = [n for n in ('dim', 'codebook_sizes', 'forward', 'encode', 'decode', 'commit', 'discard', 'init_weights')
               if not hasattr(quantizer, n)]
    if missing or not isinstance(quantizer, nn.Module):
        raise InputError(f'{type(quantizer).__name__} is no quantizer: it lacks {", ".join(missing) or "torch.nn.Module"}. '
                         'Derive it from dtbox.quantizers.base.Quantizer.', where)
    return quantizer


def quantized(quantizer, z):
    """z [B,N,C] -> QuantizerOutput; `InputError` where the quantizer returns anything else.

    A `NotFinite` is kept in the list `quantizer.postponed`, where there is one, and zeros are quantized: a process that shares its blocks with others
    has to go through with the pass (see `VisualTokenizer.raise_postponed`).
    """
    try:
        out = quantizer(z)
    except NotFinite as e:
        if getattr(quantizer, 'postponed', None) is None:
            raise
        quantizer.postponed.append(e)
        out = quantizer(torch.zeros_like(z))
    if not isinstance(out, QuantizerOutput):
        raise InputError(f'{type(quantizer).__name__} returned a {type(out).__name__}; expected a QuantizerOutput(features, codes, losses).',
                         'quantizer')
    return out


@VOCABULARIES.register_module()
class Vocabulary(nn.Module):
    """One named vocabulary of a tokenizer.

    Args:
        encoders: dict name -> encoder; their widths size the projections.
        taps: a layer, 'encoder:layer', a list of them, or a dict tap -> weight (weights are used as they are).
        quantizer: config of the quantizer; or a `Share` of one that several vocabularies have (in a config: its name).
        projection: config of the pre-projection, D -> C; each tap has its own.
        post_projection: config of the post-projection, C -> D; None takes `projection`'s.
        share_projection: one pre-projection for all taps.
        learn: make the weights a softmax over the taps, learned from `weights` as they stand (the learned soft split).
        reinject: layer of the (first tap's) encoder whose patch tokens the features replace, or None.
    """

    def __init__(self, encoders, taps, quantizer, projection=dict(type='AttentionProjection'), post_projection=None,
                 share_projection=False, learn=False, reinject=None):
        super().__init__()
        parsed = parse_taps(taps, encoders)
        self.taps, weights = [t for t, _ in parsed], torch.tensor([w for _, w in parsed])
        self.learn, self.share_projection = learn, share_projection
        if isinstance(quantizer, Share):
            object.__setattr__(self, 'quantizer', quantizer.quantizer)  # the tokenizer has it: not to be registered with each that shares it
            self.channels = quantizer.channels
        else:
            self.quantizer = build_quantizer(quantizer, 'quantizer')
            self.channels = slice(0, self.quantizer.dim)
        code_dim = self.channels.stop - self.channels.start
        widths = [encoders[name].width(layer) for name, layer in self.taps]
        if share_projection and len(set(widths)) > 1:
            raise InputError(f'taps of the widths {widths} cannot share a projection. Leave `share_projection` off.', 'share_projection')
        self.projections = nn.ModuleList(
            PROJECTIONS.build({**projection, 'in_dim': w, 'out_dim': code_dim}, where='projection')
            for w in (widths[:1] if share_projection else widths))
        self.out_dim = widths[0]
        self.post_projection = PROJECTIONS.build({**(post_projection or projection), 'in_dim': code_dim, 'out_dim': self.out_dim},
                                                 where='post_projection')
        if learn:
            if any(w <= 0 for _, w in parsed):
                raise InputError(f'a learned soft split starts from positive weights; got {[w for _, w in parsed]}.', 'taps')
            self.tap_logits = nn.Parameter(weights.log())
        else:
            self.tap_weights = [w for _, w in parsed]
        grids = {encoders[name].grid(layer) for name, layer in self.taps}
        if len(grids) > 1:
            raise InputError(f'the taps have different token grids {sorted(grids)}; one vocabulary needs one.', 'taps')
        self.grid = grids.pop()
        self.reinject = self._check_reinject(reinject, encoders)

    def _check_reinject(self, layer, encoders):
        if layer is None:
            return None
        name = self.taps[0][0]
        late = [t for t in self.taps if t[0] == name and t[1] > layer]
        if not 1 <= layer <= encoders[name].depth or late:
            raise InputError(f'cannot re-inject after layer {layer}: encoder `{name}` has {encoders[name].depth} blocks and this vocabulary '
                             f'taps its layers {[t[1] for t in self.taps if t[0] == name]}, which must not lie behind it.', 'reinject')
        if encoders[name].width(layer) != self.out_dim or encoders[name].grid(layer) != self.grid:
            raise InputError(f'features of width {self.out_dim} on a {self.grid} grid do not fit layer {layer} of `{name}` '
                             f'(width {encoders[name].width(layer)}, grid {encoders[name].grid(layer)}).', 'reinject')
        return name, layer

    def weights(self):
        """Return the weight of each tap, in order: floats, or a tensor where they are learned."""
        return self.tap_logits.softmax(0) if self.learn else self.tap_weights

    def combine(self, tapped):
        """Project and sum the tapped layers: list of [B,N,D] in the order of `taps` -> [B,N,C]."""
        projections = list(self.projections) * (len(self.taps) if self.share_projection else 1)
        total = None
        for layer, project, weight in zip(tapped, projections, self.weights()):
            z = project(layer)
            z = z if isinstance(weight, float) and weight == 1.0 else z * weight
            total = z if total is None else total + z
        return total

    def forward(self, tapped):
        """Tapped layers (list of [B,N,D]) -> VocabularyOutput, with a quantizer of its own; `Stream` runs one that is shared."""
        return self.finish(quantized(self.quantizer, self.combine(tapped)))

    def finish(self, out):
        """QuantizerOutput -> VocabularyOutput."""
        features = out.features[..., self.channels]
        return VocabularyOutput(self.post_projection(features), features, out.codes, out.losses)

    def encode(self, tapped):
        """Tapped layers -> codes [B,N,Q] int64, without gradient, with a quantizer of its own."""
        return self.quantizer.encode(self.combine(tapped))

    def check_shape(self, codes):
        """Raise `InputError` unless `codes` are [B,N,Q] with N tokens of this grid."""
        count = self.grid[0] * self.grid[1]
        if codes.ndim != 3 or codes.shape[1] != count:
            raise InputError(f'codes have the shape {list(codes.shape)}; expected [B, {count}, {len(self.quantizer.codebook_sizes)}] '
                             f'for the {self.grid[0]} x {self.grid[1]} token grid.')

    def features(self, codes):
        """codes [B,N,Q] -> features [B,N,D]."""
        self.check_shape(codes)
        weight = next(self.post_projection.parameters(), None)
        values = self.quantizer.decode(codes)[..., self.channels]
        return self.post_projection(values if weight is None else values.to(weight.dtype))
