"""The trained tokenizer that a multimodal language model reads and writes images with: frozen, and told from others by
the hash of its weights.

It is not a module of the model around it: no state dict, optimizer or average of weights holds it.
"""
from __future__ import annotations

from typing import Any, Mapping, Sequence

import torch
from torch import Tensor

from dtbox.checksums import hash_tensors
from dtbox.errors import InputError
from dtbox.layout import CodeLayout
from dtbox.tokenizers.guidance import read_guiding_texts
from dtbox.tokenizers.visual import VisualTokenizer


class FrozenTokenizer:
    """A trained tokenizer, frozen.

    Where texts guide its decoder (TA-TiTok), they are the prompts of drawings; what an image says to a language model
    does not depend on them.

    Args:
        model: with its weights.
        pipeline: configs of its evaluation transform.
        config: dict(tokenizer, pipeline) that it was built from; None where that is not known.
        source: where it comes from, for messages.

    Attributes:
        digest: SHA-256 of the weights, 16 hex digits.
        places: visual places N of an image, the same for all streams.

    Raises:
        InputError: a stream without codes, streams of different lengths, a decoder that texts guide without a text
            tower.
    """

    def __init__(self, model: VisualTokenizer, pipeline: Sequence[dict] = (), config: dict | None = None,
                 source: str = 'the tokenizer') -> None:
        self.model = model.eval().requires_grad_(False)
        self.pipeline, self.config = list(pipeline), config
        self.source = source
        self.digest = hash_tensors(model.state_dict())
        self.places = self._count_places()
        if model.guided and model.text is None:
            raise InputError(f'texts guide the decoder of {source}, and it has no text tower that reads the prompts of '
                             'drawings. Take a tokenizer with `text`, or one whose decoder needs no texts.')

    def _count_places(self) -> int:
        streams = self.layout.streams
        if not streams or not all(stream.has_codes for stream in streams):
            names = ', '.join(stream.name for stream in streams if not stream.has_codes)
            raise InputError(f'{self.source} has no codes{f" in {names}" if names else ""}; a language model reads and '
                             'writes codes. Take a tokenizer whose vocabularies all have a quantizer with codes.')
        counts = {stream.name: stream.tokens for stream in streams}
        if len(set(counts.values())) > 1:
            raise InputError(f'the streams of {self.source} have different numbers of tokens: {counts}. A visual place '
                             'holds the codes of all streams of one patch, so they must agree.')
        return next(iter(counts.values()))

    @property
    def layout(self) -> CodeLayout:
        """The streams of codes."""
        return self.model.layout

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.model.parameters()).device

    def to(self, device: str | torch.device) -> FrozenTokenizer:
        """Move the weights; return self."""
        self.model.to(device)
        return self

    @torch.no_grad()
    def encode(self, images: Tensor) -> dict[str, Tensor]:
        """images [M,3,H,W] in [-1,1] -> stream -> codes [M,N,Q]."""
        return self.model.encode(images.to(self.device))

    @property
    def needs_texts(self) -> bool:
        """Whether an image cannot be decoded without a text: texts guide the decoder, and none stands for a missing
        one."""
        return self.model.guided and self.model.decoder.guidance.default is None

    @torch.no_grad()
    def decode(self, codes: Mapping[str, Tensor], texts: Sequence[str] | None = None) -> Tensor:
        """Codes of the streams that the decoder reads, [M,N,Q] each -> images [M,3,H,W] in [-1,1].

        Args:
            codes: stream -> [M,N,Q].
            texts: what each image shows, for a decoder that texts guide; others do without.
        """
        return self.model.decode(codes, read_guiding_texts(self.model, texts)).clamp(-1, 1)

    def features(self, codes: dict[str, Tensor]) -> dict[str, Tensor]:
        """Stream -> codes [M,N,Q] -> vocabulary -> features [M,N,D] after the post-projection."""
        return self.model.features(codes)

    def check_vocabularies(self, names: Sequence[str], who: str) -> None:
        """Raise `InputError` where a stream that `who` names is not there."""
        for name in names:
            if name not in self.layout.names:
                raise InputError(f'{who} names the vocabulary `{name}`, but {self.source} has '
                                 f'{", ".join(self.layout.names)} only. Take one of these, or another tokenizer.')

    def __repr__(self) -> str:
        return f'FrozenTokenizer({self.source}, {self.digest})'


def describe_tokenizer(tokenizer: FrozenTokenizer) -> dict[str, Any]:
    """Return what a model's folder says of its tokenizer: source, hash, layout of codes, and transform."""
    return dict(source=tokenizer.source, digest=tokenizer.digest, layout=tokenizer.layout.to_dict(),
                pipeline=tokenizer.pipeline)
