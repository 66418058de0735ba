"""What travels between rooms: frozen dataclasses with the same fields in training and in evaluation.

Shapes: B batch, N visual tokens, D encoder width, C code width, Q codes per token, E joint image-text width, L text length.
"""
from dataclasses import dataclass, field, fields, replace
from typing import Any, Dict, List, Optional

from torch import Tensor


@dataclass(frozen=True)
class QuantizerOutput:
    """What a quantizer returns.

    Attributes:
        features: quantized features [B, N, C]; gradients reach the input through them.
        codes: [B, N, Q] int64.
        losses: named scalar terms (`commitment`, ...).
    """
    features: Tensor
    codes: Tensor
    losses: Dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class VocabularyOutput:
    """What a vocabulary returns.

    Attributes:
        features: after the post-projection [B, N, D].
        quantized: before it [B, N, C].
        codes: [B, N, Q] int64.
        losses: named scalar terms of the quantizer.
    """
    features: Tensor
    quantized: Tensor
    codes: Tensor
    losses: Dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """What the codes of one image take.

    Attributes:
        tokens: token places, N of each stream of codes.
        codes: codes, N times Q of each.
        bits: sum over the codes of log2 of their codebook's size.
    """
    tokens: int
    codes: int
    bits: float


@dataclass(frozen=True)
class TeacherOutput:
    """What the frozen teacher says of the same images.

    Attributes:
        tokens: raw output of the asked layer [B, N, D], or None where no layer was asked for.
        pooled: pooled output [B, E], not normalised.
        last: tokens behind the last block [B, P + N, D], which were pooled.
    """
    tokens: Optional[Tensor] = None
    pooled: Optional[Tensor] = None
    last: Optional[Tensor] = None


@dataclass(frozen=True)
class TokenizerOutput:
    """Everything that a pass through a tokenizer found; what was not asked for is None or missing.

    Attributes:
        images: the input [B, 3, H, W] in [-1, 1].
        reconstructions: [B, 3, H, W], nominally in [-1, 1], not clamped.
        codes: vocabulary -> [B, N, Q] int64; vocabularies that share a quantizer have one entry, under its name.
        features: vocabulary -> [B, N, D], after the post-projection.
        losses: named as `codes` -> named scalar terms of the quantizer.
        pooled: output of the head [B, E], not normalised.
        last: tokens that the head read: those of the trunk behind its last block [B, P + N, D], or features of a vocabulary [B, N, D].
        text_pooled: output of the text tower [B, E], not normalised, for the texts of the batch.
        logit_scale, logit_bias: scalars of the contrastive head, logits = exp(scale) * cos + bias.
        teacher: a TeacherOutput, where a teacher ran.
        layers: (encoder, layer) -> patch tokens [B, N, D] as they came out of that block, of the layers that were asked for.
    """
    images: Tensor
    reconstructions: Optional[Tensor] = None
    codes: Dict[str, Tensor] = field(default_factory=dict)
    features: Dict[str, Tensor] = field(default_factory=dict)
    losses: Dict[str, Dict[str, Tensor]] = field(default_factory=dict)
    pooled: Optional[Tensor] = None
    last: Optional[Tensor] = None
    text_pooled: Optional[Tensor] = None
    logit_scale: Optional[Tensor] = None
    logit_bias: Optional[Tensor] = None
    teacher: Optional[TeacherOutput] = None
    layers: Dict[Any, Tensor] = field(default_factory=dict)

    def replace(self, **changes):
        """Return a copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Regions:
    """Objects of one picture.

    Attributes:
        categories: M class indices.
        sizes: M of 'small', 'medium', 'large', by the area in the original picture.
        frequencies: M of 'rare', 'common', 'frequent', or ''.
        ids: M names that tell them apart.
        masks: [M, H, W] bool on the pixels of the batch, once the pipeline has made them.
    """
    categories: List[int]
    sizes: List[str]
    frequencies: List[str]
    ids: List[str]
    masks: Optional[Tensor] = None

    def __len__(self):
        return len(self.categories)


@dataclass(frozen=True)
class Batch:
    """A batch on its way to the model.

    Attributes:
        images: [B, 3, H, W]; uint8 from a dataset, float in [-1, 1] behind the data preprocessor.
        texts: B captions, or None where the data has none.
        labels: [B] int64 class indices, or None; -1 marks a sample without class.
        sets: B names of the held-out set that each sample belongs to (evaluation), or None.
        keys: B names that tell the samples apart.
        captions: B lists of all captions of a picture, where the data has several; `texts` holds one of each.
        regions: B Regions, or None.
        broken: sentences on samples that could not be read and are not in the batch, or None.
        flaws: sentences on what of the samples in the batch was left out (masks), or None.
        placeholder: whether this is a picture in the place of none, of a process that has no sample in a step of all; it counts for nothing.
    """
    images: Tensor
    texts: Optional[List[str]] = None
    labels: Optional[Tensor] = None
    sets: Optional[List[str]] = None
    keys: Optional[List[str]] = None
    captions: Optional[List[List[str]]] = None
    regions: Optional[List[Regions]] = None
    broken: Optional[List[str]] = None
    flaws: Optional[List[str]] = None
    placeholder: bool = False

    def __len__(self):
        return len(self.images)


def take(value: Any, index: Tensor, size: int):
    """Select samples of a batch from a nested structure.

    Tensors whose first dimension is `size` and lists of that length are indexed; dataclasses and dicts are walked;
    everything else (scalars, None) is passed on as it is.

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
    if hasattr(value, '__dataclass_fields__'):
        return replace(value, **{f.name: take(getattr(value, f.name), index, size) for f in fields(value)})
    return value
