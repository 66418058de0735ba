"""Encoding and decoding as graphs: torch.export programs (.pt2) and ONNX, with a free batch size.

Checks of values (finite features, codes in range) are not part of a graph; shapes are fixed but for the batch.
"""
import os

import torch
import torch.nn as nn

from dtbox.errors import InputError, need_package, reason


class Encode(nn.Module):
    """images [B,3,H,W] in [-1,1] -> codes [B,N,Q] of each stream, in the order of `outputs`."""

    def __init__(self, model):
        super().__init__()
        self.model, self.inputs, self.outputs = model, ['images'], [f'codes_{name}' for name in model.streams]

    def example(self, batch=2):
        """Return arguments of a call."""
        p = next(self.model.parameters())
        return (torch.rand(batch, 3, *self.model.image_size, dtype=p.dtype, device=p.device) * 2 - 1,)

    def forward(self, images):
        """See the class."""
        return tuple(self.model.encode(images).values())


class Decode(nn.Module):
    """Codes [B,N,Q] of the streams that the decoder reads, in the order of `inputs` -> images [B,3,H,W], not clamped."""

    def __init__(self, model):
        super().__init__()
        self.model, self.names = model, list(model.check_streams(model.reads))
        self.inputs, self.outputs = [f'codes_{name}' for name in self.names], ['images']

    def example(self, batch=2):
        """Return arguments of a call."""
        device = next(self.model.parameters()).device
        streams = [self.model.streams[name] for name in self.names]
        return tuple(torch.zeros(batch, s.tokens, len(s.sizes), dtype=torch.int64, device=device) for s in streams)

    def forward(self, *codes):
        """See the class."""
        return self.model.decode(dict(zip(self.names, codes)))


def parts_of(tokenizer):
    """Return name -> module to export: `encode`, and `decode` where there is a decoder."""
    parts = dict(encode=Encode(tokenizer.model))
    if tokenizer.model.decoder is not None:
        parts['decode'] = Decode(tokenizer.model)
    return parts


def export_program(part):
    """Return the torch.export program of a part, batch free.

    Raises:
        InputError: a model with a part whose computation depends on numbers (a plugin that branches on values).
    """
    example, batch = part.example(), torch.export.Dim('batch', min=1, max=65536)
    shapes = tuple({0: batch} for _ in example)
    try:
        with torch.no_grad():
            program = torch.export.export(part.eval(), example, strict=False,
                                          dynamic_shapes=shapes if isinstance(part, Encode) else dict(codes=shapes))
            return program.run_decompositions({})  # flattens what switches gradients off inside, which cannot be saved
    except Exception as e:
        raise InputError(f'{type(part).__name__.lower()} cannot be exported: {reason(e)}. A part that looks at values in its forward has to leave '
                         'that out while torch.compiler.is_exporting().') from e


def export_to(tokenizer, folder, kind):
    """Write the graphs of a tokenizer.

    Args:
        tokenizer: Tokenizer in float32.
        folder: of the files; made.
        kind: 'torch' (encode.pt2, decode.pt2) or 'onnx' (encode.onnx, decode.onnx; needs onnx and onnxscript).

    Returns:
        list of paths.
    """
    if kind == 'onnx':
        for package in ('onnx', 'onnxscript'):
            need_package(package, 'onnx', 'export to ONNX')
    os.makedirs(folder, exist_ok=True)
    paths = []
    for name, part in parts_of(tokenizer).items():
        path = os.path.join(folder, f'{name}.{"pt2" if kind == "torch" else "onnx"}')
        if os.path.exists(path):
            raise InputError(f'{path} exists already. Give another folder, or move it away.')
        program = export_program(part)
        if kind == 'torch':
            torch.export.save(program, path)
        else:
            torch.onnx.export(program, dynamo=True, input_names=part.inputs, output_names=part.outputs, verbose=False).save(path)
        paths.append(path)
    return paths
