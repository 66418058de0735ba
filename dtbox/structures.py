"""What travels between rooms: frozen dataclasses with the same fields in training and in evaluation.

Shapes: B batch, N visual tokens, D encoder width, C code width, Q codes per token, E joint image-text width, L text
length.
"""
from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class QuantizerOutput:
    """What a quantizer returns.

    Attributes:
        features: quantized features [B, N, C]; gradients reach the input through them.
        codes: [B, N, Q] int64, N of their own layout (see `Quantizer.set_layout`); None where the quantizer has no
            codes.
        losses: name -> scalar term (`commitment`, ...).
    """
    features: Tensor
    codes: Tensor | None
    losses: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class VocabularyOutput:
    """What a vocabulary returns.

    Attributes:
        features: after the post-projection [B, N, D].
        quantized: before it [B, N, C].
        codes: [B, N, Q] int64; None where the quantizer has no codes.
        losses: name -> scalar term of the quantizer.
    """
    features: Tensor
    quantized: Tensor
    codes: Tensor | None
    losses: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """The size of the codes of one image.

    Attributes:
        tokens: tokens, the sum of N over the streams of codes.
        codes: codes, the sum of N times Q.
        bits: sum over the codes of log2 of their codebook's size.
    """
    tokens: int
    codes: int
    bits: float


@dataclass(frozen=True)
class Guidance:
    """The text tokens that a decoder is guided by, one text for each image.

    Attributes:
        length: tokens L of a text.
        width: of a token.
        default: the text of images that come without one; None refuses them.
    """
    length: int
    width: int
    default: str | None = None


@dataclass(frozen=True)
class TeacherOutput:
    """The output of the frozen teacher for the same images.

    Attributes:
        tokens: raw output of the layer that was asked for [B, N, D]; None where no layer was.
        pooled: pooled output [B, E], not normalised.
        last: tokens after the last block [B, P + N, D], which were pooled.
    """
    tokens: Tensor | None = None
    pooled: Tensor | None = None
    last: Tensor | None = None


@dataclass(frozen=True)
class TokenizerOutput:
    """Everything that a pass through a tokenizer computed; what was not asked for is None or missing.

    Attributes:
        images: the input [B, 3, H, W] in [-1, 1].
        reconstructions: [B, 3, H, W], nominally in [-1, 1], not clamped.
        codes: stream -> [B, N, Q] int64; a stream is a vocabulary, or the quantizer that several vocabularies share.
        features: vocabulary -> [B, N, D], after the post-projection.
        losses: stream -> name -> scalar term of the quantizer.
        pooled: output of the head [B, E], not normalised.
        last: tokens that the head read: those of the trunk after its last block [B, P + N, D], or features of a
            vocabulary [B, N, D].
        text_pooled: output of the text tower [B, E], not normalised, for the texts of the batch.
        logit_scale, logit_bias: scalars of the contrastive head, logits = exp(scale) * cos + bias.
        teacher: a TeacherOutput, where a teacher ran.
        layers: (encoder, layer) -> patch tokens [B, N, D] as that block returned them, of the layers that were asked
        for.
    """
    images: Tensor
    reconstructions: Tensor | None = None
    codes: dict[str, Tensor] = field(default_factory=dict)
    features: dict[str, Tensor] = field(default_factory=dict)
    losses: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    pooled: Tensor | None = None
    last: Tensor | None = None
    text_pooled: Tensor | None = None
    logit_scale: Tensor | None = None
    logit_bias: Tensor | None = None
    teacher: TeacherOutput | None = None
    layers: dict[Any, Tensor] = field(default_factory=dict)

    def replace(self, **changes: Any) -> TokenizerOutput:
        """Return a copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class HeadLosses:
    """The losses of the codes of some places, summed, so that the caller divides by counts over all ranks.

    Attributes:
        sums: stream -> cross entropy in nats of each depth, summed over its codes, [Q] float32.
        counts: stream -> number of codes of each depth, [Q] int64.
    """
    sums: dict[str, Tensor]
    counts: dict[str, Tensor]


@dataclass(frozen=True)
class Regions:
    """Objects of one image.

    Attributes:
        categories: M class indices.
        sizes: M of 'small', 'medium', 'large', by the area in the original image.
        frequencies: M of 'rare', 'common', 'frequent', or ''.
        ids: M names, all different.
        masks: [M, H, W] bool on the pixels of the batch; None before the pipeline has computed them.
    """
    categories: list[int]
    sizes: list[str]
    frequencies: list[str]
    ids: list[str]
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.categories)


@dataclass(frozen=True)
class Batch:
    """A batch on its way to the model.

    Attributes:
        images: [B, 3, H, W]; uint8 from a dataset, float in [-1, 1] after the data preprocessor.
        texts: B captions, or None where the data has none.
        labels: [B] int64 class indices, or None; -1 marks a sample without class.
        sets: B names of the held-out set that each sample belongs to (evaluation), or None.
        keys: B names, all different.
        captions: B lists of all captions of an image, where the data has several; `texts` holds one of each.
        regions: B Regions, or None.
        broken: a sentence for each sample that could not be read and is not in the batch, or None.
        flaws: a sentence for each part of a sample that was left out (masks), or None.
        placeholder: whether the image stands for none: a rank without samples takes part in a step that all ranks make.
            It has no weight in any loss or score.
    """
    images: Tensor
    texts: list[str] | None = None
    labels: Tensor | None = None
    sets: list[str] | None = None
    keys: list[str] | None = None
    captions: list[list[str]] | None = None
    regions: list[Regions] | None = None
    broken: list[str] | None = None
    flaws: list[str] | None = None
    placeholder: bool = False

    def __len__(self) -> int:
        return len(self.images)


def take(value: Any, index: Tensor, size: int) -> Any:
    """Select samples of a batch from a nested structure.

    Tensors whose first dimension is `size` and lists of that length are indexed; dataclasses and dicts are walked, but
    for a dataclass with a method `select(rows)`; everything else (scalars, None) is returned as it is.

    Args:
        value: structure to select from.
        index: [M] int64 sample positions.
        size: number of samples B of the batch.
    """
    if isinstance(value, Tensor):
        return value[index.to(value.device)] if value.ndim and len(value) == size else value
    if isinstance(value, list) and len(value) == size:
        return [value[i] for i in index.tolist()]
    if isinstance(value, dict):
        return {k: take(v, index, size) for k, v in value.items()}
    if hasattr(value, 'select'):
        return value.select(index.tolist())
    if hasattr(value, '__dataclass_fields__'):
        return replace(value, **{f.name: take(getattr(value, f.name), index, size) for f in fields(value)})
    return value
