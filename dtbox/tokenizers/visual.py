"""The visual tokenizer: encoders, named vocabularies, a decoder, a head and a text tower, composed by a config.

Legend: B batch, N tokens, D encoder width, C code width, Q codes per token, E joint width, T texts.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from dtbox.encoders.base import Encoder, as_pair
from dtbox.errors import InputError, closest
from dtbox.registry import DECODERS, ENCODERS, HEADS, TEXTS, TOKENIZERS, VOCABULARIES
from dtbox.structures import TokenizerOutput
from dtbox.tokenizers.passes import Pass


@TOKENIZERS.register_module()
class VisualTokenizer(nn.Module):
    """Encoders -> vocabularies -> decoder and head, with a text tower beside them. What is left out does not exist.

    Args:
        encoders: dict name -> encoder config.
        image_size: pixels, an int or (height, width); filled into encoders and decoder where they leave it out.
        vocabularies: dict name -> vocabulary config (see Vocabulary).
        decoder: decoder config, with `reads`: names of the vocabularies whose features it gets, joined along channels.
        head: head config.
        text: text tower config.
    """

    def __init__(self, encoders, image_size, vocabularies=None, decoder=None, head=None, text=None):
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
        self.vocabularies = nn.ModuleDict()
        for name, cfg in (vocabularies or {}).items():
            self.vocabularies[name] = VOCABULARIES.build({'type': 'Vocabulary', **cfg}, where=f'vocabularies.{name}',
                                                         encoders=self.encoders)
        self.stops, self.reinjections = self._plan()
        self.decoder, self.reads = self._build_decoder(decoder) if decoder else (None, [])
        self.head = self._build_head(head) if head else None
        self.text = TEXTS.build(text, where='text') if text else None
        if self.head and self.text and self.head.pooled_dim != self.text.pooled_dim:
            raise InputError(f'the head gives embeddings of width {self.head.pooled_dim}, the text tower of {self.text.pooled_dim}; '
                             'they must agree.', 'head')

    def _plan(self):
        """Return the layers at which each encoder stops, and (encoder, layer) -> vocabulary that re-injects there."""
        stops, reinjections = {name: set() for name in self.encoders}, {}
        for name, vocabulary in self.vocabularies.items():
            for encoder, layer in vocabulary.taps:
                stops[encoder].add(layer)
            if vocabulary.reinject:
                if vocabulary.reinject in reinjections:
                    raise InputError(f'vocabularies `{reinjections[vocabulary.reinject]}` and `{name}` both re-inject after layer '
                                     f'{vocabulary.reinject[1]}; only one can.', f'vocabularies.{name}.reinject')
                reinjections[vocabulary.reinject] = name
                stops[vocabulary.reinject[0]].add(vocabulary.reinject[1])
        self._check_order(reinjections)
        return stops, reinjections

    def _check_order(self, reinjections):
        """Raise `InputError` where vocabularies wait for one another: each taps a layer behind the other's re-injection."""
        waits = {name: {other for (encoder, layer), other in reinjections.items() if any(e == encoder and at > layer for e, at in v.taps)}
                 for name, v in self.vocabularies.items()}
        while ready := [name for name, others in waits.items() if not others & waits.keys()]:
            for name in ready:
                del waits[name]
        if waits:
            raise InputError(f'the vocabularies {", ".join(waits)} wait for one another: each taps a layer behind the one after which another '
                             're-injects. Let one of them tap or re-inject elsewhere.', 'vocabularies')

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
                 *((f'vocabularies.{n}.quantizer', v.quantizer) for n, v in self.vocabularies.items())]
        for name, part in parts:
            if part is not None:
                try:
                    part.init_weights()
                except InputError as e:
                    raise e.within(name) from e.__cause__

    # ---- a whole pass: the only entry of training -------------------------------------------------------------

    def forward(self, images, text_ids=None, reconstruct=True):
        """Run everything that exists.

        Args:
            images: [B,3,H,W] in [-1,1].
            text_ids: [T,L] int64, or None.
            reconstruct: whether the decoder runs.

        Returns:
            TokenizerOutput.
        """
        self.check_images(images)
        run = Pass(self, images, collect=True)
        outputs = {name: run.vocabulary(name) for name in self.vocabularies}
        texts = self.text is not None and text_ids is not None
        return TokenizerOutput(
            images=images,
            reconstructions=self.decoder(self._joined({n: o.features for n, o in outputs.items()}))
            if self.decoder is not None and reconstruct else None,
            codes={n: o.codes for n, o in outputs.items()}, features={n: o.features for n, o in outputs.items()},
            losses={n: o.losses for n, o in outputs.items()},
            pooled=self._pool(run) if self.head is not None else None,
            text_pooled=self.text(text_ids) if texts else None,
            logit_scale=self.text.logit_scale if texts else None, logit_bias=self.text.logit_bias if texts else None)

    def _pool(self, run):
        tokens = run.vocabulary(self.head.reads).features if self.head.reads else run.last(self.head.encoder)
        return self.head(tokens, self.encoders[self.head.encoder])

    def _joined(self, features):
        return features[self.reads[0]] if len(self.reads) == 1 else torch.cat([features[n] for n in self.reads], -1)

    def commit(self):
        """Update every codebook from what the step's forwards collected; call once after the optimizer step."""
        for vocabulary in self.vocabularies.values():
            vocabulary.quantizer.commit()

    def discard(self):
        """Forget what was collected: the step was skipped."""
        for vocabulary in self.vocabularies.values():
            vocabulary.quantizer.discard()

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

    @torch.no_grad()
    def encode(self, images, vocabularies=None):
        """images [B,3,H,W] in [-1,1] -> dict vocabulary -> codes [B,N,Q]; runs no block behind the last one needed."""
        names = self.check_vocabularies(vocabularies)
        self.check_images(images)
        run = Pass(self, images)
        codes = {}
        for name in names:
            vocabulary = self.vocabularies[name]
            tapped = [run.tap(*t) for t in vocabulary.taps]
            done = run.outputs.get(name)
            codes[name] = done.codes if done else vocabulary.encode(tapped)
        return codes

    def features(self, codes):
        """dict vocabulary -> codes [B,N,Q] -> dict vocabulary -> features [B,N,D]."""
        names = self.check_vocabularies(codes)
        dtype = next(self.parameters()).dtype  # without a projection, a table's rows come in float32
        return {name: self.vocabularies[name].features(codes[name]).to(dtype) for name in names}

    def decode(self, codes):
        """dict vocabulary -> codes [B,N,Q] -> images [B,3,H,W], not clamped; only the vocabularies the decoder reads count."""
        if self.decoder is None:
            raise InputError('this tokenizer has no decoder; it cannot turn codes into images.')
        missing = [n for n in self.reads if n not in codes]
        if missing:
            raise InputError(f'decoding needs the codes of {", ".join(self.reads)}; missing: {", ".join(missing)}. '
                             f'Got: {", ".join(codes) or "none"}.')
        return self.decoder(self._joined(self.features({n: codes[n] for n in self.reads})))

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
