"""A teacher shares the student's trunk as far as it is frozen and equal: they run once, on the same weights."""
from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor, nn

from dtbox.encoders.base import Encoder
from dtbox.errors import InputError
from dtbox.training.parallel import is_sharded


@torch.no_grad()
def find_shared_trunk(teacher: Encoder, tokenizer: nn.Module, images: Tensor) -> tuple[str, int] | None:
    """Find how far the student's trunk is the teacher's.

    Args:
        teacher: the teacher's encoder.
        tokenizer: VisualTokenizer in training mode.
        images: [B,3,H,W] in [-1,1], on which the two are compared.

    Returns:
        (name of the student's encoder, last layer that both share), or None where they share nothing. A trunk that
        FSDP2 has sharded is never shared.
    """
    if any(is_sharded(p) for p in tokenizer.encoders.parameters()):
        return None
    for name, encoder in tokenizer.encoders.items():
        if type(encoder) is type(teacher) and encoder.depth == teacher.depth and encoder.grid(0) == teacher.grid(0) \
                and not encoder.num_prefix_tokens:
            most = min([encoder.depth, *(at for e, at in tokenizer.reinjections if e == name)])
            layer = _find_last_frozen(encoder, images, most)
            if layer > 0 and _are_equal(teacher, encoder, layer, images):
                _share_memory(teacher, encoder)
                return name, layer
    return None


def _find_last_frozen(encoder: Encoder, images: Tensor, most: int) -> int:
    """Return the last layer up to `most` whose output depends on no trainable parameter, -1 where there is none."""
    last = -1
    with torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        tokens = encoder.embed(images[:1])
        for layer in range(most + 1):
            if layer:
                tokens = encoder.run(tokens, layer - 1, layer)[0]
            if tokens.requires_grad:
                break
            last = layer
    return last


def _are_equal(teacher: Encoder, student: Encoder, layer: int, images: Tensor) -> bool:
    """Return whether both give bit-identical tokens of these images after a layer, the student in training mode."""
    with torch.autocast(images.device.type, enabled=False):
        a, b = (e.run(e.embed(images), 0, layer)[0] for e in (teacher, student))
    return torch.equal(a, b)


def _share_memory(teacher: Encoder, student: Encoder) -> None:
    """Let the teacher's weights that are frozen and equal in the student be the student's."""
    table = dict(student.named_parameters())
    for name, parameter in teacher.named_parameters():
        other = table.get(name)
        if other is not None and not other.requires_grad and torch.equal(other, parameter):
            parameter.data = other.data


def check_trunk_sharing(value: bool | str) -> None:
    """Raise `InputError` unless a value of `trunk_sharing` is True, False or 'auto'."""
    if value not in (True, False, 'auto'):
        raise InputError(f'`trunk_sharing` is {value!r}; expected True, False or \'auto\'.', 'trunk_sharing')


def refuse_trunk_sharing(where: str) -> NoReturn:
    """Raise the `InputError` of a teacher that must share a trunk and cannot; `where` is the config key."""
    raise InputError('`trunk_sharing` is True, but no layer of the student is frozen and equal to the teacher\'s. '
                     'Freeze the embedding and the first blocks (optim_wrapper.generator.freeze), start both from the '
                     'same weights, do without FSDP2, or leave `trunk_sharing` out.', where)
