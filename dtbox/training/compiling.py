"""torch.compile as a switch: the parts where the time goes are compiled, one block at a time, so that blocks alike are compiled once."""
import torch

from dtbox.errors import InputError, reason
from dtbox.training.parallel import blocks_in


def compile_parts(model, options):
    """Compile encoder and text blocks (those of the teacher, too), decoder, discriminator and LPIPS's network of a TokenizerTask, in place.

    State dicts keep their names. The first step of each part takes the time of compiling it.

    Args:
        model: TokenizerTask.
        options: True, or a dict of torch.compile's arguments (mode, backend, dynamic, ...).

    Returns:
        number of compiled modules.

    Raises:
        InputError: what compiling needs (a C++ compiler on CPUs, Triton on GPUs) does not work here.
    """
    import torch._functorch.config
    torch._functorch.config.donated_buffer = False  # the adaptive weight goes back through the decoder's end, whose graph is still needed
    options = {} if options is True else dict(options)
    _try(options, model.iteration.device)
    tokenizer = model.tokenizer
    trunks = [*tokenizer.encoders.values(), tokenizer.text, None if model.teacher is None else model.teacher.encoder]
    parts = [block for trunk in trunks if trunk is not None for block in blocks_in(trunk)]
    parts += [p for p in (tokenizer.decoder, model.discriminator) if p is not None]
    for loss in model.criterion.losses.values():
        parts += [getattr(n, 'net', n) for n in getattr(loss, '_network', ())]
    for part in parts:
        part.compile(**options)
    return len(parts)


def _try(options, device):
    """Compile a line of code, so that what is missing is found before anything else is done."""
    try:
        torch.compile(lambda x: (x * 2 + 1).relu(), **options)(torch.ones(8, device=device))
    except Exception as e:
        raise InputError(f'torch.compile does not work here ({reason(e)}). On CPUs it needs a C++ compiler (g++), on GPUs Triton; install it, choose '
                         'another backend (compile=dict(backend=...)), or leave `compile` out.', 'compile') from e
