"""A tokenizer that gives an image the same codes wherever and with whatever other images it is encoded.

Kernels sum in another order for another shape, another number of threads or other addresses of the weights, and a code
is the nearest of many: last bits decide. So all batches have one shape, the last one padded; a CPU computes on one
thread; weights lie at multiples of 64 bytes. The rule is part of the fingerprint.

Legend: B batch, N positions of an image, Q codes of a position, E width of the embedding.
"""
from __future__ import annotations

import importlib.metadata
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.apis.building import cast, parse_dtype
from dtbox.apis.loading import load
from dtbox.arguments import read_device
from dtbox.checksums import hash_tensors
from dtbox.errors import InputError, at
from dtbox.layout import CodeLayout
from dtbox.structures import Batch
from dtbox.token_shards.fingerprint import Fingerprint, hash_json, name_device
from dtbox.token_shards.format import ShardMeta, make_streams
from dtbox.tokens.jpeg import DECODERS, GpuJpeg
from dtbox.tokens.views import View, ViewRule
from dtbox.training.preprocess import prepare

ALIGNMENT = 64
"""Bytes: the width of a cache line, and of the widest registers of CPUs."""
BATCH = 32
"""Images of a batch."""
NORMALISATION = 'uint8 / 127.5 - 1'
"""How pixels become floats, see `prepare`."""
PACKAGES = ('torch', 'numpy', 'pillow', 'pyarrow')
"""Packages whose versions a shard names."""


@dataclass(frozen=True)
class Settings:
    """How images are encoded. It can be pickled.

    Attributes:
        run: what `dtbox.load` opens.
        checkpoint, plugins, trusted: see `dtbox.load`; `trusted` is its `trust_remote_code`.
        device, dtype: where and in which float type the model computes.
        vocabularies: names; () for all that have codes.
        views: ViewRule.
        embedding: also keep the embedding of each image.
        batch: images of a batch.
        decoders: threads that decode and resize beside the model; 0 does it in turn with the model.
        jpeg: where JPEG files are decoded, one of `DECODERS`.
    """
    run: str
    checkpoint: Optional[str] = None
    plugins: Sequence[str] = ()
    trusted: bool = False
    device: str = 'cpu'
    dtype: str = 'float32'
    vocabularies: Sequence[str] = ()
    views: ViewRule = ViewRule()
    embedding: bool = False
    batch: int = BATCH
    decoders: int = 0
    jpeg: str = 'cpu'


