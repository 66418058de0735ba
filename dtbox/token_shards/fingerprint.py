"""What the codes of an image depend on, as a few hashes: token shards of one folder have one fingerprint."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dtbox.arguments import describe
from dtbox.errors import InputError

if TYPE_CHECKING:
    import torch

DIGITS = 16
"""Hex digits of a digest."""
HINTS = {'pipeline': ' (a hash of --views, --crop-scale, --seed, --vocabularies, --embedding, --jpeg and the resize)'}
"""Field that is a hash of several things -> what these are, for messages."""


def hash_json(value: Any) -> str:
    """Return the SHA-256 of a value as canonical JSON, 64 hex digits; the order of the keys of a dict does not matter.

    Raises:
        InputError: a value that JSON cannot write.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(',', ':'), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as e:
        raise InputError(f'{describe(value)} has no JSON form ({e}); expected numbers, strings, lists and '
                         'dicts.') from e
    return hashlib.sha256(text.encode()).hexdigest()


def name_device(device: torch.device) -> str:
    """Return the class of a device: `cpu:` with the instructions that the kernels of torch use, such as AVX512, or
    `cuda:` with the model of the GPU."""
    import torch
    if device.type == 'cpu':
        return f'cpu:{torch.backends.cpu.get_cpu_capability()}'
    if device.type == 'cuda':
        return f'cuda:{torch.cuda.get_device_name(device)}'
    return device.type


@dataclass(frozen=True)
class Fingerprint:
    """What the codes of an image depend on.

    Attributes:
        weights: SHA-256 of the tokenizer's tensors, as `dtbox.checksums.hash_tensors` gives it before any cast.
        config: SHA-256 of the resolved config of the tokenizer (`hash_json`).
        pipeline: SHA-256 of how an image file becomes a tensor: resize, crop, views, normalisation (`hash_json`).
        dtype: in which the model computes, such as `float32`.
        device: class of the device (`name_device`).
        batch: rule by which images share a batch, such as `batch=32,padded,threads=1,aligned=64`.
    """
    weights: str
    config: str
    pipeline: str
    dtype: str
    device: str
    batch: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all fields, 16 hex digits."""
        return hash_json(self.to_dict())[:DIGITS]

    def differences(self, other: Fingerprint) -> list[str]:
        """Return the names of the fields in which two fingerprints differ."""
        return [field.name for field in fields(self) if getattr(self, field.name) != getattr(other, field.name)]

    def explain(self, other: Fingerprint) -> str:
        """Return in which fields this fingerprint differs from another one, with both values, for messages."""
        return ', '.join(f'`{name}` is {getattr(self, name)[:40]}, not {getattr(other, name)[:40]}{HINTS.get(name, "")}'
                         for name in self.differences(other))

    def to_dict(self) -> dict[str, str]:
        """Return the fields as a plain dict."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Fingerprint:
        """Return the fingerprint that `to_dict` described; `InputError` for missing, unknown or odd fields."""
        names = [field.name for field in fields(Fingerprint)]
        if not isinstance(values, Mapping) or set(values) != set(names) or not all(
                isinstance(value, str) for value in values.values()):
            raise InputError(f'a fingerprint is {describe(values)}; expected a dict of strings with the keys '
                             f'{", ".join(names)}.')
        return Fingerprint(**values)
