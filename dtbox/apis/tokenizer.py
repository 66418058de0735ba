"""The Python API: a trained tokenizer for images in, codes, features, embeddings and images out.

Legend: B batch, N tokens, D width, Q codes per token, E joint width, T texts.
"""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dtbox.apis.building import check_pipeline
from dtbox.apis.images import Images, prepare_images
from dtbox.apis.opening import TOKENIZER
from dtbox.apis.pretrained import open_pretrained, save_pretrained
from dtbox.apis.stream_values import check_kinds, place_values
from dtbox.arguments import (
    allow_none,
    read_arguments,
    read_codes,
    read_count,
    read_flag,
    read_kind,
    read_names,
    read_path,
    read_streams,
    read_texts,
    read_whole,
    refuse,
)
from dtbox.counts import format_count
from dtbox.errors import InputError, at
from dtbox.layout import CodeLayout, CodeOrder
from dtbox.layout.codes import STREAMS
from dtbox.registry import TRANSFORMS
from dtbox.tokenizers.visual import VisualTokenizer
from dtbox.waiting import watch_neighbours


def _read_config(value: Any) -> dict:
    if not isinstance(value, dict) or value.keys() != {'tokenizer', 'pipeline'}:
        raise refuse(value, 'a dict with `tokenizer` and `pipeline`')
    return value


def _read_guidance(value: Any) -> Any:
    return value if isinstance(value, Tensor) and value.is_floating_point() else read_texts(value)


