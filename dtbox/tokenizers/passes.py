"""One pass of images through a tokenizer's encoders, lazily.

Legend: B batch, P prefix tokens, N patch tokens, D encoder width.
"""


class Pass:
    """One pass of images through the encoders, as far as it is asked to go.

    Layers are run, vocabularies quantized and features re-injected when something that needs them is first asked for.

    Args:
        tokenizer: VisualTokenizer.
        images: [B,3,H,W] in [-1,1].
        collect: let quantizers in training collect what they see; otherwise a pass leaves no trace.
    """

    def __init__(self, tokenizer, images, collect=False):
        self.tokenizer, self.images, self.collect = tokenizer, images, collect
        self.tokens, self.layer, self.tapped, self.outputs = {}, {}, {}, {}

    def tap(self, name, layer):
        """Return the patch tokens [B,N,D] of a layer, as they were before any re-injection there."""
        if (name, layer) not in self.tapped:
            self._advance(name, layer)
        return self.tapped[name, layer]

    def vocabulary(self, name):
        """Return the VocabularyOutput of a vocabulary."""
        if name not in self.outputs:
            vocabulary = self.tokenizer.vocabularies[name]
            tapped = [self.tap(*t) for t in vocabulary.taps]
            learning = vocabulary.quantizer.training
            vocabulary.quantizer.train(learning and self.collect)
            try:
                self.outputs[name] = vocabulary(tapped)
            finally:
                vocabulary.quantizer.train(learning)
        return self.outputs[name]

    def last(self, name):
        """Return the tokens [B,P+N,D] behind the last block, re-injection included."""
        depth = self.tokenizer.encoders[name].depth
        self._advance(name, depth)
        self._reinject(name, depth)
        return self.tokens[name]

    def _advance(self, name, target):
        encoder = self.tokenizer.encoders[name]
        if name not in self.tokens:
            self.tokens[name], self.layer[name] = encoder.embed(self.images), 0
            self.tapped[name, 0] = encoder.patches(self.tokens[name])
        stops = self.tokenizer.stops[name]
        while self.layer[name] < target:
            start = self.layer[name]
            self._reinject(name, start)
            stop = min([s for s in stops if s > start] + [target])
            self.tokens[name], tapped = encoder.run(self.tokens[name], start, stop, stops & {stop})
            self.layer[name] = stop
            self.tapped.update({(name, layer): t for layer, t in tapped.items()})

    def _reinject(self, name, layer):
        vocabulary = self.tokenizer.reinjections.get((name, layer))
        if vocabulary is not None:
            features = self.vocabulary(vocabulary).features
            self.tokens[name] = self.tokenizer.encoders[name].with_patches(self.tokens[name], features)
