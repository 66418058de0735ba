"""Encoding and decoding as graphs: torch.export programs (.pt2) and ONNX, with a free batch size.

Checks of values (finite features, codes in range) are not part of a graph; shapes are fixed except for the batch.

Legend: B batch, N tokens, Q codes per token, L tokens of a text, W their width.
"""
from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Union

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.apis.building import read_tokenizer
from dtbox.arguments import read_arguments, read_choice, read_path
from dtbox.checksums import compute_sha256
from dtbox.errors import InputError, need_package, reason
from dtbox.files import explain_writing, replacing_files, write_atomic
from dtbox.layout import StreamLayout
from dtbox.tokenizers.visual import VisualTokenizer

if TYPE_CHECKING:
    from dtbox.apis.tokenizer import Tokenizer


SUMS = 'SHA256SUMS'
"""File of an exported folder: what `sha256sum --check SHA256SUMS` compares its graphs with."""
TEXT_TOKENS = 'text_tokens'
"""Input of a decoder that texts guide."""


def name_tensor(stream: StreamLayout) -> str:
    """Return what an input or output of a graph is called: `codes_NAME`, or `latents_NAME` of a continuous stream."""
    return f'{"codes" if stream.has_codes else "latents"}_{stream.name}'


class Encode(nn.Module):
    """images [B,3,H,W] in [-1,1] -> codes [B,N,Q] of each stream that has codes, or, where none has, latents [B,N,C],
    in the order of `outputs`."""

    def __init__(self, model: VisualTokenizer) -> None:
        super().__init__()
        self.model, self.inputs = model, ['images']
        streams = model.layout.streams
        self.outputs = [name_tensor(s) for s in [s for s in streams if s.has_codes] or streams]

    def example(self, batch: int = 2) -> tuple[Tensor, ...]:
        """Return arguments of a call."""
        p = next(self.model.parameters())
        return (torch.rand(batch, 3, *self.model.image_size, dtype=p.dtype, device=p.device) * 2 - 1,)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        return tuple(self.model.encode(images).values())


class Decode(nn.Module):
    """Codes [B,N,Q] or latents [B,N,C] of the streams that the decoder reads, in the order of `inputs` -> images
    [B,3,H,W]. Where texts guide the decoder, the last input is `text_tokens` [B,L,W], which the text tower gives:
    `model.text.tokens(model.text.ids(texts))`."""

    def __init__(self, model: VisualTokenizer) -> None:
        super().__init__()
        self.model, self.names = model, list(model.check_streams(model.reads))
        self.inputs, self.outputs = [name_tensor(model.layout.stream(name)) for name in self.names], ['images']
        self.inputs += [TEXT_TOKENS] if model.guided else []

    def example(self, batch: int = 2) -> tuple[Tensor, ...]:
        """Return arguments of a call."""
        p, streams = next(self.model.parameters()), [self.model.streams[name] for name in self.names]
        codes = [torch.zeros(batch, s.tokens, len(s.sizes) or s.quantizer.dim, device=p.device,
                             dtype=torch.int64 if s.sizes else p.dtype) for s in streams]
        if not self.model.guided:
            return tuple(codes)
        asked = self.model.decoder.guidance
        return *codes, torch.zeros(batch, asked.length, asked.width, device=p.device, dtype=p.dtype)

    def forward(self, *codes: Tensor) -> Tensor:
        """See the class."""
        texts = codes[len(self.names)] if self.model.guided else None
        return self.model.decode(dict(zip(self.names, codes)), texts)


Part = Union[Encode, Decode]


@read_arguments(tokenizer=read_tokenizer)
def list_parts(tokenizer: Tokenizer) -> dict[str, Part]:
    """Return name -> module to export: `encode`, and `decode` where there is a decoder."""
    parts: dict[str, Part] = dict(encode=Encode(tokenizer.model))
    if tokenizer.model.decoder is not None:
        parts['decode'] = Decode(tokenizer.model)
    return parts


def export_program(part: Part) -> torch.export.ExportedProgram:
    """Return the torch.export program of a part, batch free.

    Raises:
        InputError: a part of the model whose computation depends on values (a plugin that branches on them).
    """
    example, batch = part.example(), torch.export.Dim('batch', min=1, max=65536)
    shapes = tuple({0: batch} for _ in example)
    try:
        with torch.no_grad():
            program = torch.export.export(part.eval(), example, strict=False,
                                          dynamic_shapes=shapes if isinstance(part, Encode) else dict(codes=shapes))
            # flattens the blocks that switch gradients off, which cannot be saved
            return program.run_decompositions({})
    except Exception as e:
        raise InputError(f'{type(part).__name__.lower()} cannot be exported: {reason(e)}. A part that looks at values '
                         'in its forward has to skip that while torch.compiler.is_exporting().') from e


@read_arguments(tokenizer=read_tokenizer, folder=read_path, kind=read_choice('torch', 'onnx'))
def export_to(tokenizer: Tokenizer, folder: str | os.PathLike, kind: str) -> list[str]:
    """Write the graphs of a tokenizer.

    Args:
        tokenizer: in float32.
        folder: of the files; created where it does not exist.
        kind: 'torch' (encode.pt2, decode.pt2) or 'onnx' (encode.onnx, decode.onnx; needs onnx and onnxscript).

    Returns:
        paths of the files, SHA256SUMS the last.
    """
    if kind == 'onnx':
        for package in ('onnx', 'onnxscript'):
            need_package(package, 'onnx', 'export to ONNX')
    with explain_writing(folder):
        os.makedirs(folder, exist_ok=True)
    suffix, parts = 'pt2' if kind == 'torch' else 'onnx', list_parts(tokenizer)
    names = [f'{name}.{suffix}' for name in parts]
    for path in (os.path.join(folder, name) for name in names):
        if os.path.exists(path):
            raise InputError(f'{path} exists already. Give another folder, or move the file away.')
    with explain_writing(folder), replacing_files(folder, 'export') as temporary:
        for name, part in zip(names, parts.values()):
            program, path = export_program(part), os.path.join(temporary, name)
            if kind == 'torch':
                torch.export.save(program, path)
            else:
                torch.onnx.export(program, dynamo=True, input_names=part.inputs, output_names=part.outputs,
                                  verbose=False).save(path)
        _write_sums(folder, temporary)
    return [os.path.join(folder, name) for name in (*names, SUMS)]


def _write_sums(folder: str | os.PathLike, written: str) -> None:
    """Add the hashes of the files in `written` to those of `folder`; large ONNX graphs have their weights in files of
    their own."""
    earlier = ''
    with contextlib.suppress(FileNotFoundError), open(os.path.join(folder, SUMS), encoding='utf-8') as file:
        earlier = file.read()
    lines = [f'{compute_sha256(os.path.join(written, name))}  {name}\n' for name in sorted(os.listdir(written))]
    write_atomic(os.path.join(written, SUMS), earlier + ''.join(lines))
