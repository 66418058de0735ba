"""Frozen towers of images and texts that judge images: any open_clip model, or other parts of dtbox, from files.

Letters: B images, T texts, E joint width, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from dtbox.errors import InputError, at, explained
from dtbox.evaluation.functional import to_unit
from dtbox.registry import ENCODERS, TEXTS


class Towers(nn.Module):
    """An image tower and, where it is asked for, a text tower of the same joint space.

    Args:
        encoder: config of the encoder, with its own pool and weights.
        text: config of the text tower; None for images alone.
        image_size: (height, width) of the images; None takes the encoder's own.
    """

    def __init__(self, encoder: Mapping, text: Mapping | None = None, image_size: Sequence[int] | None = None) -> None:
        super().__init__()
        sized = {} if image_size is None else dict(image_size=image_size)
        self.encoder = ENCODERS.build(encoder, where='encoder', **sized)
        self.text = None if text is None else TEXTS.build(text, where='text')
        self.requires_grad_(False).eval()

    def init_weights(self) -> None:
        """Load the weights of the towers."""
        for name in ('encoder', 'text'):
            if getattr(self, name) is not None:
                with at(name):
                    getattr(self, name).init_weights()

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.encoder.parameters()).device

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1,1], of the encoder's size -> pooled [B,E], not normalised."""
        tokens, _ = self.encoder.run(self.encoder.embed(images), 0, self.encoder.depth, set())
        return self.encoder.pool(tokens)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts -> embeddings [T,E], normalised."""
        return F.normalize(self.text(self.text.ids(list(texts)).to(self.device)), dim=-1)

    def embed_levels(self, images: Sequence[np.ndarray]) -> Tensor:
        """Images uint8 [H,W,3] of any sizes -> pooled [B,E], not normalised; see `fit_image`."""
        small = [fit_image(image, self.encoder.image_size[0]) for image in images]
        pixels = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).to(self.device)
        return self.embed_images(pixels.float() / 127.5 - 1)


def fit_image(image: np.ndarray, size: int) -> np.ndarray:
    """Return an image uint8 [H,W,3] as [size,size,3]: short side and centre crop, bicubic and antialiased, as open_clip
    prepares images."""
    height, width = image.shape[:2]
    short = min(height, width)
    sides = size * width // short, size * height // short
    left, top = (round((side - size) / 2) for side in sides)
    resized = Image.fromarray(image).resize(sides, Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def to_levels(images: Tensor) -> list[np.ndarray]:
    """Images [B,3,H,W], nominally in [-1,1] -> uint8 [H,W,3] each, rounded as a PNG has them; `InputError` for NaN, as
    samples without an image have in its place."""
    if not images.isfinite().all():
        raise InputError('the images hold NaN or infinite values; expected samples with an image each: give those '
                         'without a set of their own.')
    levels = (to_unit(images.detach().float()) * 255).round().to(torch.uint8)
    return list(levels.permute(0, 2, 3, 1).cpu().numpy())


def describe_encoder(tower: str, weights: str | None, encoder: Mapping | None) -> dict[str, Any]:
    """Return the config of an encoder.

    Args:
        tower: name of an open_clip model, or what to call `encoder`.
        weights: its checkpoint.
        encoder: config of another one; that of the open_clip model where None.

    Raises:
        InputError: no weights, a name that cannot be part of that of a value.
    """
    if not tower or set(tower) & set(' /|@'):
        raise InputError(f'`tower` is {tower!r}; expected the name of an open_clip model, or of yours without spaces, '
                         '`/`, `|` and `@`.', 'tower')
    return _check_weights(encoder or dict(type='OpenCLIPTower', name=tower, weights=weights), tower, 'encoder')


def describe_text(tower: str, weights: str | None, text: Mapping | None) -> dict[str, Any]:
    """Return the config of a text tower; arguments and errors as those of `describe_encoder`, and a model whose
    tokenizer open_clip does not carry."""
    if text:
        return _check_weights(text, tower, 'text')
    import open_clip
    sizes = (open_clip.get_model_config(tower) or {}).get('text_cfg', {})
    if sizes.get('hf_tokenizer_name'):
        raise InputError(f'`{tower}` reads texts with the tokenizer {sizes["hf_tokenizer_name"]}, which open_clip '
                         'does not carry. Give a text tower with the file: text=dict(type=\'SigLIPText\', name=..., '
                         'weights=FOLDER), or OpenCLIPText with a FileTokenizer.', 'text')
    tokenizer = dict(type='OpenCLIPTokenizer', context_length=sizes.get('context_length', 77))
    return _check_weights(dict(type='OpenCLIPText', name=tower, weights=weights, tokenizer=tokenizer), tower, 'text')


def _check_weights(config: Mapping, tower: str, name: str) -> dict[str, Any]:
    if not config.get('weights'):
        raise InputError(f'the weights of `{tower}` are not given; expected the checkpoint of this open_clip model as '
                         '`weights` (of a shipped protocol: --cfg-options tower_weights=PATH), or configs of other '
                         'towers that name theirs.', name)
    return dict(config)


def open_towers(encoder: Mapping, text: Mapping | None, device: torch.device | str = 'cpu') -> Towers:
    """Build towers of configs, load their weights, and place them; `InputError` for what the parts refuse.

    Args:
        encoder, text: see `Towers`.
        device: where they run.
    """
    towers = Towers(encoder, text)
    height, width = towers.encoder.image_size
    if height != width:
        raise InputError(f'the encoder reads images of {height} x {width} pixels; expected a square one.', 'encoder')
    if not towers.encoder.pooled_dim:
        raise InputError(f'{type(towers.encoder).__name__} has no pooled output; expected an encoder with one.',
                         'encoder')
    with explained('the weights of the towers cannot be read'):  # a tag of open_clip is fetched
        towers.init_weights()
    if towers.text is not None and towers.text.pooled_dim != towers.encoder.pooled_dim:
        raise InputError(f'the towers give embeddings of {towers.encoder.pooled_dim} and {towers.text.pooled_dim} '
                         'channels; expected one joint width.', 'text')
    return towers.to(device)


class LazyTowers:
    """Towers of a metric, opened when they are first asked for; the copies of the metric for each set share them.

    Args:
        tower, weights, encoder: see `describe_encoder`.
        text: see `describe_text`.
        reads_texts: whether there is a text tower.
    """

    def __init__(self, tower: str, weights: str | None, encoder: Mapping | None, text: Mapping | None = None,
                 reads_texts: bool = False) -> None:
        self.tower, self.weights = tower, weights
        self.encoder, self.text = encoder, text
        self.reads_texts = reads_texts
        self._towers: Towers | None = None
        self._lacks: str | None = None

    def open(self, device: torch.device | str = 'cpu') -> Towers:
        """Return the towers; `InputError` where they cannot be opened."""
        if self._towers is None:
            text = describe_text(self.tower, self.weights, self.text) if self.reads_texts else None
            self._towers = open_towers(describe_encoder(self.tower, self.weights, self.encoder), text)
        return self._towers.to(device)

    def check_files(self) -> None:
        """Open them where a config names weights; `InputError` where they cannot be."""
        if self.weights or self.encoder or self.text:
            self.open()

    def find_lack(self, device: torch.device | str) -> str:
        """Return why they cannot be opened; '' where they can."""
        if self._lacks is None:
            try:
                self.open(device)
                self._lacks = ''
            except InputError as e:
                self._lacks = str(e).rstrip('.')
        return self._lacks
