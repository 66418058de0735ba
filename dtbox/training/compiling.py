"""torch.compile as a switch. Each block is compiled by itself, so that equal blocks are compiled once."""
from __future__ import annotations

from typing import Any, Literal, Mapping

import torch
from torch import nn

from dtbox.errors import InputError, reason


def compile_task(task: nn.Module, options: Literal[True] | Mapping[str, Any]) -> int:
    """Compile the modules that a Task names (see `Task.modules_to_compile`), in place.

    State dicts keep their names. The first step of each module takes the time of compiling it.

    Args:
        task: Task on its device.
        options: True, or torch.compile's arguments (mode, backend, dynamic, ...).

    Returns:
        number of compiled modules.

    Raises:
        InputError: what compiling needs (a C++ compiler on CPUs, Triton on GPUs) does not work here.
    """
    import torch._functorch.config
    torch._functorch.config.donated_buffer = False  # some objectives go backward through a part of the graph twice
    options = {} if options is True else dict(options)
    _try(options, task.device)
    modules = task.modules_to_compile
    for module in modules:
        module.compile(**options)
    return len(modules)


def _try(options: Mapping[str, Any], device: torch.device) -> None:
    """Compile a line of code, so that what is missing is found before anything else is done."""
    try:
        torch.compile(lambda x: (x * 2 + 1).relu(), **options)(torch.ones(8, device=device))
    except Exception as e:
        raise InputError(f'torch.compile does not work here ({reason(e)}). On CPUs it needs a C++ compiler (g++), on '
                         'GPUs Triton; install it, choose another backend (compile=dict(backend=...)), or leave '
                         '`compile` out.', 'compile') from e
