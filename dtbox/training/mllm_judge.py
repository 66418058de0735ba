"""The judge of drawings: frozen towers of images and texts that the language model has never seen.

Letters: B images, T texts, E joint width.
"""
from __future__ import annotations

from typing import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dtbox.errors import InputError, at
from dtbox.registry import ENCODERS, TEXTS


class Judge(nn.Module):
    """Frozen towers whose embeddings judge drawings.

    Args:
        encoder: config of the encoder, with its own pool and weights.
        text: config of the text tower.
        image_size: of the drawings.
    """

    def __init__(self, encoder: Mapping, text: Mapping, image_size: Sequence[int]) -> None:
        super().__init__()
        self.encoder = ENCODERS.build(encoder, where='encoder', image_size=image_size)
        self.text = TEXTS.build(text, where='text')
        self.requires_grad_(False).eval()

    def init_weights(self) -> None:
        """Load the weights of both towers."""
        for name in ('encoder', 'text'):
            with at(name):
                getattr(self, name).init_weights()

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1,1] -> pooled [B,E], not normalised."""
        tokens, _ = self.encoder.run(self.encoder.embed(images), 0, self.encoder.depth, set())
        return self.encoder.pool(tokens)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts -> embeddings [T,E], normalised."""
        device = next(self.text.parameters()).device
        return F.normalize(self.text(self.text.ids(list(texts)).to(device)), dim=-1)


def build_judge(cfg: Mapping | None, image_size: Sequence[int]) -> Judge | None:
    """Build the judge of dict(encoder=..., text=...); None for None."""
    if cfg is None:
        return None
    with at('judge'):
        if set(cfg) != {'encoder', 'text'}:
            raise InputError(f'got the keys {", ".join(sorted(cfg)) or "none"}; expected dict(encoder=..., text=...).')
        return Judge(**cfg, image_size=image_size)
