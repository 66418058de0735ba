"""The visual tokenizer: encoders, named vocabularies, a decoder, a head and a text tower, composed by a config.

Legend: B batch, N tokens, D encoder width, C code width, Q codes per token, E joint width, T texts.
"""
import contextlib

import torch
import torch.nn as nn
import torch.nn.functional as F

from dtbox.encoders.base import Encoder, as_pair
from dtbox.errors import InputError, closest
from dtbox.layers.attention_switch import switch_attention
from dtbox.registry import DECODERS, ENCODERS, HEADS, TEXTS, TOKENIZERS, VOCABULARIES
from dtbox.structures import Budget, TokenizerOutput
from dtbox.tokenizers.passes import Pass, plan
from dtbox.tokenizers.streams import build_shared, streams_of


@TOKENIZERS.register_module()
class VisualTokenizer(nn.Module):
    """Encoders -> vocabularies -> decoder and head, with a text tower beside them. What is left out does not exist.

    Args:
        encoders: dict name -> encoder config.
        image_size: pixels, an int or (height, width); filled into encoders and decoder where they leave it out.
        vocabularies: dict name -> vocabulary config (see Vocabulary).
        quantizers: dict name -> config of a quantizer that several vocabularies share: those whose `quantizer` is that name.
        decoder: decoder config, with `reads`: names of the vocabularies whose features it gets, joined along channels.
        head: head config.
        text: text tower config.
        attention: backend of every attention in it, and in the teacher: 'sdpa', 'xformers', 'eager' or a plugin's; None leaves each part its own.

    Attributes:
        streams: dict name -> Stream, what `encode` returns the codes of: a vocabulary, or a quantizer that several share.
    """

    def __init__(self, encoders, image_size, vocabularies=None, decoder=None, head=None, text=None, quantizers=None, attention=None):
        super().__init__()
        self.image_size = as_pair(image_size)
        if not encoders:
            raise InputError('a tokenizer needs at least one encoder.', 'encoders')
        self.encoders = nn.ModuleDict({
            name: ENCODERS.build(cfg, where=f'encoders.{name}', image_size=image_size) for name, cfg in encoders.items()})
        for name, encoder in self.encoders.items():
            if tuple(encoder.image_size) != self.image_size:
                raise InputError(f'this encoder takes images of {encoder.image_size} pixels, the tokenizer of {self.image_size}; all encoders '
                                 'see the same images. Leave its image_size out, or make them agree.', f'encoders.{name}.image_size')
        shared, shares = build_shared(quantizers or {}, vocabularies or {})
        self.quantizers, self.vocabularies = nn.ModuleDict(shared), nn.ModuleDict()
        for name, cfg in (vocabularies or {}).items():
            cfg = {'type': 'Vocabulary', **cfg, **({'quantizer': shares[name]} if name in shares else {})}
            self.vocabularies[name] = VOCABULARIES.build(cfg, where=f'vocabularies.{name}', encoders=self.encoders)
        self.streams = streams_of(self.vocabularies, shared)
        self.stops, self.reinjections = plan(self.encoders, self.streams)
        self.decoder, self.reads = self._build_decoder(decoder) if decoder else (None, [])
        self.head = self._build_head(head) if head else None
        self.text = TEXTS.build(text, where='text') if text else None
        if self.head and self.text and self.head.pooled_dim != self.text.pooled_dim:
            raise InputError(f'the head gives embeddings of width {self.head.pooled_dim}, the text tower of {self.text.pooled_dim}; '
                             'they must agree.', 'head')
        self.attention = attention
        if attention is not None:
            switch_attention(self, attention)

    def _build_decoder(self, cfg):
        args = dict(cfg)
        reads = args.pop('reads', list(self.vocabularies))
        reads = [reads] if isinstance(reads, str) else list(reads)
        for name in reads:
            if name not in self.vocabularies:
                raise InputError(f'the decoder reads `{name}`, which is no vocabulary.{closest(name, self.vocabularies)} There are: '
                                 f'{", ".join(self.vocabularies) or "none"}.', 'decoder.reads')
        grids = {self.vocabularies[n].grid for n in reads}
        if len(grids) != 1:
            raise InputError(f'the decoder needs vocabularies of one token grid; it reads {reads} with the grids {sorted(grids)}.',
                             'decoder.reads')
        width = sum(self.vocabularies[n].out_dim for n in reads)
        return DECODERS.build(args, where='decoder', in_dim=width, grid=grids.pop(), image_size=self.image_size), reads

    def _build_head(self, cfg):
        encoder = cfg.get('encoder') or next(iter(self.encoders))
        if encoder not in self.encoders:
            raise InputError(f'the head reads encoder `{encoder}`.{closest(encoder, self.encoders)} There are: '
                             f'{", ".join(self.encoders)}.', 'head.encoder')
        reads = cfg.get('reads')
        if reads and reads not in self.vocabularies:
            raise InputError(f'the head reads `{reads}`, which is no vocabulary.{closest(reads, self.vocabularies)}', 'head.reads')
        trunk = self.encoders[encoder]
        width = self.vocabularies[reads].out_dim if reads else trunk.width(trunk.depth)
        return HEADS.build(cfg, where='head', encoder=encoder, in_dim=width, pooled_dim=trunk.pooled_dim)

    def init_weights(self):
        """Load the weights that encoders, quantizers and text tower name in their configs."""
        parts = [*((f'encoders.{n}', e) for n, e in self.encoders.items()), ('text', self.text),
                 *((f'quantizers.{n}' if n in self.quantizers else f'vocabularies.{n}.quantizer', s.quantizer) for n, s in self.streams.items())]
        for name, part in parts:
            if part is not None:
                try:
                    part.init_weights()
                except InputError as e:
                    raise e.within(name) from e.__cause__

    # ---- a whole pass: the only entry of training -------------------------------------------------------------

    def forward(self, images, text_ids=None, reconstruct=True, vocabularies=None, layers=()):
        """Run everything that exists, or what is asked for.

        Args:
            images: [B,3,H,W] in [-1,1].
            text_ids: [T,L] int64, or None.
            reconstruct: whether the decoder runs.
            vocabularies: names of those to run beside what decoder and head read; None runs all.
            layers: (encoder, layer) pairs whose patch tokens are wanted, too.

        Returns:
            TokenizerOutput.
        """
        self.check_images(images)
        run = Pass(self, images, collect=True, layers=layers)
        reconstruct = reconstruct and self.decoder is not None
        wanted = set(self.vocabularies if vocabularies is None else vocabularies) | set(self.reads if reconstruct else ())
        outputs = {name: run.vocabulary(name) for name in self.vocabularies if name in wanted}
        firsts = {name: next((v for v in stream.vocabularies if v in outputs), None) for name, stream in self.streams.items()}
        firsts = {name: first for name, first in firsts.items() if first is not None}
        texts = self.text is not None and text_ids is not None
        return TokenizerOutput(
            images=images,
            reconstructions=self.decoder(self._joined({n: o.features for n, o in outputs.items()})) if reconstruct else None,
            codes={s: outputs[first].codes for s, first in firsts.items()}, features={n: o.features for n, o in outputs.items()},
            losses={s: outputs[first].losses for s, first in firsts.items()},
            pooled=self._pool(run) if self.head is not None else None, last=self._read(run) if self.head is not None else None,
            text_pooled=self.text(text_ids) if texts else None,
            logit_scale=self.text.logit_scale if texts else None, logit_bias=self.text.logit_bias if texts else None,
            layers={place: run.tap(*place) for place in layers})

    def _read(self, run):
        """Tokens that the head reads."""
        return run.vocabulary(self.head.reads).features if self.head.reads else run.last(self.head.encoder)

    def _pool(self, run):
        return self.head(self._read(run), self.encoders[self.head.encoder])

    @torch.no_grad()
    def pool_regions(self, last, masks):
        """Pool single regions by the head: `last` of a TokenizerOutput, B masks [M,H,W] -> list of B tensors [M,E]; see `Head.pool_regions`."""
        grid = self.vocabularies[self.head.reads].grid if self.head.reads else None
        return self.head.pool_regions(last, masks, self.encoders[self.head.encoder], grid)

    def _joined(self, features):
        return features[self.reads[0]] if len(self.reads) == 1 else torch.cat([features[n] for n in self.reads], -1)

    def commit(self):
        """Update every codebook from what the step's forwards collected; call once after the optimizer step."""
        for stream in self.streams.values():
            stream.quantizer.commit()

    def postpone(self):
        """From now on let passes go on where features into a quantizer are not finite; `raise_postponed` tells."""
        for stream in self.streams.values():
            stream.quantizer.postponed = []

    def raise_postponed(self):
        """Raise the first `NotFinite` that was postponed, and forget them all."""
        errors = [e for stream in self.streams.values() for e in getattr(stream.quantizer, 'postponed', None) or ()]
        if errors:
            self.postpone()
            raise errors[0]

    @contextlib.contextmanager
    def collecting(self, wanted):
        """Within the block, let training forwards collect for the codebooks, or (`wanted` False) leave no trace in them."""
        learning = [s.quantizer for s in self.streams.values() if s.quantizer.training and not wanted]
        for quantizer in learning:
            quantizer.train(False)
        try:
            yield
        finally:
            for quantizer in learning:
                quantizer.train(True)

    def discard(self):
        """Forget what was collected: the step was skipped."""
        for stream in self.streams.values():
            stream.quantizer.discard()

    # ---- single results, without work that was not asked for --------------------------------------------------

    def check_images(self, images):
        """Raise `InputError` unless `images` is a non-empty float tensor [B,3,H,W] of the model's size."""
        for encoder in self.encoders.values():
            Encoder.check_images(encoder, images)

    def check_vocabularies(self, names):
        """Return the list of vocabulary names; all for None; `InputError` for an unknown one."""
        names = list(self.vocabularies) if names is None else [names] if isinstance(names, str) else list(names)
        for name in names:
            if name not in self.vocabularies:
                raise InputError(f'there is no vocabulary `{name}`.{closest(name, self.vocabularies)} This tokenizer has: '
                                 f'{", ".join(self.vocabularies) or "none"}.')
        return names

    def stream_of(self, vocabulary):
        """Return the Stream that a vocabulary's codes are in."""
        return self.streams.get(vocabulary) or next(s for s in self.streams.values() if vocabulary in s.vocabularies)

    def check_streams(self, names=None):
        """Return the names of the streams that hold these vocabularies, each once; all for None; `InputError` for an unknown name.

        Args:
            names: vocabularies or streams, or one of them.
        """
        names = list(self.streams) if names is None else [names] if isinstance(names, str) else names
        rest = self.check_vocabularies([n for n in names if n not in self.streams])
        return list(dict.fromkeys(self.stream_of(n).name if n in rest else n for n in names))

    def budget(self, names=None):
        """Return the Budget of an image: what the streams of these vocabularies (all for None) take, a shared index counted once."""
        streams = [self.streams[name] for name in self.check_streams(names)]
        return Budget(sum(s.tokens for s in streams), sum(s.tokens * len(s.sizes) for s in streams), sum(s.bits for s in streams))

    @torch.no_grad()
    def encode(self, images, vocabularies=None):
        """images [B,3,H,W] in [-1,1] -> dict stream -> codes [B,N,Q]; runs no block behind the last one needed."""
        names = self.check_streams(vocabularies)
        self.check_images(images)
        run = Pass(self, images)
        return {name: run.codes(self.streams[name]) for name in names}

    def features(self, codes):
        """dict stream -> codes [B,N,Q] -> dict vocabulary -> features [B,N,D], for all vocabularies of these streams."""
        self.check_names(codes)
        dtype = next(self.parameters()).dtype  # without a projection, a table's rows come in float32
        return {name: vocabulary.features(codes[stream]).to(dtype) for stream in codes
                for name, vocabulary in self.streams[stream].vocabularies.items()}

    def check_names(self, codes):
        """Raise `InputError` unless codes go by the names of streams."""
        for name in codes:
            found, = self.check_streams([name])
            if found != name:
                raise InputError(f'codes of `{name}` came; it shares a quantizer, and its codes go by that name: `{found}`.')

    def decode(self, codes):
        """dict stream -> codes [B,N,Q] -> images [B,3,H,W], not clamped; only those of the vocabularies that the decoder reads count."""
        if self.decoder is None:
            raise InputError('this tokenizer has no decoder; it cannot turn codes into images.')
        reads = self.check_streams(self.reads)
        missing = [n for n in reads if n not in codes]
        if missing:
            raise InputError(f'decoding needs the codes of {", ".join(reads)}; missing: {", ".join(missing)}. '
                             f'Got: {", ".join(codes) or "none"}.')
        return self.decoder(self._joined(self.features({n: codes[n] for n in reads})))

    def pool_image(self, images):
        """images [B,3,H,W] -> pooled embedding [B,E], not normalised."""
        if self.head is None:
            raise InputError('this tokenizer has no head; it gives no image embedding.')
        self.check_images(images)
        return self._pool(Pass(self, images))

    def pool_text(self, texts, truncate=True):
        """Strings or ids [T,L] -> pooled embedding [T,E], not normalised."""
        if self.text is None:
            raise InputError('this tokenizer has no text tower; it gives no text embedding.')
        return self.text(self.text.ids(texts, truncate))

    def embed_image(self, images):
        """images [B,3,H,W] -> L2-normalised embedding [B,E]."""
        return F.normalize(self.pool_image(images), dim=-1)

    def embed_text(self, texts, truncate=True):
        """Strings or ids [T,L] -> L2-normalised embedding [T,E]."""
        return F.normalize(self.pool_text(texts, truncate), dim=-1)
