"""Images from a part of the codes: the first depths, the first scales, without a stream; what the head reads of codes.

Legend: B batch, N tokens, Q codes per token, C code width, E joint width.
"""
from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.app.opened import Opened
from dtbox.errors import InputError
from dtbox.layout import Scales
from dtbox.structures import VocabularyOutput
from dtbox.tokenizers.guidance import run_decoder
from dtbox.tokenizers.passes import Pass
from dtbox.tokenizers.quantization import decode_codes


def need_decoder(opened: Opened) -> None:
    """Raise `InputError` where a run cannot turn codes into images."""
    if opened.tokenizer.model.decoder is None:
        raise InputError(f'{opened.name} has no decoder, so its codes give no image. Take a run whose config has a '
                         '`decoder`.')


def count_steps(opened: Opened) -> dict[str, tuple[str, int]]:
    """Return stream -> (what can be cut, how many there are), of the streams that the decoder reads: 'depths' of one
    grid or sequence of tokens, 'scales' of several; streams with one of them are left out."""
    model = opened.tokenizer.model
    found = {}
    for name in model.check_streams(model.reads):
        layout = model.streams[name].layout
        if isinstance(layout.token_layout, Scales):
            found[name] = 'scales', len(layout.token_layout.sizes)
        elif len(layout.sizes) > 1:
            found[name] = 'depths', len(layout.sizes)
    return found


def make_latents(opened: Opened, stream: str, codes: Tensor, depths: int | None = None,
                 scales: int | None = None) -> Tensor:
    """Codes [B,N,Q] of a stream (latents of a continuous one) -> what its quantizer decodes [B,N,C], of the first
    `depths` depths or `scales` scales where they are given."""
    found = opened.tokenizer.model.streams[stream]
    if depths is None or depths >= len(found.sizes):
        return decode_codes(found.quantizer, codes, found.layout.token_layout, scales)
    rows = [table.to(codes.device) for table in opened.rows(stream)]
    total = rows[0].new_zeros(*codes.shape[:2], rows[0].shape[1])
    for depth in range(depths):
        total = total + F.embedding(codes[..., depth], rows[depth])
    return total


@torch.no_grad()
def decode_part(opened: Opened, codes: Mapping[str, Tensor], cut: Mapping[str, int | None] | None = None,
                off: Collection[str] = ()) -> Tensor:
    """Decode a part of the codes.

    Args:
        opened: run.
        codes: stream -> codes [B,N,Q] or latents [B,N,C].
        cut: stream -> how many of its depths, or scales, are read; 0 reads none.
        off: streams that are not read: zeros stand for what their quantizers decode.

    Returns:
        images [B,3,H,W] in [-1,1].
    """
    need_decoder(opened)
    model, kinds = opened.tokenizer.model, count_steps(opened)
    parts = []
    for name in model.reads:
        stream, vocabulary = model.find_stream(name), model.vocabularies[name]
        wanted = (cut or {}).get(stream.name)
        how: dict[str, Any] = {kinds[stream.name][0]: wanted or None} if stream.name in kinds else {}
        values = make_latents(opened, stream.name, codes[stream.name], **how)
        if stream.name in off or wanted == 0:
            values = torch.zeros_like(values)
        parts.append(vocabulary.post_projection(values[..., vocabulary.channels].to(opened.tokenizer.dtype)))
    return run_decoder(model.decoder, model.text, torch.cat(parts, -1), None).clamp(-1, 1)


def need_head(opened: Opened) -> None:
    """Raise `InputError` where a run gives no embedding of an image."""
    if opened.tokenizer.model.head is None:
        raise InputError(f'{opened.name} has no head, so nothing reads its semantic codes. Take a run whose config has '
                         'a `head`.')


@torch.no_grad()
def embed_codes(opened: Opened, tensor: Tensor, codes: Mapping[str, Tensor]) -> Tensor:
    """Embed an image whose codes were changed: the features of the codes stand where those of the image would be.

    Args:
        opened: run.
        tensor: image [1,3,H,W] that the codes belong to; what no code stands for is read of it.
        codes: stream -> codes [1,N,Q].

    Returns:
        embedding [E], L2-normalised.
    """
    need_head(opened)
    model = opened.tokenizer.model
    run = Pass(model, tensor)
    for name, features in model.features(codes).items():
        run.outputs[name] = VocabularyOutput(features, features, codes[model.find_stream(name).name])
    head = model.head
    read = run.vocabulary(head.reads).features if head.reads else run.last(head.encoder)
    return F.normalize(head(read, model.encoders[head.encoder]).float(), dim=-1)[0]


def list_words(opened: Opened, embedding: Tensor, most: int = 5) -> list[tuple[str, float]]:
    """Return the words nearest to an embedding [E] with their cosines, nearest first; `InputError` where a run has no
    words."""
    words, vectors = opened.words
    cosines = embedding.float().cpu() @ vectors.cpu().T
    values, places = cosines.topk(min(most, len(words)))
    return [(words[i], float(value)) for value, i in zip(values, places.tolist())]