class Encoder:
    """A tokenizer under the rule of batches.

    Args:
        settings: Settings.
        compute: False for one that is only asked what it is: its weights stay where and as they were read.

    Attributes:
        tokenizer: as `dtbox.load` opened it.
        meta: `ShardMeta` of the shards, its `source` left empty.
        is_gpu: whether the model computes on a GPU.
        decode: decoder of the files of images; None for Pillow.

    Raises:
        InputError: a run that cannot be opened, one without vocabularies, names or a device that are not there.
    """

    def __init__(self, settings: Settings, compute: bool = True) -> None:
        if type(settings.batch) is not int or settings.batch < 1:
            raise InputError(f'got {settings.batch!r}; expected a whole number of at least 1.', '--batch')
        self.settings = settings
        opened: Any = load(settings.run, settings.checkpoint, plugins=list(settings.plugins),
                      trust_remote_code=settings.trusted)
        self.tokenizer = getattr(opened, 'tokenizer', opened)
        self.model = self.tokenizer.model
        self.device = torch.device(read_device(settings.device))
        self.is_gpu = self.device.type != 'cpu'
        self.decode = self._choose_decoder(settings.jpeg)
        self.streams = self._choose_streams(settings)
        weights = hash_tensors(self.model.state_dict())
        dtype = parse_dtype(settings.dtype)
        if compute:
            self.model = cast(self.model, dtype).to(self.device)
            align_tensors(self.model)
        self.meta = self._describe(weights)

    @property
    def fingerprint(self) -> Fingerprint:
        """What the codes depend on."""
        return self.meta.fingerprint

    def _choose_decoder(self, jpeg: str) -> Optional[GpuJpeg]:
        if jpeg not in DECODERS:
            raise InputError(f"got {jpeg!r}; expected 'cpu' or 'gpu'.", '--jpeg')
        if jpeg == 'cpu':
            return None
        if self.device.type != 'cuda':
            raise InputError('it needs a GPU: --device cuda. Give that, or leave --jpeg out.', '--jpeg')
        return GpuJpeg(self.device)

    def _choose_streams(self, settings: Settings) -> list[str]:
        coded = [stream.name for stream in self.tokenizer.layout.streams if stream.has_codes]
        if not coded:
            raise InputError(f'{settings.run} has no vocabularies with codes, so there is nothing to store. Take a '
                             'tokenizer whose vocabularies have a quantizer.', 'RUN')
        if not settings.vocabularies:
            return coded
        with at('--vocabularies'):
            names = self.model.check_streams(settings.vocabularies)
            self.model.streams.need_codes(names)
        return names

    def _describe(self, weights: str) -> ShardMeta:
        settings, config = self.settings, self.tokenizer.config
        if config is None:
            raise InputError(f'{settings.run} does not say which config its tokenizer was built from. Save it anew.',
                             'RUN')
        with at('--embedding'):
            width = self._measure_embedding() if settings.embedding else None
        pipeline = dict(steps=config['pipeline'], size=list(self.tokenizer.image_size), pixels=NORMALISATION,
                        views=settings.views.to_dict(), streams=self.streams, embedding=width)
        if self.decode is not None:
            pipeline['jpeg'] = 'nvjpeg'
        threads = 'gpu' if self.is_gpu else 1
        fingerprint = Fingerprint(
            weights, hash_json(config['tokenizer']), hash_json(pipeline), settings.dtype, name_device(self.device),
            f'batch={settings.batch},padded,threads={threads},aligned={ALIGNMENT}')
        layout = CodeLayout(tuple(self.tokenizer.layout.stream(name) for name in self.streams))
        versions = {name: importlib.metadata.version(name) for name in PACKAGES}
        return ShardMeta(fingerprint, make_streams(layout), layout.to_dict(), '', versions, width)

    def _measure_embedding(self) -> int:
        if self.model.head is None:
            raise InputError(f'{self.settings.run} has no head, and so no embeddings. Leave it out.')
        return int(self.model.head.pooled_dim)

    def transform(self, view: View) -> Tensor:
        """Return a view as the tokenizer's transform makes it, [3, H, W]; `InputError` where it cannot."""
        results: dict[str, Any] = dict(image=view.image)
        for step in self.tokenizer.pipeline:
            results = step(results)
        return results['image']

    @torch.no_grad()
    def start(self, images: Sequence[Tensor], places: Sequence[int] | None = None) -> dict[str, Tensor]:
        """Encode at most B images; returns what `finish` takes. On a GPU the result may still be on its way.

        Args:
            images: as `transform` returns them; what lacks to B is filled with zeros.
            places: of the images in the batch; None takes the first ones.
        """
        whole = torch.zeros(self.settings.batch, *images[0].shape, dtype=images[0].dtype, pin_memory=self.is_gpu)
        rows = list(range(len(images)) if places is None else places)
        for place, image in zip(rows, images):
            whole[place] = image
        if not self.is_gpu:
            torch.set_num_threads(1)  # a number of each thread of Python
        batch = prepare(Batch(images=whole), self.device).images.to(parse_dtype(self.settings.dtype))
        if not self.settings.embedding:
            return {name: codes[rows] for name, codes in self.model.encode(batch, self._names()).items()}
        out = self.model(batch, reconstruct=False, vocabularies=self._names())
        found = {name: out.codes[name][rows] for name in self.streams}
        return {**found, '': F.normalize(out.pooled.float(), dim=-1)[rows]}

    def _names(self) -> list[str]:
        return [name for stream in self.streams for name in self.model.streams[stream].vocabularies]

    def finish(self, found: dict[str, Tensor]) -> list[tuple[dict[str, np.ndarray], Optional[np.ndarray]]]:
        """Return (stream -> codes [N, Q], embedding [E] in float16 or None) of each image of a `start`."""
        arrays = {name: value.cpu().numpy() for name, value in found.items()}
        embeddings = arrays.pop('', None)
        return [({name: codes[i] for name, codes in arrays.items()},
                 None if embeddings is None else embeddings[i].astype(np.float16))
                for i in range(len(next(iter(arrays.values()))))]


def align_tensors(model: torch.nn.Module) -> None:
    """Copy parameters and buffers of the CPU that do not begin at a multiple of `ALIGNMENT` bytes to a place that does:
    weights of a file may lie anywhere."""
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        if tensor.device.type == 'cpu' and tensor.data_ptr() % ALIGNMENT and tensor.numel():
            tensor.data = make_aligned(tensor.data)


def make_aligned(tensor: Tensor) -> Tensor:
    """Return a contiguous copy of a tensor whose storage begins at a multiple of `ALIGNMENT` bytes."""
    size = tensor.numel() * tensor.element_size()
    room = torch.empty(size + ALIGNMENT, dtype=torch.uint8)
    first = -room.data_ptr() % ALIGNMENT
    return room[first:first + size].view(tensor.dtype).view(tensor.shape).copy_(tensor)
