"""Weights from a file, the packaged zoo or a hub, into a module, with every key accounted for."""
from __future__ import annotations

import argparse
import math
import os
from collections.abc import Container, Mapping
from importlib import resources
from typing import Any, Callable, Iterable

import torch

from dtbox.arguments import describe, read_tensor
from dtbox.counts import format_count
from dtbox.errors import InputError, at, closest, reason
from dtbox.weights.entries import choose_weights, split_entry, strip_name, strip_wrappers
from dtbox.weights.packages import PACKAGE, find_package_file
from dtbox.weights.renaming import KeysError
from dtbox.weights.torch_files import Damaged, load_checked

ZOO = 'dtbox://'
ALIGNMENT = 64
"""Bytes to whose multiples torch's CPU allocator places tensors. Kernels sum in another order at other places, so the
last bit differs."""
CHUNK = 1 << 24
"""Bytes that are copied from a mapped file before it is mapped anew: mapped pages count as memory of the process."""


def find_zoo() -> Any:
    """Return the folder of what is packaged."""
    return resources.files('dtbox').joinpath('zoo')


def find_zoo_path(uri: str) -> str:
    """Return the local path of `dtbox://NAME` (its weights) or `dtbox://NAME/FILE`; `InputError` for neither."""
    name, _, file = uri[len(ZOO):].partition('/')
    root = find_zoo()
    known = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith('_'))
    if name not in known:
        raise InputError(f'the zoo has no weights named `{name}`.{closest(name, known)} It has: '
                         f'{", ".join(known) or "none"}.')
    path = root.joinpath(name, file or 'model.safetensors')
    if not path.is_file():
        raise InputError(f'the zoo entry `{name}` has no file `{file or "model.safetensors"}`.')
    return str(path)


def find_local_path(uri: str) -> str:
    """Turn a `dtbox://` or `package://` name into a path; leave everything else as it is."""
    return find_package_file(uri) if uri.startswith(PACKAGE) else find_zoo_path(uri) if uri.startswith(ZOO) else uri


def load_state(uri: str, keep: Callable[[str], bool] | None = None, mapped: bool = True) -> dict[str, torch.Tensor]:
    """Load a state dict.

    Args:
        uri: `dtbox://NAME`, a .safetensors / .pt / .pth / .bin file, or anything MMEngine's CheckpointLoader knows
            (http://, open-mmlab://, ...). Of several sets of weights in a file an average (EMA) is taken, or the one
            that FILE::ENTRY names; see `dtbox.weights.entries`.
        keep: which keys to return; other tensors are not read where the format allows it (safetensors).
        mapped: a safetensors file may stay mapped: right for weights that are copied into a module. False: every tensor
            has memory of its own, and the whole takes little more memory than the weights: right for weights that a
            module keeps (`assign`).

    Returns:
        dict name -> tensor, on the CPU; without what wrappers (`module.`, `_orig_mod.`) add to names.

    Raises:
        InputError: no such file, one that cannot be read, one without weights, or with several sets that could be
            meant.
    """
    path, entry = split_entry(find_local_path(uri))
    content = read_content(path, keep, mapped)
    state = choose_weights(content, path, entry)
    return state if keep is None else {k: v for k, v in state.items() if keep(k)}


def read_content(path: str, keep: Callable[[str], bool] | None = None, mapped: bool = True) -> Any:
    """Return what a file of weights holds, on the CPU; arguments and errors as those of `load_state`."""
    if '://' not in path and not os.path.isfile(path):
        raise InputError(f'the weights file {path} does not exist. Give a .safetensors or .pth file, or dtbox://NAME.')
    try:
        return read_safetensors(path, keep, mapped) if path.endswith('.safetensors') else _read_file(path)
    except InputError:
        raise
    except Exception as e:
        raise InputError(f'the weights file {path} cannot be read ({reason(e)}). '
                         'It may be half downloaded or not a weights file.') from e


def _read_file(path: str) -> Any:
    if '://' in path:
        from mmengine.runner import CheckpointLoader
        return CheckpointLoader.load_checkpoint(path, map_location='cpu')
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # plain values: options that many trainers keep
            return load_checked(path)
    except Damaged as e:
        raise InputError(f'the weights file {path} is damaged: its record {e.record} does not match its '
                         'checksum. A disk or a copy has changed it; take another copy.') from None


def read_safetensors(path: str, keep: Callable[[str], bool] | None = None, mapped: bool = True) -> dict[str,
                                                                                                        torch.Tensor]:
    """Read the tensors of a .safetensors file; `keep` (of names without what wrappers add) and `mapped` are those of
    `load_state`."""
    from safetensors import safe_open
    with safe_open(path, 'pt') as file:
        keys = [key for name, key in strip_wrappers({key: key for key in file.keys()}).items()
                if keep is None or keep(name)]
        if mapped:
            return {key: file.get_tensor(key) for key in keys}
    state: dict[str, torch.Tensor] = {}
    while len(state) < len(keys):
        copied = 0
        with safe_open(path, 'pt') as file:
            for key in keys[len(state):]:
                state[key] = file.get_tensor(key).clone()
                copied += state[key].nbytes
                if copied >= CHUNK:
                    break
    return state


