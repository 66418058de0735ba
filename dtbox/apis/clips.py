"""Images and clips of any size through a tokenizer whose encoder and decoder read clips (AToken).

Legend: T frames, t, h, w latent frames, rows and columns, N = t h w tokens, Q codes per token, E joint width.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.apis.building import read_tokenizer
from dtbox.apis.images import check_range
from dtbox.arguments import allow_none, read_arguments, read_flag, read_floats, read_kind, read_names
from dtbox.encoders.base import NORM
from dtbox.errors import InputError, at
from dtbox.layout import Video


@dataclass(frozen=True)
class ClipCodes:
    """A clip, or an image, as codes.

    Attributes:
        streams: stream -> codes [1,N,Q] int64, or latents [1,N,C].
        layout: where the N tokens lie.
        frames: how many frames decoding gives: 1 for an image.
    """
    streams: dict[str, Tensor]
    layout: Video
    frames: int


def _check_parts(tokenizer: Any) -> tuple[Any, Any]:
    """Return (name of the encoder, encoder); `InputError` where a tokenizer does not read clips."""
    encoders = list(tokenizer.model.encoders.items())
    if len(encoders) != 1 or not hasattr(encoders[0][1], 'run_clip'):
        raise InputError(f'{", ".join(type(e).__name__ for _, e in encoders)} reads images of one size and no clips. '
                         'Take a tokenizer with an ATokenEncoder.')
    return encoders[0]


def _run(tokenizer: Any, frames: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
    """frames [T,3,H,W], or an image [3,H,W], in [-1,1] -> tokens [1,N,D] after the last block, and (t, h, w)."""
    _, encoder = _check_parts(tokenizer)
    frames = frames[None] if frames.ndim == 3 else frames
    check_range(frames)
    return encoder.run_clip(frames.to(tokenizer.device, tokenizer.dtype))


@torch.no_grad()
@read_arguments(tokenizer=read_tokenizer, frames=read_floats, vocabularies=allow_none(read_names))
def encode_clip(tokenizer: Any, frames: Tensor, vocabularies: Iterable[str] | None = None) -> ClipCodes:
    """Encode a clip, or an image, of any size.

    Args:
        tokenizer: Tokenizer whose vocabularies tap the norm after its encoder's last block.
        frames: [T,3,H,W], or an image [3,H,W], in [-1,1]; see `ATokenEncoder.run_clip` for sizes that are not whole
            patches.
        vocabularies: names; None for all.

    Raises:
        InputError: a tokenizer that does not read clips, or frames of another shape.
    """
    name, encoder = _check_parts(tokenizer)
    with at('vocabularies'):
        streams = tokenizer.model.check_streams(vocabularies)
    tokens, shape = _run(tokenizer, frames)
    count, patch = (1 if frames.ndim == 3 else len(frames)), encoder.patch[0]
    codes = {}
    for stream in (tokenizer.model.streams[stream] for stream in streams):
        taps = {n: v.taps for n, v in stream.vocabularies.items()}
        if any(tap != (name, NORM) for tapped in taps.values() for tap in tapped):
            raise InputError(f'`{stream.name}` taps {taps}; clips are read after the last norm alone.')
        codes[stream.name] = stream.encode({n: [encoder.normalize(tokens)] * len(tapped) for n, tapped in taps.items()})
    return ClipCodes(codes, Video(*shape), count if count < patch else count // patch * patch)


@torch.no_grad()
@read_arguments(tokenizer=read_tokenizer, clip=read_kind(ClipCodes), clamp=read_flag)
def decode_clip(tokenizer: Any, clip: ClipCodes, clamp: bool = True) -> Tensor:
    """Codes of a clip -> its frames [T,3,H,W]; one frame of an image.

    Args:
        tokenizer: Tokenizer that encoded it.
        clip: as `encode_clip` gives it.
        clamp: clamp to [-1, 1].

    Raises:
        InputError: a decoder that does not make clips, streams that it reads and that are missing.
    """
    model = tokenizer.model
    if not hasattr(model.decoder, 'decode_clip'):
        raise InputError(f'{type(model.decoder).__name__} makes images of one size and no clips. Take a tokenizer '
                         'with an ATokenDecoder.')
    features = []
    for name in model.reads:
        stream, vocabulary = model.find_stream(name), model.vocabularies[name]
        if stream.name not in clip.streams:
            raise InputError(f'decoding needs the codes of {stream.name}; got {", ".join(clip.streams) or "none"}.')
        codes = clip.streams[stream.name].to(tokenizer.device)
        clip.layout.check_tokens(codes)
        values = vocabulary.quantizer.decode(codes)[..., vocabulary.channels]
        features.append(vocabulary.post_projection(values.to(tokenizer.dtype)))
    frames = model.decoder.decode_clip(torch.cat(features, -1), clip.layout.map_shape)[:clip.frames]
    return frames.clamp(-1, 1) if clamp else frames


@torch.no_grad()
@read_arguments(tokenizer=read_tokenizer, frames=read_floats)
def embed_clip(tokenizer: Any, frames: Tensor) -> Tensor:
    """Clip [T,3,H,W], or image [3,H,W], in [-1,1] -> embedding [E] of all tokens before quantization, L2-normalised."""
    tokens, _ = _run(tokenizer, frames)
    return F.normalize(_check_parts(tokenizer)[1].pool(tokens)[0], dim=-1)