class Tokenizer:
    """A trained tokenizer; `dtbox.load` makes one.

    Images are as in `Images`: tensors have the model's size; PIL images and files are prepared by the model's own
    evaluation transform. Results live on the model's device.

    Args:
        model: in evaluation mode.
        pipeline: configs of the evaluation transform.
        config: dict(tokenizer, pipeline) that it was built from, as `save_pretrained` writes it; None where that is not
            known.

    Attributes:
        use: what a run of it opens as, see `dtbox.apis.opening.find_use`.
        image_size: (height, width) in pixels.
        vocabularies: names of the vocabularies.
        streams: names that codes go by: those of the vocabularies, or of the quantizer that several share.
    """

    use = TOKENIZER

    @read_arguments(model=read_kind(VisualTokenizer), config=allow_none(_read_config))
    def __init__(self, model: VisualTokenizer, pipeline: Sequence[dict], config: dict | None = None) -> None:
        self.model, self.config = model, config
        steps = check_pipeline(pipeline, 'pipeline')
        self.pipeline = [TRANSFORMS.build(step, where=f'pipeline.{i}') for i, step in enumerate(steps)]
        self.image_size = model.image_size
        self.vocabularies, self.streams = list(model.vocabularies), list(model.streams)
        watch_neighbours()

    @read_arguments(folder=read_path)
    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write config.json, model.safetensors and tokenizer.json into a new folder; see `dtbox.apis.pretrained`."""
        save_pretrained(self, folder)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, device: str | torch.device = 'cpu',
                        dtype: str | torch.dtype = 'float32', plugins: str | Sequence[str] = (),
                        revision: str | None = None) -> Tokenizer:
        """Open a folder that `save_pretrained` wrote, here or on the Hugging Face hub.

        Args:
            folder: local folder, or OWNER/NAME on the hub.
            device, dtype, plugins: as in `dtbox.load`.
            revision: branch, tag or commit on the hub.
        """
        return cls(*open_pretrained(folder, device, dtype, plugins, revision))

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Float type of the weights."""
        return next(self.model.parameters()).dtype

    def prepare(self, images: Images) -> Tensor:
        """Images of any accepted kind -> tensor [B,3,H,W] in [-1,1] on the model's device, in its dtype.

        Raises:
            InputError: an empty batch, a wrong shape, a file that is missing or is not an image.
        """
        with at('images'):
            return prepare_images(images, self.model, self.pipeline)

    def __repr__(self) -> str:
        height, width = self.image_size
        books = ', '.join(f'{name}: ' + (f'{" x ".join(f"{size:,}" for size in stream.sizes)} codes' if stream.sizes
                                         else f'no codes, latents of {format_count(stream.quantizer.dim, "channel")}')
                          for name, stream in self.model.streams.items())
        dtype = str(self.dtype).split('.')[-1]
        return f'Tokenizer({height} x {width} pixels; {books or "no vocabularies"}; {self.device}, {dtype})'

    @torch.no_grad()
    @read_arguments(vocabularies=allow_none(read_names))
    def encode(self, images: Images, vocabularies: str | Iterable[str] | None = None) -> dict[str, Tensor]:
        """Images -> stream -> codes [B,N,Q] int64; of a continuous stream latents [B,N,C], floats.

        A stream bears the name of its vocabulary, or of the quantizer that several vocabularies share.

        Args:
            images: see the class.
            vocabularies: names; None for all that have codes, or for all where none has. No block runs
                after the last one that they need.
        """
        with at('vocabularies'):
            self.model.check_streams(vocabularies)
        return self.model.encode(self.prepare(images), vocabularies)

    @torch.no_grad()
    @read_arguments(codes=read_streams, clamp=read_flag, texts=allow_none(_read_guidance),
                    scales=allow_none(read_count()))
    def decode(self, codes: Mapping[str, Any], clamp: bool = True,
               texts: str | Sequence[str] | Tensor | None = None, scales: int | None = None) -> Tensor:
        """Codes -> images [B,3,H,W].

        Args:
            codes: stream -> [B,N,Q] integers, or latents [B,N,C], as `encode` gives them; those that the decoder reads.
            clamp: clamp to [-1, 1]; otherwise as the decoder returns it.
            texts: one for each image, where texts guide the decoder (TA-TiTok), or their tokens [B,L,W].
            scales: of codes on several scales, how many are read, coarse to fine; `codes` may end there.

        Raises:
            InputError: missing vocabularies, wrong shapes, codes out of range.
        """
        with at('codes'):
            images = self.model.decode(place_values(check_kinds(codes, self.model), self.model), texts, scales)
        return images.clamp(-1, 1) if clamp else images

    @torch.no_grad()
    @read_arguments(codes=read_streams, scales=allow_none(read_count()))
    def features(self, codes: Mapping[str, Any], scales: int | None = None) -> dict[str, Tensor]:
        """Codes -> vocabulary -> features [B,N,D] after the post-projection, as decoder and trunk read them; `scales`
        as in `decode`."""
        with at('codes'):
            return self.model.features(place_values(check_kinds(codes, self.model), self.model), scales)

    @torch.no_grad()
    @read_arguments(clamp=read_flag)
    def reconstruct(self, images: Images, clamp: bool = True,
                    texts: str | Sequence[str] | Tensor | None = None) -> Tensor:
        """Images -> their reconstructions [B,3,H,W] from codes, or from latents of continuous streams; `texts` as for
        `decode`."""
        return self.decode(self.encode(images, self.model.reads), clamp, texts)

    @torch.no_grad()
    def embed_image(self, images: Images) -> Tensor:
        """Images -> embeddings [B,E], L2-normalised, from the quantized semantic tokens."""
        return self.model.embed_image(self.prepare(images))

    @torch.no_grad()
    @read_arguments(texts=read_texts, truncate=read_flag)
    def embed_text(self, texts: str | Sequence[str] | Tensor, truncate: bool = False) -> Tensor:
        """Texts -> embeddings [T,E], L2-normalised.

        Args:
            texts: a string, a list of strings, or token ids [T,L] int64.
            truncate: cut texts that are longer than the tower reads; otherwise they are an `InputError`.
        """
        with at('texts'):
            if not isinstance(texts, Tensor) and not texts or isinstance(texts, Tensor) and not texts.numel():
                raise InputError('there are no texts; expected at least one.')
            return self.model.embed_text(texts, truncate)

    # ---- one id space, for language models --------------------------------------------------------------------------

    @property
    def layout(self) -> CodeLayout:
        """The streams of codes: where their tokens lie, sizes of codebooks, flat ids and their orders."""
        return self.model.layout

    @property
    def offsets(self) -> dict[str, list[int]]:
        """Stream -> first flat id of each depth."""
        return self.layout.offsets

    @property
    def flat_size(self) -> int:
        """Number of flat ids: the sum of all codebook sizes over streams and depths, a shared one counted once."""
        return self.layout.flat_size

    @read_arguments(codes=read_codes, order=read_kind(CodeOrder))
    def flat_ids(self, codes: Mapping[str, Any], order: CodeOrder = STREAMS) -> Tensor:
        """Codes -> ids [B,L] int64 in [0, flat_size).

        Args:
            codes: stream -> [B,N,Q], of all streams or some.
            order: how the codes follow one another; stream after stream, token by token, depth fastest.

        Raises:
            InputError: no codes, unknown names, other shapes, codes out of range.
        """
        with at('codes'):
            codes = place_values(codes, self.model)
            self.model.streams.check_names(codes)
        return self.layout.flat_ids(codes, order)

    @read_arguments(ids=read_whole, vocabularies=allow_none(read_names), order=read_kind(CodeOrder))
    def from_flat_ids(self, ids: Any, vocabularies: str | Iterable[str] | None = None,
                      order: CodeOrder = STREAMS) -> dict[str, Tensor]:
        """Ids [B,L] as `flat_ids` gives them -> stream -> codes [B,N,Q].

        Args:
            ids: int64.
            vocabularies: names that the ids hold; None for all.
            order: the one that the ids were made with.

        Raises:
            InputError: a length that does not fit, ids that are not this tokenizer's, or not at this place.
        """
        with at('vocabularies'):
            names = self.model.check_streams(vocabularies)
        return self.layout.from_flat_ids(ids.to(self.device), names, order)
