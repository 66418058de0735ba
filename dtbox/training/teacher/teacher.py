"""The frozen teacher: an encoder that says what the semantic tokens and the pooled embedding should be.

It lives outside state dict, optimizer and weight EMA; a checkpoint names it by the hash of its weights. Shapes: B
batch, N visual tokens, P prefix tokens, D encoder width, E width of the pooled output, M regions.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Collection, Mapping, Sequence

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.checksums import hash_tensors
from dtbox.counts import format_count
from dtbox.errors import InputError, at
from dtbox.layers.attention_switch import switch_attention
from dtbox.layout import TokenLayout
from dtbox.losses.criterion import Criterion
from dtbox.registry import ENCODERS, call_checked
from dtbox.structures import TeacherOutput, TokenizerOutput
from dtbox.training.teacher.cache import TeacherCache
from dtbox.training.teacher.token_grid import TokenResize, check_student
from dtbox.training.teacher.trunk_sharing import check_trunk_sharing, find_shared_trunk, refuse_trunk_sharing
from dtbox.values import Positive, Text


@dataclass(frozen=True)
class Student:
    """What a teacher may know of the model that it teaches.

    Attributes:
        tokenizer: its VisualTokenizer, whose trunk the teacher may share.
        run: callable (list of (encoder, layer)) -> TokenizerOutput of the batch at hand, with `layers` of those places.
        exact: whether it computes in float32, without autocast.
    """
    tokenizer: nn.Module
    run: Callable[[Sequence[tuple[str, int]]], TokenizerOutput]
    exact: bool = True


class Teacher(nn.Module):
    """A frozen encoder with its own pool.

    Args:
        encoder: encoder config, with `weights`.
        layer: 1-based layer whose raw output the tokens are.
        token_grid: (rows, columns) that the tokens are resized to, for a student with another grid: to fewer by area
            means, to more bicubically; None leaves them on the encoder's grid.
        image_size: filled in from the tokenizer.
        trunk_sharing: take the output of the first blocks from the student where these are frozen and equal to the
            teacher's own, as found in the first step. 'auto': in float32 only, where the result is the same bit for
            bit. True: under autocast, too, whose rounding the shared blocks then have; an error where nothing can be
            shared. False: never.
        cache: folder that keeps the teacher's output on disk, by the content of the images (see `TeacherCache`); None
            keeps nothing.
        cache_dtype: 'float32' or 'bfloat16', of what the cache keeps.

    Attributes:
        shared_trunk: (encoder, last layer that student and teacher share), None where they share nothing, 'unknown'
            before the first step.
    """

    def __init__(self, encoder: Mapping, layer: int, image_size: Sequence[int] | None = None,
                 trunk_sharing: bool | str = 'auto', cache: Text | None = None, cache_dtype: str = 'float32',
                 token_grid: Positive | Sequence[Positive] | None = None) -> None:
        super().__init__()
        check_trunk_sharing(trunk_sharing)
        self.trunk_sharing, self.cache = trunk_sharing, TeacherCache(cache, cache_dtype) if cache else None
        self.shared_trunk: tuple[str, int] | str | None = 'unknown'
        self.encoder = ENCODERS.build(encoder, where='encoder', image_size=image_size)
        if not 0 <= layer <= self.encoder.depth:
            raise InputError(f'the layer of the teacher is {layer}, but its encoder has '
                             f'{format_count(self.encoder.depth, "block")}.', 'layer')
        self.layer = layer
        self.resize = None if token_grid is None else TokenResize(self.encoder.layout(layer), token_grid)
        self.requires_grad_(False).eval()
        self._hash: str | None = None
        self._images: Tensor | None = None
        self._wanted, self._tapped = {layer}, {}

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode, whatever the model around it does."""
        return super().train(False)

    def init_weights(self) -> None:
        """Load the encoder's weights."""
        self.encoder.init_weights()
        self._hash = None

    # ---- in a training step -------------------------------------------------------------------------------------

    def observe(self, images: Tensor, student: Student, pixels: Tensor | None = None) -> TokenizerOutput:
        """Run the student, and the teacher on the same images as far as it is neither cached nor in the student's
        trunk.

        Args:
            images: [B,3,H,W] in [-1,1].
            student: runs on the same images when it is called.
            pixels: the same images as the data gave them, whose content is the key of the cache; None takes `images`.

        Returns:
            the student's output with `teacher`; `last` of it is None where it comes from the cache.
        """
        if self.cache is not None:
            outputs = student.run([])
            self._images = None
            return outputs.replace(teacher=self.cache(self, images, images if pixels is None else pixels))
        shared = self._find_shared_trunk(images, student)
        if shared is None:
            return student.run([]).replace(teacher=self(images))
        encoder, last = shared
        layers = sorted({last, *(layer for layer in self._wanted if layer < last)})
        outputs = student.run([(encoder, layer) for layer in layers])
        start = last, {layer: outputs.layers[encoder, layer] for layer in layers}
        return outputs.replace(teacher=self(images, start), layers={})

    def _find_shared_trunk(self, images: Tensor, student: Student) -> tuple[str, int] | None:
        if self.trunk_sharing is False or (self.trunk_sharing == 'auto' and not student.exact):
            return None
        shared = self.shared_trunk
        if isinstance(shared, str):  # 'unknown'
            self.shared_trunk = shared = find_shared_trunk(self.encoder, student.tokenizer, images)
            if self.trunk_sharing is True and shared is None:
                refuse_trunk_sharing('model.teacher.trunk_sharing')
        return shared

    @torch.no_grad()
    def forward(self, images: Tensor, start: tuple[int, Mapping[int, Tensor]] | None = None) -> TeacherOutput:
        """Return the tokens of `layer`, the pooled output and the last tokens.

        Args:
            images: [B,3,H,W] in [-1,1].
            start: None, or (layer, dict layer -> tokens [B,N,D] of that layer and of wanted layers before it), to start
                after that layer.
        """
        encoder = self.encoder
        with torch.autocast(images.device.type, enabled=False):
            layer, before = start or (0, {})
            tokens = before[layer].float() if start else encoder.embed(images)
            tokens, tapped = encoder.run(tokens, layer, encoder.depth, {k for k in self._wanted if k >= layer})
            tapped.update({k: v.float() for k, v in before.items() if k in self._wanted})
            pooled = encoder.pool(tokens) if encoder.pooled_dim else None
        self._images, self._tapped = images, tapped
        wanted = tapped[self.layer]
        return TeacherOutput(wanted if self.resize is None else self.resize(wanted), pooled, tokens)

    @property
    def layout(self) -> TokenLayout:
        """Where the tokens of `forward` lie."""
        return self.encoder.layout(self.layer) if self.resize is None else self.resize.target

    @property
    def settings(self) -> str:
        """What the tokens depend on beside weights and layer, as a part of a name: other sizes than the usual ones."""
        pixels = getattr(self.encoder, 'input_size', self.encoder.image_size)
        sizes = dict(at=pixels if tuple(pixels) != tuple(self.encoder.image_size) else None,
                     on=None if self.resize is None else self.resize.target.map_shape)
        return ''.join(f'_{name}{size[0]}x{size[1]}' for name, size in sizes.items() if size)

    # ---- single answers -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def pooled(self, images: Tensor) -> Tensor | None:
        """Return the pooled output [B,E] of images [B,3,H,W] in [-1,1], without gradient."""
        return self(images).pooled

    @torch.no_grad()
    def pool_regions(self, last: Tensor, masks: Sequence[Tensor]) -> list[Tensor]:
        """Pool single regions, see `Encoder.pool_regions`: last [B,P+N,D], B masks [M,H,W] -> B tensors [M,E]."""
        return self.encoder.pool_regions(last.float(), masks)

    def taps(self, images: Tensor, layers: Collection[int]) -> dict[int, Tensor]:
        """Return layer -> patch tokens [B,N,D] of images [B,3,H,W]; gradients reach the images. Runs no further than
        needed.

        Without gradient and for the very images of the last `forward`, the answer is what that pass found; layers that
        are asked for in this way are kept from then on.
        """
        if not torch.is_grad_enabled():
            self._wanted = self._wanted | set(layers)
            if images is self._images and set(layers) <= set(self._tapped):
                return {layer: self._tapped[layer] for layer in layers}
        with torch.autocast(images.device.type, enabled=False):
            return self.encoder.run(self.encoder.embed(images.float()), 0, max(layers), set(layers))[1]

    def digest(self) -> str:
        """Return the SHA-256 of the weights, 16 hex digits."""
        if self._hash is None:
            self._hash = hash_tensors(self.encoder.state_dict())
        return self._hash


def build_teacher(cfg: Mapping | None, tokenizer: nn.Module, criterion: Criterion | None) -> Teacher | None:
    """Build the teacher of a tokenizer, and bind the losses to it.

    Args:
        cfg: dict(encoder=..., layer=..., and what else Teacher takes), or None.
        tokenizer: VisualTokenizer, whose image size and attention the teacher takes.
        criterion: the losses; None for a model that only evaluates.

    Raises:
        InputError: the losses need a teacher and there is none; arguments that Teacher does not take.
    """
    needs = [name for name in criterion.requires if name.startswith('teacher')] if criterion else []
    if needs and not cfg:
        raise InputError(f'the losses need {", ".join(needs)}, but the config has no teacher.', 'teacher')
    with at('teacher'):
        more = {} if 'image_size' in (cfg or {}) else dict(image_size=tokenizer.image_size)
        teacher = call_checked(Teacher, cfg, 'the teacher', more) if cfg else None
    if teacher is not None and tokenizer.attention is not None:
        switch_attention(teacher.encoder, tokenizer.attention)
    if criterion is not None:
        if teacher is not None:
            check_student(teacher, tokenizer, criterion)
        criterion.bind(teacher)
    return teacher
