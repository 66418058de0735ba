"""The Python API: a trained tokenizer for images in, codes, features, embeddings and images out.

Legend: B batch, N tokens, D width, Q codes per token, E joint width, T texts.
"""
import math
import os

import torch
from PIL import Image

from dtbox.apis.pretrained import open_pretrained, save_pretrained
from dtbox.datasets import collate, read_image
from dtbox.errors import InputError
from dtbox.registry import TRANSFORMS
from dtbox.training.preprocess import prepare


class Tokenizer:
    """A trained tokenizer; `dtbox.load` makes one.

    Images are a tensor [B,3,H,W] in [-1,1] of the model's size (or a list of [3,H,W]), a PIL image, a path, or a list of PIL images and
    paths; the latter are prepared by the model's own evaluation transform. Results live on the model's device.

    Args:
        model: VisualTokenizer in evaluation mode.
        pipeline: configs of the evaluation transform.
        config: dict(tokenizer, pipeline) that it was built from, as `save_pretrained` writes it; None where that is not known.

    Attributes:
        image_size: (height, width) in pixels.
        vocabularies: names of the vocabularies.
        streams: names that codes go by: those of the vocabularies, or of the quantizer that several share.
    """

    def __init__(self, model, pipeline, config=None):
        self.model, self.config = model, config
        self.pipeline = [TRANSFORMS.build(step, where=f'pipeline.{i}') for i, step in enumerate(pipeline)]
        self.image_size = model.image_size
        self.vocabularies, self.streams = list(model.vocabularies), list(model.streams)

    def save_pretrained(self, folder):
        """Write config.json, model.safetensors and tokenizer.json into a new folder; see `dtbox.apis.pretrained`."""
        save_pretrained(self, folder)

    @classmethod
    def from_pretrained(cls, folder, **kwargs):
        """Open a folder that `save_pretrained` wrote; takes `device`, `dtype` and `plugins` as `dtbox.load` does."""
        return cls(*open_pretrained(folder, **kwargs))

    @property
    def device(self):
        """Device of the weights."""
        return next(self.model.parameters()).device

    @property
    def dtype(self):
        """Float type of the weights."""
        return next(self.model.parameters()).dtype

    def prepare(self, images):
        """Images of any accepted kind -> tensor [B,3,H,W] in [-1,1] on the model's device, in its dtype.

        Raises:
            InputError: an empty batch, a wrong shape, a file that is missing or no image.
        """
        if isinstance(images, (list, tuple)) and images and all(isinstance(image, torch.Tensor) for image in images):
            if len({image.shape for image in images}) > 1:
                raise InputError(f'the tensors in the list have the shapes {sorted({tuple(i.shape) for i in images})}; expected [3,H,W] each.')
            images = torch.stack(list(images))
        if isinstance(images, torch.Tensor):
            self.model.check_images(images)
            check_range(images)
            return images.to(self.device, self.dtype)
        if isinstance(images, (str, os.PathLike, Image.Image)):
            images = [images]
        if not isinstance(images, (list, tuple)):
            raise InputError(f'images are {type(images).__name__}; expected a tensor [B,3,H,W], a PIL image, a path, or a list of these.')
        if not images:
            raise InputError('the batch is empty; expected at least one image.')
        items = []
        for image in images:
            if not isinstance(image, (str, os.PathLike, Image.Image)):
                raise InputError(f'a list of images holds a {type(image).__name__}; expected PIL images or paths, or tensors [3,H,W] alone.')
            results = dict(image=read_image(image))
            for step in self.pipeline:
                results = step(results)
            items.append(results)
        return prepare(collate(items), self.device).images.to(self.dtype)

    def __repr__(self):
        height, width = self.image_size
        books = {name: stream.sizes for name, stream in self.model.streams.items()}
        books = ', '.join(f'{name}: {" x ".join(f"{size:,}" for size in sizes)} codes' for name, sizes in books.items())
        return f'Tokenizer({height} x {width} pixels; {books or "no vocabularies"}; {self.device}, {str(self.dtype).split(".")[-1]})'

    @torch.no_grad()
    def encode(self, images, vocabularies=None):
        """Images -> dict vocabulary -> codes [B,N,Q] int64; vocabularies that share a quantizer have one entry, under its name.

        Args:
            images: see the class.
            vocabularies: names; None for all. No block behind the last one that they need is run.
        """
        return self.model.encode(self.prepare(images), vocabularies)

    @torch.no_grad()
    def decode(self, codes, clamp=True):
        """Codes -> images [B,3,H,W].

        Args:
            codes: dict vocabulary -> [B,N,Q] int64, as `encode` names them; those that the decoder reads.
            clamp: cut to [-1, 1]; otherwise as the decoder gave it.

        Raises:
            InputError: missing vocabularies, wrong shapes, codes out of range.
        """
        images = self.model.decode(self._codes(codes))
        return images.clamp(-1, 1) if clamp else images

    @torch.no_grad()
    def features(self, codes):
        """Codes -> dict vocabulary -> features [B,N,D] behind the post-projection, as decoder, trunk and language models read them."""
        return self.model.features(self._codes(codes))

    @torch.no_grad()
    def reconstruct(self, images, clamp=True):
        """Images -> their reconstructions [B,3,H,W], by way of the codes."""
        return self.decode(self.encode(images, self.model.reads), clamp)

    @torch.no_grad()
    def embed_image(self, images):
        """Images -> embeddings [B,E], L2-normalised, from the quantized semantic tokens."""
        return self.model.embed_image(self.prepare(images))

    @torch.no_grad()
    def embed_text(self, texts, truncate=False):
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

    def _codes(self, codes):
        if not isinstance(codes, dict):
            raise InputError(f'codes are {type(codes).__name__}; expected a dict vocabulary -> int64 [B,N,Q] as `encode` returns.')
        found = {name: torch.as_tensor(value).to(self.device) for name, value in codes.items()}
        sizes = {name: len(value) if value.ndim else 0 for name, value in found.items()}
        if len(set(sizes.values())) > 1:
            raise InputError(f'the codes are of batches of different sizes: {sizes}. Hand in the codes of the same images.')
        return {name: value if value.is_floating_point() else value.long() for name, value in found.items()}

    # ---- one id space, for language models --------------------------------------------------------------------

    @property
    def offsets(self):
        """dict vocabulary -> first flat id of each depth; vocabularies that share a quantizer have one entry, under its name."""
        table, start = {}, 0
        for name, stream in self.model.streams.items():
            sizes = stream.sizes
            table[name] = [start + sum(sizes[:d]) for d in range(len(sizes))]
            start += sum(sizes)
        return table

    @property
    def flat_size(self):
        """Number of flat ids: the sum of all codebook sizes over vocabularies and depths, a shared one counted once."""
        return sum(sum(stream.sizes) for stream in self.model.streams.values())

    def flat_ids(self, codes):
        """Codes -> ids [B, L] int64 in [0, flat_size): vocabulary after vocabulary, token by token, depth fastest.

        Args:
            codes: dict vocabulary -> [B,N,Q]; in the order of this tokenizer's vocabularies, whichever are there.
        """
        codes = self._codes(codes)
        if not codes:
            raise InputError('there are no codes; expected those of at least one vocabulary.')
        parts = []
        self.model.check_names(codes)
        for name in self._ordered(codes):
            self.model.streams[name].check(codes[name])
            offset = torch.tensor(self.offsets[name], device=self.device)
            parts.append((codes[name] + offset).flatten(1))
        return torch.cat(parts, 1)

    def from_flat_ids(self, ids, vocabularies=None):
        """Ids [B, L] as `flat_ids` gives them -> dict vocabulary -> codes [B,N,Q].

        Args:
            ids: int64.
            vocabularies: names that the ids hold; None for all.

        Raises:
            InputError: a length that does not fit, or an id outside its vocabulary and depth.
        """
        ids = torch.as_tensor(ids).to(self.device)
        names = self._ordered(self.model.check_streams(vocabularies))
        shapes = {n: (self.model.streams[n].tokens, len(self.offsets[n])) for n in names}
        length = sum(n * q for n, q in shapes.values())
        if ids.ndim != 2 or ids.shape[1] != length:
            raise InputError(f'ids have the shape {list(ids.shape)}; expected [B, {length}] for {", ".join(names)}.')
        codes, start = {}, 0
        for name in names:
            count, depth = shapes[name]
            part = ids[:, start:start + count * depth].view(-1, count, depth)
            codes[name] = part - torch.tensor(self.offsets[name], device=self.device)
            self.model.streams[name].check(codes[name])
            start += count * depth
        return codes

    def _ordered(self, names):
        return [n for n in self.streams if n in names]


def check_range(images):
    """Raise `InputError` unless images are finite and about in [-1, 1]; what a decoder overshoots is let through."""
    if not images.numel():
        return
    low, high = images.min().item(), images.max().item()
    if not -2 <= low <= high <= 2:
        many = 'NaN or infinite' if not math.isfinite(low + high) else f'from {low:g} to {high:g}'
        raise InputError(f'the images have values that are {many}; expected them in [-1, 1], as x / 127.5 - 1 gives of bytes.')
