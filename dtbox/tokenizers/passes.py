"""One pass of images through a tokenizer's encoders, lazily, and the plan of where it stops.

Legend: B batch, P prefix tokens, N patch tokens, D encoder width.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from torch import Tensor

from dtbox.encoders.base import NORM, Encoder, Layer
from dtbox.errors import InputError
from dtbox.part_outputs import check_floats, refuse_output
from dtbox.structures import VocabularyOutput
from dtbox.tokenizers.streams import Stream
from dtbox.tokenizers.vocabulary import Place, Tap, find_block, lies_after


def plan_stops(encoders: Mapping[str, Encoder],
               streams: Mapping[str, Stream]) -> tuple[dict[str, set[int]], dict[Place, str]]:
    """Return encoder -> layers at which a pass stops, and (encoder, layer) -> vocabulary that re-injects there.

    Args:
        encoders: name -> encoder.
        streams: name -> Stream.

    Raises:
        InputError: two vocabularies re-inject after one layer, or vocabularies wait for each other.
    """
    stops: dict[str, set[int]] = {name: set() for name in encoders}
    reinjections: dict[Place, str] = {}
    for name, vocabulary in ((n, v) for stream in streams.values() for n, v in stream.vocabularies.items()):
        for tap in vocabulary.taps:
            stops[tap[0]].add(find_block(tap, encoders))
        if vocabulary.reinject:
            if vocabulary.reinject in reinjections:
                raise InputError(f'vocabularies `{reinjections[vocabulary.reinject]}` and `{name}` both re-inject '
                                 f'after layer {vocabulary.reinject[1]}; only one can.',
                                 f'vocabularies.{name}.reinject')
            reinjections[vocabulary.reinject] = name
            stops[vocabulary.reinject[0]].add(vocabulary.reinject[1])
    check_order(streams, reinjections)
    return stops, reinjections


def check_order(streams: Mapping[str, Stream], reinjections: Mapping[Place, str]) -> None:
    """Raise `InputError` where streams wait for each other: each taps a layer after the other's re-injection."""
    owner = {name: stream.name for stream in streams.values() for name in stream.vocabularies}
    taps = {name: [tap for v in stream.vocabularies.values() for tap in v.taps] for name, stream in streams.items()}
    waits = {name: {owner[other] for (encoder, layer), other in reinjections.items()
                    if any(e == encoder and lies_after(at, layer) for e, at in taps[name])} for name in streams}
    while ready := [name for name, others in waits.items() if not others & waits.keys()]:
        for name in ready:
            del waits[name]
    if waits:
        names = [name for stream in waits for name in streams[stream].vocabularies]
        raise InputError(f'the vocabularies {", ".join(names)} wait for each other: each taps a layer after the one at '
                         'which another re-injects. Let one of them tap or re-inject elsewhere.', 'vocabularies')


class Staged(Protocol):
    """What a pass asks of a tokenizer; `VisualTokenizer` has it."""
    encoders: Mapping[str, Encoder]
    stops: Mapping[str, set[int]]
    reinjections: Mapping[Place, str]

    def find_stream(self, vocabulary: str) -> Stream:
        """Return the stream that holds the codes of a vocabulary."""


class Pass:
    """One pass of images through the encoders, as far as it is asked to go.

    Layers run, vocabularies are quantized and features re-injected when something that needs them is first asked for.

    Args:
        tokenizer: VisualTokenizer.
        images: [B,3,H,W] in [-1,1].
        collect: let quantizers in training collect what they see; otherwise a pass leaves no trace.
        layers: (encoder, layer or `NORM`) pairs that will be tapped in addition to those of the vocabularies.
    """

    def __init__(self, tokenizer: Staged, images: Tensor, collect: bool = False,
                 layers: Iterable[Tap] = ()) -> None:
        self.tokenizer = tokenizer
        self.images = images
        self.collect = collect
        self.also = {(name, int(layer)) for name, layer in layers if layer != NORM}
        self.tokens: dict[str, Tensor] = {}
        self.layer: dict[str, int] = {}
        self.tapped: dict[Tap, Tensor] = {}
        self.outputs: dict[str, VocabularyOutput] = {}

    def tap(self, name: str, layer: Layer) -> Tensor:
        """Return the patch tokens [B,N,D] of a layer, as they were before any re-injection there; those after the norm
        see what is re-injected after the last block."""
        if (name, layer) not in self.tapped:
            if layer == NORM:
                encoder = self.tokenizer.encoders[name]
                self.tapped[name, layer] = encoder.patches(encoder.normalize(self.last(name)))
            else:
                self._advance(name, int(layer))
        return self.tapped[name, layer]

    def vocabulary(self, name: str) -> VocabularyOutput:
        """Return the output of a vocabulary."""
        if name not in self.outputs:
            stream = self.tokenizer.find_stream(name)
            tapped = self.taps(stream)
            learning = stream.quantizer.training
            stream.quantizer.train(learning and self.collect)
            try:
                self.outputs.update(stream.forward(tapped))
            finally:
                stream.quantizer.train(learning)
        return self.outputs[name]

    def taps(self, stream: Stream) -> dict[str, list[Tensor]]:
        """Return vocabulary -> its tapped layers ([B,N,D] each), for the vocabularies of a stream."""
        return {name: [self.tap(*t) for t in vocabulary.taps] for name, vocabulary in stream.vocabularies.items()}

    def codes(self, stream: Stream) -> Tensor:
        """Return the codes [B,N,Q] of a stream (latents [B,N,C] of a continuous one), without its features where
        nothing has asked for them."""
        tapped, done = self.taps(stream), self.outputs.get(next(iter(stream.vocabularies)))
        return done.codes if done and done.codes is not None else stream.encode(tapped)

    def last(self, name: str) -> Tensor:
        """Return the tokens [B,P+N,D] after the last block, re-injection included."""
        depth = self.tokenizer.encoders[name].depth
        self._advance(name, depth)
        self._reinject(name, depth)
        return self.tokens[name]

    def _advance(self, name: str, target: int) -> None:
        encoder = self.tokenizer.encoders[name]
        if name not in self.tokens:
            self.tokens[name], self.layer[name] = encoder.embed(self.images), 0
            self.tapped[name, 0] = self._check(encoder, 0, encoder.patches(self.tokens[name]))
        stops = self.tokenizer.stops[name]
        while self.layer[name] < target:
            start = self.layer[name]
            self._reinject(name, start)
            stop = min([s for s in stops if s > start] + [target])
            taps = {layer for layer in stops | {at for e, at in self.also if e == name} if start < layer <= stop}
            self.tokens[name], tapped = encoder.run(self.tokens[name], start, stop, taps)
            self.layer[name] = stop
            self.tapped.update({(name, layer): self._check(encoder, layer, t) for layer, t in tapped.items()})
            if missing := taps - tapped.keys():
                raise refuse_output(encoder, 'taps', sorted(tapped), f'those of the layers {sorted(missing)}, too')

    def _check(self, encoder: Encoder, layer: int, tokens: Tensor) -> Tensor:
        shape = (self.images.shape[0], encoder.layout(layer).tokens, encoder.width(layer))
        return check_floats(encoder, f'the output of layer {layer}', tokens, shape, self.images.dtype)

    def _reinject(self, name: str, layer: int) -> None:
        vocabulary = self.tokenizer.reinjections.get((name, layer))
        if vocabulary is not None:
            features = self.vocabulary(vocabulary).features
            self.tokens[name] = self.tokenizer.encoders[name].with_patches(self.tokens[name], features)
