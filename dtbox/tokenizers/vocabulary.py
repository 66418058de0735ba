"""A vocabulary: tapped layers -> projections -> weighted sum -> quantizer -> post-projection.

Legend: B batch, N tokens, D encoder width, C code width, Q codes per token.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Union

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.counts import format_count
from dtbox.encoders.base import NORM, Encoder, Layer
from dtbox.errors import InputError, at
from dtbox.layout import TokenLayout
from dtbox.part_outputs import check_floats
from dtbox.registry import PROJECTIONS, VOCABULARIES
from dtbox.structures import QuantizerOutput, VocabularyOutput
from dtbox.tokenizers.quantization import (
    SharedQuantizer,
    build_quantizer,
    decode_codes,
    find_codes,
    get_input_dim,
    quantize,
)
from dtbox.values import Positive

Taps = Union[int, str, Sequence, Mapping]
"""A layer or 'norm', 'encoder:layer', a list of them, or a dict tap -> weight."""
Tap = tuple[str, Layer]
"""(encoder name, layer or `NORM`)."""
Place = tuple[str, int]
"""(encoder name, layer) where features return to the trunk."""


def parse_taps(taps: Taps, encoders: Mapping[str, Encoder]) -> list[tuple[Tap, float]]:
    """Read the taps of a config.

    Args:
        taps: see `Taps`.
        encoders: name -> encoder.

    Returns:
        list of ((encoder name, layer), weight).
    """
    if not isinstance(taps, Mapping):
        taps = {t: 1.0 for t in (taps if isinstance(taps, (list, tuple)) else [taps])}
    parsed = []
    for tap, weight in taps.items():
        name, _, layer = str(tap).rpartition(':')
        if not name:
            if len(encoders) > 1:
                raise InputError(f'tap `{tap}` names no encoder; with the encoders {", ".join(encoders)} write '
                                 '`name:layer`.', 'taps')
            name = next(iter(encoders))
        if name not in encoders or not (layer.isdigit() or layer == NORM):
            raise InputError(f'tap `{tap}` is not `layer`, `{NORM}` or `encoder:layer`; the encoders are '
                             f'{", ".join(encoders)}.', 'taps')
        parsed.append(((name, check_layer(tap, layer, name, encoders[name])), float(weight)))
    if not parsed:
        raise InputError('a vocabulary needs at least one tap.', 'taps')
    if len({key for key, _ in parsed}) < len(parsed):
        raise InputError(f'a layer is tapped twice: {list(taps)}.', 'taps')
    return parsed


def check_layer(tap: Any, layer: str, name: str, encoder: Encoder) -> Layer:
    """Return the layer of a tap; `InputError` where its encoder does not have it."""
    if layer == NORM:
        if not encoder.has_norm:
            raise InputError(f'tap `{tap}` follows a norm after the last block, and encoder `{name}` has none (timm '
                             "builds `vitamin_large_256` with one by model_args=dict(fc_norm=False, global_pool='')). "
                             f'Tap its last layer, {encoder.depth}.', 'taps')
        return NORM
    if int(layer) > encoder.depth:
        raise InputError(f'tap `{tap}` is beyond the last layer: encoder `{name}` has '
                         f'{format_count(encoder.depth, "block")}. Choose a layer from 0 to {encoder.depth}.', 'taps')
    return int(layer)


def lies_after(tapped: Layer, layer: int) -> bool:
    """Return whether what is tapped is computed from the output of block `layer`, and is not that output."""
    return tapped == NORM or int(tapped) > layer


def find_block(tap: Tap, encoders: Mapping[str, Encoder]) -> int:
    """Return the block whose output a tap is, or is computed from."""
    name, layer = tap
    return encoders[name].depth if layer == NORM else int(layer)


@VOCABULARIES.register_module()
class Vocabulary(nn.Module):
    """One named vocabulary of a tokenizer.

    Args:
        encoders: name -> encoder; their widths size the projections.
        taps: see `Taps`; weights are used as they are.
        quantizer: config of the quantizer; or a SharedQuantizer that several vocabularies have (in a config: its name).
        projection: config of the pre-projection, D -> C; each tap has its own. One whose constructor takes `layout`
            gets that of the features.
        post_projection: config of the post-projection, C -> D; None takes `projection`'s.
        share_projection: one pre-projection for all taps.
        learn: make the weights a softmax over the taps, learned from `weights` as they stand (the learned soft split).
        out_dim: width D of the features; None takes that of the first tap.
        reinject: layer of the (first tap's) encoder whose patch tokens the features replace, or None.

    Attributes:
        feature_layout: where the tokens of the features lie: those of the tapped layers.
        layout: where the tokens of the codes lie; the quantizer says so.
        channels: which channels of the quantizer are this vocabulary's.
        code_dim: width of the projected tokens, which the quantizer takes.
        out_dim: width D of the features.
    """

    def __init__(self, encoders: Mapping[str, Encoder], taps: Taps, quantizer: dict | SharedQuantizer,
                 projection: dict = dict(type='AttentionProjection'), post_projection: dict | None = None,
                 share_projection: bool = False, learn: bool = False, reinject: int | None = None,
                 out_dim: Positive | None = None) -> None:
        super().__init__()
        parsed = parse_taps(taps, encoders)
        self.taps, weights = [t for t, _ in parsed], torch.tensor([w for _, w in parsed])
        self.learn, self.share_projection = learn, share_projection
        if isinstance(quantizer, SharedQuantizer):
            # the tokenizer registers it, not each vocabulary that has a part of it
            object.__setattr__(self, 'quantizer', quantizer.quantizer)
            self.channels = quantizer.channels
            self.code_dim = self.channels.stop - self.channels.start
        else:
            self.quantizer = build_quantizer(quantizer, 'quantizer')
            self.channels = slice(0, self.quantizer.dim)
            self.code_dim = get_input_dim(self.quantizer)
        widths = [encoders[tap[0]].width(find_block(tap, encoders)) for tap in self.taps]
        if share_projection and len(set(widths)) > 1:
            raise InputError(f'taps of the widths {widths} cannot share a projection. Leave `share_projection` off.',
                             'share_projection')
        self.feature_layout: TokenLayout = find_layout(self.taps, encoders)
        self.projections = nn.ModuleList(
            PROJECTIONS.build({**projection, 'in_dim': w, 'out_dim': self.code_dim}, where='projection',
                              layout=self.feature_layout)
            for w in (widths[:1] if share_projection else widths))
        self.out_dim = out_dim or widths[0]
        self.post_projection = PROJECTIONS.build(
            {**(post_projection or projection), 'in_dim': self.channels.stop - self.channels.start,
             'out_dim': self.out_dim}, where='post_projection', layout=self.feature_layout)
        if learn:
            if any(w <= 0 for _, w in parsed):
                raise InputError('a learned soft split starts from positive weights; got '
                                 f'{[w for _, w in parsed]}.', 'taps')
            self.tap_logits = nn.Parameter(weights.log())
        else:
            self.tap_weights = [w for _, w in parsed]
        with at('quantizer'):
            self.layout: TokenLayout = self.quantizer.set_layout(self.feature_layout)
        self.reinject = self._check_reinject(reinject, encoders)

    def _check_reinject(self, layer: int | None, encoders: Mapping[str, Encoder]) -> Place | None:
        if layer is None:
            return None
        name = self.taps[0][0]
        encoder = encoders[name]
        late = [t for t in self.taps if t[0] == name and lies_after(t[1], layer)]
        if not 1 <= layer <= encoder.depth or late:
            raise InputError(f'cannot re-inject after layer {layer}: encoder `{name}` has '
                             f'{format_count(encoder.depth, "block")} and '
                             f'this vocabulary taps its layers {[t[1] for t in self.taps if t[0] == name]}, which must '
                             'not lie after it.', 'reinject')
        if encoder.width(layer) != self.out_dim or encoder.layout(layer) != self.feature_layout:
            raise InputError(f'features of width {self.out_dim} on the {self.feature_layout} do not fit layer {layer} '
                             f'of `{name}` (width {encoder.width(layer)}, {encoder.layout(layer)}). Re-inject after a '
                             'layer of the same width and layout.', 'reinject')
        return name, layer

    def weights(self) -> list[float] | Tensor:
        """Return the weight of each tap, in order: floats, or a tensor where they are learned."""
        return self.tap_logits.softmax(0) if self.learn else self.tap_weights

    def combine(self, tapped: Sequence[Tensor]) -> Tensor:
        """Project and sum the tapped layers: [B,N,D] each, in the order of `taps` -> [B,N,C]."""
        projections = list(self.projections) * (len(self.taps) if self.share_projection else 1)
        total = None
        for layer, project, weight in zip(tapped, projections, self.weights()):
            z = check_floats(project, 'projected tokens', project(layer), (*layer.shape[:2], self.code_dim))
            z = z if isinstance(weight, float) and weight == 1.0 else z * weight
            total = z if total is None else total + z
        return total

    def forward(self, tapped: Sequence[Tensor]) -> VocabularyOutput:
        """Tapped layers ([B,N,D] each) -> VocabularyOutput, with its own quantizer; `Stream` runs a shared one."""
        return self.finish(quantize(self.quantizer, self.combine(tapped)))

    def finish(self, out: QuantizerOutput) -> VocabularyOutput:
        """QuantizerOutput -> VocabularyOutput."""
        features = out.features[..., self.channels]
        return VocabularyOutput(self._project_back(features), features, out.codes, out.losses)

    def _project_back(self, features: Tensor) -> Tensor:
        shape = (*features.shape[:2], self.out_dim)
        return check_floats(self.post_projection, 'features', self.post_projection(features), shape)

    def encode(self, tapped: Sequence[Tensor]) -> Tensor:
        """Tapped layers -> codes [B,N,Q] int64 (latents [B,N,C] where there are none), with its own quantizer."""
        return find_codes(self.quantizer, self.combine(tapped))

    def check_shape(self, codes: Tensor) -> None:
        """Raise `InputError` unless `codes` are [B,N,Q] with the N tokens of the layout."""
        if codes.ndim != 3 or codes.shape[1] != self.layout.tokens:
            want = f'[B, {self.layout.tokens}, {len(self.quantizer.codebook_sizes) or self.quantizer.dim}]'
            raise InputError(f'codes have the shape {list(codes.shape)}; expected {want} for the {self.layout}.')

    def features(self, codes: Tensor, scales: int | None = None) -> Tensor:
        """Codes or latents -> features [B,N,D] on their layout.

        Args:
            codes: [B,N,Q], or latents [B,N,C], with the N tokens of the codes' layout.
            scales: read the codes of the first scales alone, so many of them; `codes` may hold these only. For codes on
                several scales.
        """
        if scales is None:
            self.check_shape(codes)
        weight = next(self.post_projection.parameters(), None)
        values = decode_codes(self.quantizer, codes, self.layout, scales)
        shape = (codes.shape[0], self.feature_layout.tokens, self.quantizer.dim)
        values = check_floats(self.quantizer, 'features', values, shape)[..., self.channels]
        return self._project_back(values if weight is None else values.to(weight.dtype))


def find_layout(taps: Sequence[Tap], encoders: Mapping[str, Encoder]) -> TokenLayout:
    """Return the layout of the tapped layers; `InputError` where they differ."""
    layouts: dict[TokenLayout, Any] = {encoders[tap[0]].layout(find_block(tap, encoders)): f'{tap[0]}:{tap[1]}'
                                       for tap in taps}
    if len(layouts) > 1:
        told = ', '.join(f'{tap} a {layout}' for layout, tap in layouts.items())
        raise InputError(f'the taps have different token layouts: {told}. A vocabulary needs one. Tap layers of one '
                         'layout.', 'taps')
    return next(iter(layouts))