def align_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor whose memory begins at a multiple of `ALIGNMENT`: itself, or a copy.

    Equal weights then give equal bits, whatever file they came from: tensors of a mapped file, and views, lie anywhere.
    """
    return tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor


def select_prefix(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Return the entries of `state` under `prefix`, without it; what wrappers add is no part of either."""
    found = {k[len(prefix):]: v for k, v in state.items() if k.startswith(prefix)}
    plain = strip_name(prefix)
    return found if found or plain == prefix else {k[len(plain):]: v for k, v in state.items() if k.startswith(plain)}


def load_into(module: torch.nn.Module, state: dict[str, torch.Tensor], source: str, ignore: Iterable[str] = (),
              assign: bool = False) -> None:
    """Load `state` into `module`, exactly.

    Args:
        module: the module.
        state: dict name -> tensor.
        source: where it came from, for the message.
        ignore: prefixes of names that may be missing or left over.
        assign: let the module have the tensors of `state` themselves, in its own types and in aligned memory, instead
            of copying them; its own may be on the meta device.

    Raises:
        KeysError: with the keys that are missing, left over or of the wrong shape.
        InputError: values that are not finite (a buffer may hold infinities, as masks do).
    """
    own = module.state_dict()
    for name in own.keys() & state.keys():
        _check_values(name, state[name], own[name], source)
    check_finite({k: v for k, v in state.items() if k in own}, source, dict(module.named_parameters()))
    skip = tuple(ignore)
    missing = [k for k in own if k not in state and not k.startswith(skip or ('\0',))]
    extra = [k for k in state if k not in own and not k.startswith(skip or ('\0',))]
    shapes = [f'{k}: {tuple(state[k].shape)} in the file, {tuple(v.shape)} in the model'
              for k, v in own.items() if k in state and state[k].shape != v.shape]
    if missing or extra or shapes:
        raise KeysError(f'{source} does not match {type(module).__name__}.' + _listing('missing', missing)
                        + _listing('left over', extra) + _listing('wrong shape', shapes)
                        + ' Check that the name, the sizes and the file belong together.', missing, extra)
    values = {k: align_tensor(v.to(own[k].dtype)) if assign else v for k, v in state.items() if k in own}
    module.load_state_dict(values, strict=False, assign=assign)


def _check_values(name: str, value: torch.Tensor, own: torch.Tensor, source: str) -> None:
    """Raise `InputError` for a tensor of a file that is sparse, quantized, nested, without values, or complex where the
    model's is not."""
    with at(f'the tensor {name} of {source}'):
        read_tensor(value.to_local() if hasattr(value, 'to_local') else value)  # FSDP2's
        if value.is_complex() and not own.is_complex():
            raise InputError(f'got {describe(value)}; expected real numbers.')


def check_finite(state: Mapping[str, torch.Tensor], source: str, finite: Container[str]) -> None:
    """Raise `InputError` for tensors of a file with NaN, and for those named in `finite` with infinities: what a
    training that has diverged, or a damaged conversion, leaves."""
    odd = []
    for name, value in state.items():
        value = value.to_local() if hasattr(value, 'to_local') else value  # FSDP2's
        if value.is_floating_point() and not math.isfinite(value.sum(dtype=torch.float32)):  # one pass, no copy
            bad = ~value.isfinite() if name in finite else value.isnan()
            odd += [name] * bool(bad.any())
    if odd:
        raise InputError(f'{source} holds NaN or infinite values in {len(odd)} of '
                         f'{format_count(len(state), "tensor")}: {", ".join(odd[:3])}{", ..." if odd[3:] else ""}. Its '
                         'training has diverged, or it is damaged; take another file.')


def resize_positions(state: dict[str, torch.Tensor], module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Fit learned position tables [1, N, D] to a module of another image size, bicubically (timm's
    `resample_abs_pos_embed`).

    Args:
        state: dict name -> tensor, of a model with square grids of positions.
        module: the module that they are for.

    Returns:
        a dict like `state`; tables whose number of positions differs are resized, all else is as it was.
    """
    from timm.layers import resample_abs_pos_embed
    own, found = module.state_dict(), dict(state)
    for name, value in state.items():
        new = own[name].shape if name in own else value.shape
        tables = value.ndim == 3 == len(new) and value.shape[0] == new[0] == 1 and value.shape[2] == new[2]
        if tables and value.shape[1] != new[1]:
            prefix = next((p for p in range(3) if math.isqrt(value.shape[1] - p) ** 2 == value.shape[1] - p
                           and math.isqrt(new[1] - p) ** 2 == new[1] - p), None)
            if prefix is None:
                raise InputError(f'the position table {name} has {format_count(value.shape[1], "place")} and should '
                                 f'have {new[1]}; only square grids can be resized.')
            found[name] = resample_abs_pos_embed(value, [math.isqrt(new[1] - prefix)] * 2, num_prefix_tokens=prefix)
    return found


def _listing(title, keys, most=12):
    if not keys:
        return ''
    more = f', and {len(keys) - most} more' if len(keys) > most else ''
    return f' {len(keys)} {title}: {"; ".join(keys[:most])}{more}.'


def register_scheme() -> None:
    """Let MMEngine's own loaders (`init_cfg`, `load_from`) read `dtbox://` names."""
    from mmengine.runner import CheckpointLoader
    CheckpointLoader.register_scheme(prefixes=ZOO, loader=lambda name, *_, **__: load_state(name), force=True)
