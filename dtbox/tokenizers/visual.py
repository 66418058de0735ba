"""The visual tokenizer: encoders, named vocabularies, a decoder, a head and a text tower, composed by a config.

Legend: B batch, N tokens, D encoder width, C code width, Q codes per token, E joint width, T texts.
"""
from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.encoders.base import Encoder
from dtbox.errors import InputError, at
from dtbox.layers.attention_switch import switch_attention
from dtbox.layers.sizes import read_pair
from dtbox.layout import CodeLayout, need_grid
from dtbox.part_outputs import check_floats
from dtbox.registry import TEXTS, TOKENIZERS, VOCABULARIES
from dtbox.structures import Budget, TokenizerOutput
from dtbox.tokenizers.composition import build_decoder, build_encoders, build_head
from dtbox.tokenizers.freezing import PartlyFrozen
from dtbox.tokenizers.guidance import check_guidance, run_decoder
from dtbox.tokenizers.passes import Pass, plan_stops
from dtbox.tokenizers.streams import Stream, build_shared, build_streams
from dtbox.tokenizers.vocabulary import Tap


@TOKENIZERS.register_module()
class VisualTokenizer(PartlyFrozen):
    """Encoders -> vocabularies -> decoder and head, with a text tower beside them. What is left out does not exist.

    Args:
        encoders: name -> encoder config.
        image_size: pixels, an int or (height, width); filled into encoders and decoder where they leave it out.
        vocabularies: name -> vocabulary config (see Vocabulary).
        decoder: decoder config, with `reads`: names of the vocabularies whose features it gets, joined along channels.
        head: head config.
        text: text tower config.
        quantizers: name -> config of a quantizer shared by the vocabularies whose `quantizer` is that name.
        attention: backend of every attention in it, and in the teacher: 'sdpa', 'xformers', 'eager' or a plugin's; None
            leaves each part its own.

    Attributes:
        streams: name -> Stream; what `encode` returns the codes of, a vocabulary or a quantizer that several share.
        guided: whether texts guide the decoder.
    """

    def __init__(self, encoders: Mapping[str, dict], image_size: int | Sequence[int],
                 vocabularies: Mapping[str, dict] | None = None, decoder: dict | None = None, head: dict | None = None,
                 text: dict | None = None, quantizers: Mapping[str, dict] | None = None,
                 attention: str | None = None) -> None:
        super().__init__()
        self.image_size = read_pair(image_size, 'image_size')
        self.encoders = build_encoders(encoders, image_size)
        built, shared = build_shared(quantizers or {}, vocabularies or {})
        self.quantizers, self.vocabularies = nn.ModuleDict(built), nn.ModuleDict()
        for name, cfg in (vocabularies or {}).items():
            cfg = {'type': 'Vocabulary', **cfg, **({'quantizer': shared[name]} if name in shared else {})}
            self.vocabularies[name] = VOCABULARIES.build(cfg, where=f'vocabularies.{name}', encoders=self.encoders)
        self.streams = build_streams(self.vocabularies, built)
        self.stops, self.reinjections = plan_stops(self.encoders, self.streams)
        self.decoder: Any = None
        self.reads: list[str] = []
        if decoder:
            self.decoder, self.reads = build_decoder(decoder, self.vocabularies, self.image_size)
        self.head: Any = build_head(head, self.encoders, self.vocabularies) if head else None
        self.text: Any = TEXTS.build(text, where='text') if text else None
        if self.head and self.text and self.head.pooled_dim != self.text.pooled_dim:
            raise InputError(f'the head gives embeddings of width {self.head.pooled_dim}, the text tower of '
                             f'{self.text.pooled_dim}; they must agree.', 'head')
        self.guided = check_guidance(self.decoder, self.text)
        self.attention = attention
        if attention is not None:
            switch_attention(self, attention)

    @property
    def layout(self) -> CodeLayout:
        """The streams of codes: where their tokens lie, sizes of codebooks, flat ids."""
        return self.streams.layout

    def init_weights(self) -> None:
        """Load the weights that encoders, quantizers and text tower name in their configs."""
        parts = [*((f'encoders.{n}', e) for n, e in self.encoders.items()), ('text', self.text)]
        for name, stream in self.streams.items():
            parts.append((f'quantizers.{name}' if name in self.quantizers else f'vocabularies.{name}.quantizer',
                          stream.quantizer))
        for name, part in ((name, part) for name, part in parts if part is not None):
            with at(name):
                part.init_weights()

    def forward(self, images: Tensor, text_ids: Tensor | None = None, reconstruct: bool = True,
                vocabularies: Iterable[str] | None = None, layers: Collection[Tap] = (),
                pool: bool = True) -> TokenizerOutput:
        """Run everything that exists, or what is asked for.

        Args:
            images: [B,3,H,W] in [-1,1].
            text_ids: [T,L] int64, or None; T = B where texts guide the decoder.
            reconstruct, pool: whether the decoder runs, and the head.
            vocabularies: names of those to run in addition to what decoder and head read; None runs all.
            layers: (encoder, layer) pairs whose patch tokens are also wanted.
        """
        self.check_images(images)
        run = Pass(self, images, collect=True, layers=layers)
        reconstruct = reconstruct and self.decoder is not None
        wanted = set(self.vocabularies if vocabularies is None else vocabularies)
        wanted |= set(self.reads if reconstruct else ())
        outputs = {name: run.vocabulary(name) for name in self.vocabularies if name in wanted}
        features = {name: out.features for name, out in outputs.items()}
        # of the vocabularies that share a stream, the first that ran; all of them have the same codes and losses
        firsts = {name: next((outputs[v] for v in stream.vocabularies if v in outputs), None)
                  for name, stream in self.streams.items()}
        streams = {name: out for name, out in firsts.items() if out is not None}
        heads = pool and self.head is not None
        texts = self.text is not None and text_ids is not None and (heads or not self.guided)
        return TokenizerOutput(
            images=images,
            reconstructions=self._decode(features, text_ids if self.guided else None) if reconstruct else None,
            codes={name: out.codes for name, out in streams.items() if out.codes is not None}, features=features,
            losses={name: out.losses for name, out in streams.items()},
            pooled=self._pool(run) if heads else None, last=self._read(run) if heads else None,
            text_pooled=self._pool_ids(text_ids) if texts else None,
            logit_scale=self.text.logit_scale if texts else None, logit_bias=self.text.logit_bias if texts else None,
            layers={tap: run.tap(*tap) for tap in layers})

    def _read(self, run: Pass) -> Tensor:
        return run.vocabulary(self.head.reads).features if self.head.reads else run.last(self.head.encoder)

    def _pool(self, run: Pass) -> Tensor:
        pooled = self.head(self._read(run), self.encoders[self.head.encoder])
        return check_floats(self.head, 'pooled embeddings', pooled, (run.images.shape[0], self.head.pooled_dim))

    def _pool_ids(self, ids: Tensor) -> Tensor:
        return check_floats(self.text, 'pooled embeddings', self.text(ids), (ids.shape[0], self.text.pooled_dim))

    def _decode(self, features: Mapping[str, Tensor], texts: Any = None) -> Tensor:
        """Return the images [B,3,H,W] of the features that the decoder reads, side by side [B,N,D]."""
        joined = features[self.reads[0]] if len(self.reads) == 1 else torch.cat([features[n] for n in self.reads], -1)
        images = run_decoder(self.decoder, self.text, joined, texts)
        return check_floats(self.decoder, 'images', images, (joined.shape[0], 3, -1, -1))

    def commit(self) -> None:
        """Update every codebook from what the step's forwards collected; call once after the optimizer step."""
        for stream in self.streams.values():
            stream.quantizer.commit()

    def discard(self) -> None:
        """Forget what was collected: the step was skipped."""
        for stream in self.streams.values():
            stream.quantizer.discard()

    def postpone(self) -> None:
        """See `Streams.postpone`."""
        self.streams.postpone()

    def raise_postponed(self) -> None:
        """See `Streams.raise_postponed`."""
        self.streams.raise_postponed()

    def collecting(self, wanted: bool) -> contextlib.AbstractContextManager[None]:
        """See `Streams.collecting`."""
        return self.streams.collecting(wanted)

    def check_images(self, images: Tensor) -> None:
        """Raise `InputError` unless `images` is a non-empty float tensor [B,3,H,W] of the model's size."""
        for encoder in self.encoders.values():
            Encoder.check_images(encoder, images)

    def find_stream(self, vocabulary: str) -> Stream:
        """Return the stream that holds the codes of a vocabulary."""
        return self.streams.find(vocabulary)

    def check_streams(self, names: str | Iterable[str] | None = None) -> list[str]:
        """See `Streams.resolve`."""
        return self.streams.resolve(names)

    def budget(self, names: str | Iterable[str] | None = None) -> Budget:
        """Return what the streams of these vocabularies (all for None) take of an image; a shared index counts once."""
        layouts = [self.streams[name].layout for name in self.check_streams(names)]
        return Budget(sum(s.tokens for s in layouts), sum(s.tokens * len(s.sizes) for s in layouts),
                      sum(s.bits for s in layouts))

    @torch.no_grad()
    def encode(self, images: Tensor, vocabularies: str | Iterable[str] | None = None) -> dict[str, Tensor]:
        """images [B,3,H,W] in [-1,1] -> stream -> codes [B,N,Q], or latents [B,N,C] of a continuous stream; runs no
        block after the last one needed.

        `vocabularies` are names; None stands for all that have codes, or for all where none has.
        """
        names = self.check_streams(vocabularies)
        if vocabularies is None:
            names = [name for name in names if self.streams[name].layout.has_codes] or names
        self.check_images(images)
        run = Pass(self, images)
        return {name: run.codes(self.streams[name]) for name in names}

    def features(self, codes: Mapping[str, Tensor], scales: int | None = None) -> dict[str, Tensor]:
        """Stream -> codes [B,N,Q] or latents [B,N,C] -> vocabulary -> features [B,N,D], for all vocabularies of these
        streams; of the first `scales` scales alone where given (see `Vocabulary.features`)."""
        self.streams.check_names(codes)
        self.streams.check_values(codes)
        dtype = next(self.parameters()).dtype  # without a projection, a table's rows come in float32
        part = {} if scales is None else dict(scales=scales)
        return {name: vocabulary.features(codes[stream], **part).to(dtype) for stream in codes
                for name, vocabulary in self.streams[stream].vocabularies.items()}

    def decode(self, codes: Mapping[str, Tensor], texts: str | Sequence[str] | Tensor | None = None,
               scales: int | None = None) -> Tensor:
        """Stream -> codes [B,N,Q] or latents [B,N,C] -> images [B,3,H,W], not clamped; other streams than the decoder's
        are ignored. `texts` guide a decoder that takes them (see `run_decoder`); `scales` as in `features`."""
        if self.decoder is None:
            raise InputError('this tokenizer has no decoder; it cannot turn codes into images.')
        reads = self.check_streams(self.reads)
        missing = [n for n in reads if n not in codes]
        if missing:
            raise InputError(f'decoding needs the codes of {", ".join(reads)}; missing: {", ".join(missing)}. '
                             f'Got: {", ".join(codes) or "none"}.')
        return self._decode(self.features({n: codes[n] for n in reads}, scales), texts)

    def pool_image(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] -> pooled embedding [B,E], not normalised."""
        if self.head is None:
            raise InputError('this tokenizer has no head; it gives no image embedding.')
        self.check_images(images)
        return self._pool(Pass(self, images))

    @torch.no_grad()
    def pool_regions(self, last: Tensor, masks: Sequence[Tensor]) -> list[Tensor]:
        """Pool single regions by the head: `last` of a TokenizerOutput, B masks [M,H,W] -> B tensors [M,E]."""
        read = self.vocabularies[self.head.reads] if self.head.reads else None
        grid = need_grid(read.feature_layout, 'pooling of regions').map_shape if read else None
        return self.head.pool_regions(last, masks, self.encoders[self.head.encoder], grid)

    def pool_text(self, texts: str | Sequence[str] | Tensor, truncate: bool = True) -> Tensor:
        """Strings or ids [T,L] -> pooled embedding [T,E], not normalised."""
        if self.text is None:
            raise InputError('this tokenizer has no text tower; it gives no text embedding.')
        return self._pool_ids(self.text.ids(texts, truncate))

    def embed_image(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] -> L2-normalised embedding [B,E]."""
        return F.normalize(self.pool_image(images), dim=-1)

    def embed_text(self, texts: str | Sequence[str] | Tensor, truncate: bool = True) -> Tensor:
        """Strings or ids [T,L] -> L2-normalised embedding [T,E]."""
        return F.normalize(self.pool_text(texts, truncate), dim=-1)
