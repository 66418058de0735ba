"""What a hook asks quantizers: their tables, restarts and advice, codes in range, the same state on every rank."""
from __future__ import annotations

import hashlib
from typing import Mapping, Sequence

import torch
from torch import Tensor, nn

from dtbox import distributed
from dtbox.errors import Diverged, InputError


def name_depths(name: str, count: int) -> list[str]:
    """Return what the depths of a vocabulary are called in files: `{name}_{depth}`, or `name` where there is one."""
    return [f'{name}_{depth}' for depth in range(count)] if count > 1 else [name]


def check_codes(quantizer: nn.Module, codes: Tensor) -> None:
    """Raise `InputError` unless the codes [B,N,Q] of a quantizer lie in its codebooks."""
    sizes = quantizer.codebook_sizes
    if codes.shape[-1] != len(sizes):
        problem = f'codes of the shape {list(codes.shape)}'
    elif not codes.numel():
        return
    else:
        low, high = codes.flatten(0, -2).amin(0).tolist(), codes.flatten(0, -2).amax(0).tolist()
        if min(low) >= 0 and all(h < size for h, size in zip(high, sizes)):
            return
        problem = f'codes from {min(low)} to {max(high)}'
    raise InputError(f'{type(quantizer).__name__} gave {problem}; its `codebook_sizes` are {list(sizes)}. '
                     'Run `dtbox plugins check` on it.')


def find_coded(quantizers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return name -> quantizer of those that have codes; continuous ones have none to watch."""
    return {name: quantizer for name, quantizer in quantizers.items() if quantizer.codebook_sizes}


def find_codebooks(quantizer: nn.Module) -> list[nn.Module]:
    """Return the codebooks of a quantizer: modules that have a `weight` [K, C] and say what they `collect`."""
    return [m for m in quantizer.modules() if hasattr(m, 'collect') and getattr(m, 'weight', None) is not None]


def find_tables(quantizer: nn.Module) -> Sequence[Tensor]:
    """Return the tables [K, C] of a quantizer: what its own `tables()` says, or those of its codebooks."""
    if hasattr(quantizer, 'tables'):
        return list(quantizer.tables())
    return [book.weight for book in find_codebooks(quantizer)]


def count_restarts(quantizer: nn.Module) -> int | None:
    """Return how many codes have restarted so far; None where no codebook counts them."""
    counts = [book.restarts for book in find_codebooks(quantizer) if hasattr(book, 'restarts')]
    return sum(counts) if counts else None


def advise(quantizer: nn.Module) -> str:
    """Return what to try against unused codes."""
    if not find_tables(quantizer):
        return ('Try fewer codes, levels or bits, or a wider spread of the features (a larger weight of the losses '
                'that read them).')
    tips = ['a smaller codebook or code width', "codebook.start=dict(type='KMeansStart')"]
    if not any(getattr(book, 'restart', 0) for book in find_codebooks(quantizer)):
        tips.insert(0, 'codebook.restart=1.0, so that unused codes take vectors of the batch')
    return f'Try {", ".join(tips)}, or a lower learning rate of the encoder.'


def check_ranks(quantizers: Mapping[str, nn.Module], iteration: int) -> None:
    """Raise `Diverged` on every rank unless the states of the quantizers are bit-identical on all."""
    if distributed.get_world_size() == 1:
        return
    own = {name: hash_state(quantizer) for name, quantizer in quantizers.items()}
    everywhere = distributed.gather_objects(own)
    for name in own:
        values = [state[name] for state in everywhere]
        if len(set(values)) > 1:
            odd = [rank for rank, value in enumerate(values) if value != values[0]]
            raise Diverged(f'at iteration {iteration}, the codebooks of the vocabulary `{name}` are no longer the same '
                           f'on all ranks: {odd} differ from rank 0. Something updates them on one rank alone; resume '
                           'from the last checkpoint.')


def hash_state(module: nn.Module) -> str:
    """Return a hash of a module's state, 16 hex digits."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
