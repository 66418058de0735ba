"""A teacher that shares the student's trunk as far as that is frozen: those blocks run once, and their weights are in memory once."""
import torch

from dtbox.errors import InputError
from dtbox.training.parallel import is_sharded


@torch.no_grad()
def find_shared(teacher, tokenizer, images):
    """Find how far the student's trunk is the teacher's.

    Args:
        teacher: Teacher.
        tokenizer: VisualTokenizer in training mode.
        images: [B,3,H,W] in [-1,1], on which the two are compared.

    Returns:
        (name of the encoder, layer behind whose output the teacher goes on alone), or None where nothing is shared; a trunk that FSDP2 has sharded
        never is.
    """
    own = teacher.encoder
    if any(is_sharded(p) for p in tokenizer.encoders.parameters()):
        return None
    for name, encoder in tokenizer.encoders.items():
        if type(encoder) is type(own) and encoder.depth == own.depth and encoder.grid(0) == own.grid(0) and not encoder.num_prefix_tokens:
            layer = _frozen(encoder, images, min([encoder.depth, *(at for e, at in tokenizer.reinjections if e == name)]))
            if layer > 0 and _equal(own, encoder, layer, images):
                _alias(own, encoder)
                return name, layer
    return None


def _frozen(encoder, images, most):
    """Return the last layer up to `most` that no trainable parameter has a part in, -1 where there is none."""
    found = -1
    with torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        tokens = encoder.embed(images[:1])
        for layer in range(most + 1):
            if layer:
                tokens = encoder.run(tokens, layer - 1, layer)[0]
            if tokens.requires_grad:
                break
            found = layer
    return found


def _equal(teacher, student, layer, images):
    """Whether both, the student as it trains, say exactly the same of these images."""
    with torch.autocast(images.device.type, enabled=False):
        a, b = (e.run(e.embed(images), 0, layer)[0] for e in (teacher, student))
    return torch.equal(a, b)


def _alias(teacher, student):
    """Let the teacher's weights that the student has, too, frozen and equal, be the student's."""
    table = dict(student.named_parameters())
    for name, parameter in teacher.named_parameters():
        other = table.get(name)
        if other is not None and not other.requires_grad and torch.equal(other, parameter):
            parameter.data = other.data


def check_share(share):
    """Raise `InputError` unless `share` is True, False or 'auto'."""
    if share not in (True, False, 'auto'):
        raise InputError(f'`share` is {share!r}; expected True, False or \'auto\'.', 'share')


def refuse(name):
    """Raise the `InputError` of a teacher that is to share a trunk and cannot."""
    raise InputError('`share` is True, but no layer of the student is frozen and equal to the teacher\'s. Freeze the embedding and the first blocks '
                     '(optim_wrapper.generator.freeze), start both from the same weights, do without FSDP2, or leave `share` out.', name)
