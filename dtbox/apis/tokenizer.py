"""The Python API: a trained tokenizer for images in, codes, features, embeddings and images out.

Legend: B batch, N tokens, D width, Q codes per token, E joint width, T texts.
"""
from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union

import torch
from PIL import Image
from torch import Tensor

from dtbox.apis.pretrained import open_pretrained, save_pretrained
from dtbox.datasets import collate, read_image
from dtbox.errors import InputError
from dtbox.layout import CodeLayout, CodeOrder
from dtbox.layout.codes import STREAMS
from dtbox.registry import TRANSFORMS
from dtbox.tokenizers.visual import VisualTokenizer
from dtbox.training.preprocess import prepare

Images = Union[Tensor, Image.Image, str, os.PathLike, Sequence]
"""A tensor [B,3,H,W] in [-1,1] or a list of [3,H,W]; a PIL image, a path, or a list of PIL images and paths."""


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
        image_size: (height, width) in pixels.
        vocabularies: names of the vocabularies.
        streams: names that codes go by: those of the vocabularies, or of the quantizer that several share.
    """

    def __init__(self, model: VisualTokenizer, pipeline: Sequence[dict], config: dict | None = None) -> None:
        self.model, self.config = model, config
        self.pipeline = [TRANSFORMS.build(step, where=f'pipeline.{i}') for i, step in enumerate(pipeline)]
        self.image_size = model.image_size
        self.vocabularies, self.streams = list(model.vocabularies), list(model.streams)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write config.json, model.safetensors and tokenizer.json into a new folder; see `dtbox.apis.pretrained`."""
        save_pretrained(self, folder)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, **kwargs: Any) -> Tokenizer:
        """Open a folder that `save_pretrained` wrote; takes `device`, `dtype` and `plugins` as `dtbox.load` does."""
        return cls(*open_pretrained(folder, **kwargs))

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
        if isinstance(images, (list, tuple)) and images and all(isinstance(image, Tensor) for image in images):
            if len({image.shape for image in images}) > 1:
                raise InputError(f'the tensors in the list have the shapes {sorted({tuple(i.shape) for i in images})}; '
                                 'expected [3,H,W] each.')
            images = torch.stack(list(images))
        if isinstance(images, Tensor):
            self.model.check_images(images)
            check_range(images)
            return images.to(self.device, self.dtype)
        if isinstance(images, (str, os.PathLike, Image.Image)):
            images = [images]
        if not isinstance(images, (list, tuple)):
            raise InputError(f'images are {type(images).__name__}; expected a tensor [B,3,H,W], a PIL image, a path, '
                             'or a list of these.')
        if not images:
            raise InputError('the batch is empty; expected at least one image.')
        items = []
        for image in images:
            if not isinstance(image, (str, os.PathLike, Image.Image)):
                raise InputError(f'a list of images holds a {type(image).__name__}; expected PIL images or paths, or '
                                 'tensors [3,H,W] alone.')
            results = dict(image=read_image(image))
            for step in self.pipeline:
                results = step(results)
            items.append(results)
        return prepare(collate(items), self.device).images.to(self.dtype)

    def __repr__(self) -> str:
        height, width = self.image_size
        books = ', '.join(f'{stream.name}: {" x ".join(f"{size:,}" for size in stream.sizes) or "no"} codes'
                          for stream in self.layout.streams)
        dtype = str(self.dtype).split('.')[-1]
        return f'Tokenizer({height} x {width} pixels; {books or "no vocabularies"}; {self.device}, {dtype})'

    @torch.no_grad()
    def encode(self, images: Images, vocabularies: str | Iterable[str] | None = None) -> dict[str, Tensor]:
        """Images -> stream -> codes [B,N,Q] int64.

        A stream bears the name of its vocabulary, or of the quantizer that several vocabularies share.

        Args:
            images: see the class.
            vocabularies: names; None for all. No block runs after the last one that they need.
        """
        return self.model.encode(self.prepare(images), vocabularies)

    @torch.no_grad()
    def decode(self, codes: Mapping[str, Any], clamp: bool = True) -> Tensor:
        """Codes -> images [B,3,H,W].

        Args:
            codes: stream -> [B,N,Q] integers, as `encode` names them; those that the decoder reads.
            clamp: clamp to [-1, 1]; otherwise as the decoder returns it.

        Raises:
            InputError: missing vocabularies, wrong shapes, codes out of range.
        """
        images = self.model.decode(self._read_codes(codes))
        return images.clamp(-1, 1) if clamp else images

    @torch.no_grad()
    def features(self, codes: Mapping[str, Any]) -> dict[str, Tensor]:
        """Codes -> vocabulary -> features [B,N,D] after the post-projection, as decoder and trunk read them."""
        return self.model.features(self._read_codes(codes))

    @torch.no_grad()
    def reconstruct(self, images: Images, clamp: bool = True) -> Tensor:
        """Images -> their reconstructions [B,3,H,W] from codes."""
        return self.decode(self.encode(images, self.model.reads), clamp)

    @torch.no_grad()
    def embed_image(self, images: Images) -> Tensor:
        """Images -> embeddings [B,E], L2-normalised, from the quantized semantic tokens."""
        return self.model.embed_image(self.prepare(images))

    @torch.no_grad()
    def embed_text(self, texts: str | Sequence[str] | Tensor, truncate: bool = False) -> Tensor:
        """Texts -> embeddings [T,E], L2-normalised.

        Args:
            texts: a string, a list of strings, or token ids [T,L] int64.
            truncate: cut texts that are longer than the tower reads; otherwise they are an `InputError`.
        """
        if isinstance(texts, str):
            texts = [texts]
        if not len(texts):
            raise InputError('there are no texts; expected at least one.')
        return self.model.embed_text(texts, truncate)

    def _read_codes(self, codes: Mapping[str, Any]) -> dict[str, Tensor]:
        """Codes of any accepted kind -> int64 tensors on the model's device."""
        if not isinstance(codes, dict):
            raise InputError(f'codes are {type(codes).__name__}; expected a dict vocabulary -> int64 [B,N,Q] as '
                             '`encode` returns.')
        values = {name: torch.as_tensor(value).to(self.device) for name, value in codes.items()}
        sizes = {name: len(value) if value.ndim else 0 for name, value in values.items()}
        if len(set(sizes.values())) > 1:
            raise InputError(f'the codes are of batches of different sizes: {sizes}. Hand in the codes of the same '
                             'images.')
        return {name: value if value.is_floating_point() else value.long() for name, value in values.items()}

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

    def flat_ids(self, codes: Mapping[str, Any], order: CodeOrder = STREAMS) -> Tensor:
        """Codes -> ids [B,L] int64 in [0, flat_size).

        Args:
            codes: stream -> [B,N,Q], of all streams or some.
            order: how the codes follow one another; stream after stream, token by token, depth fastest.

        Raises:
            InputError: no codes, unknown names, other shapes, codes out of range.
        """
        codes = self._read_codes(codes)
        self.model.streams.check_names(codes)
        return self.layout.flat_ids(codes, order)

    def from_flat_ids(self, ids: Any, vocabularies: str | Iterable[str] | None = None,
                      order: CodeOrder = STREAMS) -> dict[str, Tensor]:
        """Ids [B,L] as `flat_ids` gives them -> stream -> codes [B,N,Q].

        Args:
            ids: int64.
            vocabularies: names that the ids hold; None for all.
            order: the one that the ids were made with.

        Raises:
            InputError: a length that does not fit, or an id outside its stream and depth.
        """
        names = self.model.check_streams(vocabularies)
        return self.layout.from_flat_ids(torch.as_tensor(ids).to(self.device), names, order)


def check_range(images: Tensor) -> None:
    """Raise `InputError` unless images are finite and roughly in [-1, 1], up to what a decoder may overshoot."""
    if not images.numel():
        return
    low, high = images.min().item(), images.max().item()
    if not -2 <= low <= high <= 2:
        values = 'NaN or infinite' if not math.isfinite(low + high) else f'from {low:g} to {high:g}'
        raise InputError(f'the images have values that are {values}; expected them in [-1, 1], as x / 127.5 - 1 gives '
                         'of bytes.')
