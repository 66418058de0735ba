"""The contract of visual embeddings: codes of places to inputs of a language model.

Legend: M images, N places of an image, Q codes per place (depths), H width of the language model.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.code_tables import CodeTables
from dtbox.errors import InputError, at, closest


class VisualEmbedding(nn.Module):
    """Base class of visual embeddings. A subclass gives `read` and `join`, or `forward` as a whole; the streams of one
    with a `forward` of its own cannot be blanked.

    Args:
        tables: rows of the codes.
        width: H.
        streams: which streams are read; None for all.

    Attributes:
        names: names of the streams that are read, in the order of the tables.
        token_local: whether a place depends on its own codes alone. Where not, `check_causal` says whether it sees
            later places.
        example: constructor arguments of a small instance, for the contract suite.
    """
    example: ClassVar[dict[str, Any] | None] = None
    token_local: bool = True

    def __init__(self, tables: CodeTables, width: int, streams: Sequence[str] | None = None) -> None:
        super().__init__()
        self.tables = tables
        self.width = width
        self.names = tables.pick(streams)
        self._blanks: dict[str, Tensor] = {}

    def forward(self, codes: Mapping[str, Tensor]) -> Tensor:
        """Codes, stream -> [M,N,Q] -> [M,N,H]; cells that are `EMPTY` add nothing."""
        self.check(codes)
        parts = self.read(codes)
        for name, value in self._blanks.items():
            parts[name] = value.to(parts[name]).expand_as(parts[name])
        return self.join(parts)

    def read(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Codes, stream -> [M,N,Q] -> what each stream that is read gives, stream -> [M,N,w], before they are
        joined."""
        raise NotImplementedError

    def join(self, parts: Mapping[str, Tensor]) -> Tensor:
        """What each stream gives, stream -> [M,N,w] -> [M,N,H]."""
        raise NotImplementedError

    @property
    def has_parts(self) -> bool:
        """Whether the streams are read apart and joined after that, so that one of them can be blanked."""
        return type(self).forward is VisualEmbedding.forward

    @contextlib.contextmanager
    def blank(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Let constants stand for what streams give while the context is open.

        Args:
            values: stream -> [w], in the place of that stream's part at every place of every image.
        """
        with at('streams'):
            if not self.has_parts:
                raise InputError(f'{type(self).__name__} has a `forward` of its own, so none of its streams can be '
                                 'blanked; expected one that gives `read` and `join` instead.')
            for name in values:
                if name not in self.names:
                    raise InputError(f'`{name}` is not read here.{closest(name, self.names)} Read are: '
                                     f'{", ".join(self.names)}.')
        before, self._blanks = self._blanks, dict(values)
        try:
            yield
        finally:
            self._blanks = before

    def make_cache(self, batch: int) -> Any:
        """Return what `step` keeps between the places of `batch` images; None where there is nothing to keep."""
        return None

    def step(self, codes: Mapping[str, Tensor], cache: Any = None) -> Tensor:
        """Codes of the next place, stream -> [B,1,Q] -> [B,1,H], equal to that place of `forward`."""
        return self(codes)

    def check(self, codes: Mapping[str, Tensor]) -> None:
        """Raise `InputError` unless there are codes [M,N,Q] of every stream that is read, of one M and N."""
        shapes = {name: tuple(codes[name].shape) for name in self.names if name in codes}
        fits = len(shapes) == len(self.names) and len({shape[:2] for shape in shapes.values()}) == 1 and all(
            len(shape) == 3 and shape[2] == len(self.tables.sizes[name]) for name, shape in shapes.items())
        if not fits:
            came = ', '.join(f'{name} {list(shape)}' for name, shape in shapes.items()) or 'of no stream'
            want = ', '.join(f'{name} [M, N, {len(self.tables.sizes[name])}]' for name in self.names)
            raise InputError(f'codes are {came}; expected {want}.')

    @torch.no_grad()
    def check_causal(self) -> None:
        """Raise `InputError` where a place changes with the codes of later ones: a language model that is trained to
        write images would read what it has to predict."""
        generator = torch.Generator().manual_seed(0)
        places = self.tables.places
        device = next(self.parameters()).device
        codes = [{name: torch.stack([torch.randint(size, (1, places), generator=generator) for size in
                                     self.tables.sizes[name]], -1) for name in self.names} for _ in range(2)]
        middle = places // 2
        mixed = {name: torch.cat([codes[0][name][:, :middle], codes[1][name][:, middle:]], 1) for name in self.names}
        training = self.training
        self.eval()
        one, two = (self({name: value.to(device) for name, value in c.items()}) for c in (codes[0], mixed))
        self.train(training)
        if not torch.equal(one[:, :middle], two[:, :middle]):
            raise InputError(self.explain_leak(middle))

    def explain_leak(self, place: int) -> str:
        """Return the sentence of `check_causal` for codes that changed from a place on."""
        return (f'{type(self).__name__} lets places before {place} see the codes from {place} on, so a model that is '
                'trained to write images would read what it predicts. Choose an embedding of single places, such as '
                'CodesEmbedding.')
