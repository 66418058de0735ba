"""A tokenizer's model around the weights of a file, on a device and in a float type."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from dtbox.arguments import describe, refuse
from dtbox.counts import format_count
from dtbox.errors import InputError, reason
from dtbox.registry import TOKENIZERS
from dtbox.tokenizers.visual import VisualTokenizer
from dtbox.weights.state_dicts import load_into

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}
DRAWS = {*(getattr(torch.Tensor, name) for name in ('uniform_', 'normal_', 'erfinv_', 'clamp_', 'mul_', 'add_')),
         *(getattr(torch.nn.init, name) for name in (
             'uniform_', 'normal_', 'xavier_uniform_', 'xavier_normal_', 'kaiming_uniform_', 'kaiming_normal_',
             'orthogonal_'))}
"""What initialisation draws for a parameter in place; timm's truncated normal distribution takes all of the first but
the second. PyTorch's own tells no mode of itself, and is drawn."""


def parse_dtype(dtype: 'str | torch.dtype') -> torch.dtype:
    """Return the torch dtype of a name; `InputError` for one that models are not opened in."""
    found = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or found not in DTYPES.values():
        raise InputError(f'`dtype` is {describe(dtype)}; expected one of {", ".join(DTYPES)}.')
    return found


def build_for_use(cfg: Mapping[str, Any], state: dict[str, torch.Tensor], source: str,
                  device: str | torch.device = 'cpu', dtype: torch.dtype = torch.float32) -> VisualTokenizer:
    """Build a VisualTokenizer in evaluation mode around a state dict.

    Args:
        cfg: config of the tokenizer.
        state: dict name -> tensor.
        source: where the state came from, for messages.
        device, dtype: where and in which float type; quantizers stay float32.

    Raises:
        InputError: weights that do not match, a device that is not there.
    """
    model = build_with({'type': 'VisualTokenizer', **cfg}, state, source)
    try:
        return cast(model, dtype).to(device).eval().requires_grad_(False)
    except (RuntimeError, AssertionError) as e:
        raise InputError(f'the model cannot be moved to the device {device!r}: {reason(e)}') from e


def build_with(cfg: Mapping[str, Any], state: dict[str, torch.Tensor], source: str) -> VisualTokenizer:
    """Build a tokenizer around the tensors of a state dict: nothing is initialised first, nothing is there twice.

    Models that compute with numbers when they are built, or have tensors that no state dict holds, are built with
    memory, yet no numbers are drawn for parameters; those that keep tensors elsewhere have the weights copied.
    """
    with limit_tensors(state, source):
        model = _without_memory(cfg)
        assign = model is not None
        if model is None:
            with _Undrawn():
                model = TOKENIZERS.build(cfg, where='model.tokenizer')
            assign = not any(isinstance(value, torch.Tensor) for module in model.modules()
                             for value in vars(module).values())
    load_into(model, state, source, assign=assign)
    return model


class _Undrawn(TorchFunctionMode):
    """Within the block, parameters that would be drawn are left as they come: a state dict brings all of them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get('tensor')
        return target if func in DRAWS and isinstance(target, torch.nn.Parameter) else func(*args, **kwargs)


class TooLarge(InputError):
    """A config describes a model that has nothing to do with the weights."""


@contextlib.contextmanager
def limit_tensors(state: Mapping[str, torch.Tensor], source: str) -> Iterator[None]:
    """Stop building a model within the block once it has far more parameters than the weights that it is for: a config
    of somebody else may ask for any depth and width.

    Raises:
        TooLarge: then.
    """
    tensors = 4 * len(state) + 1000
    numbers = 4 * sum(value.numel() for value in state.values()) + 10 ** 8
    built = [0, 0]

    def count(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter) -> None:
        built[0] += 1
        built[1] += parameter.numel()
        if built[0] > tensors or built[1] > numbers:
            raise TooLarge(f'{source} does not match its config: it holds {format_count(len(state), "tensor")}, and '
                           'the config '
                           f'describes a model of more than {built[0]:,} with {built[1]:,} numbers. Check that they '
                           'belong together.')
    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _without_memory(cfg):
    """Return the model on the meta device, or None where it is not all parameters and saved buffers."""
    try:
        with torch.device('meta'), _Undrawn():
            model = TOKENIZERS.build(cfg, where='model.tokenizer')
    except TooLarge:
        raise
    except Exception:  # whatever it is, building it as usual works, or tells what is wrong
        return None
    saved = set(model.state_dict())
    computed = any(name not in saved for name, _ in model.named_buffers())
    computed |= any(isinstance(value, torch.Tensor) and value.is_meta for module in model.modules()
                    for value in vars(module).values())
    return None if computed else model


def cast(model: VisualTokenizer, dtype: torch.dtype) -> VisualTokenizer:
    """Cast a VisualTokenizer to a float type, all but its quantizers: not even once, since rounded codebooks stay
    rounded."""
    kept = {id(t) for stream in model.streams.values()
            for t in (*stream.quantizer.parameters(), *stream.quantizer.buffers())}
    return model._apply(lambda t: t.to(dtype) if t.is_floating_point() and id(t) not in kept else t)


def read_tokenizer(value: Any) -> Any:
    """Return a `dtbox.Tokenizer`; `InputError` for anything else."""
    if not isinstance(getattr(value, 'model', None), VisualTokenizer):
        raise refuse(value, 'a Tokenizer, as dtbox.load returns it')
    return value


def check_pipeline(pipeline: Any, where: str) -> list[dict]:
    """Return the configs of a transform's steps; `InputError` unless it is a list of dicts."""
    if not isinstance(pipeline, (list, tuple)) or not all(isinstance(step, Mapping) for step in pipeline):
        raise InputError(f'got {describe(pipeline)}; expected a list of dicts with `type`, one for each step.', where)
    return list(pipeline)
