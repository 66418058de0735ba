"""Exported folders for `transformers`: AutoModel.from_pretrained(folder, trust_remote_code=True) opens them by dtbox.

The module in such a folder (`auto_shim.py`) names the classes that `make_auto_classes` builds. `transformers` is
imported where it is needed.
"""
from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

from dtbox.errors import InputError, need_package
from dtbox.weights.hub_models import find_pretrained

FETCHED = ('revision', 'cache_dir', 'token', 'local_files_only')
"""Arguments of `from_pretrained` that say how a folder comes from the hub."""
HANDED_ON = ('trust_remote_code', 'code_revision', 'adapter_kwargs', 'force_download', 'proxies', 'subfolder',
             'torch_dtype', '_from_auto', '_commit_hash', 'use_safetensors', 'low_cpu_mem_usage')
"""Arguments that `AutoModel` hands on or that change nothing here; `torch_dtype` is the earlier name of `dtype`."""


@functools.cache
def make_auto_classes(kind: str) -> tuple[type, type]:
    """Return the classes (config, model) of a kind of folder.

    Raises:
        InputError: transformers is not installed.
    """
    transformers: Any = need_package('transformers', 'mllm', 'AutoModel')

    class DtboxConfig(transformers.PreTrainedConfig):
        """What config.json says."""
        model_type = kind

    class DtboxModel(transformers.PreTrainedModel):
        """A model of dtbox as a module of transformers.

        Attributes:
            dtbox: the `MultimodalModel` or `Tokenizer`; what that has, this object has, too.
            model: its module.
        """
        config_class = DtboxConfig

        def __init__(self, config: Any, opened: Any) -> None:
            super().__init__(config)
            object.__setattr__(self, 'dtbox', opened)
            self.model = opened.model
            self.eval()

        @classmethod
        def from_pretrained(cls, folder: str | os.PathLike, config: Any = None, device_map: Any = None,
                            dtype: Any = None, plugins: Any = (), **more: Any) -> DtboxModel:
            """Open a folder, or fetch it from the hub and open it; see `open_folder`."""
            check_names(more)
            found = fetch_folder(folder, more)
            opened = open_folder(found, device_map, more.get('torch_dtype') if dtype is None else dtype, plugins)
            return cls(config or DtboxConfig.from_pretrained(found), opened)

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            """Call the module."""
            return self.model(*args, **kwargs)

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                if 'dtbox' not in self.__dict__:  # while it is built
                    raise
                return getattr(self.dtbox, name)

        def save_pretrained(self, folder: str | os.PathLike, **more: Any) -> None:
            """Write a new folder, which opens in the same way."""
            from dtbox.apis.model_card import export_folder
            export_folder(self.dtbox, folder)

    return DtboxConfig, DtboxModel


def check_names(given: Mapping[str, Any]) -> None:
    """Raise `InputError` for an argument of `from_pretrained` that a model of dtbox cannot follow."""
    for name in given:
        if name not in (*FETCHED, *HANDED_ON):
            raise InputError('a model of dtbox does not know this argument of from_pretrained. It knows device_map, '
                             f'dtype, plugins, {", ".join(FETCHED)}.', name)


def fetch_folder(folder: str | os.PathLike, how: Mapping[str, Any]) -> str:
    """Return a local folder; one that is not there comes from the cache of the hub, or from the hub, by its name."""
    if os.path.isdir(folder):
        return os.fspath(folder)
    return find_pretrained(str(folder), **{name: how[name] for name in FETCHED if how.get(name) is not None})


def open_folder(folder: str, device_map: Any = None, dtype: Any = None, plugins: Any = ()) -> Any:
    """Return what `dtbox.load` opens of a folder.

    Args:
        folder: local folder.
        device_map: a device, or 'auto' for the GPU where there is one; models are not divided over several.
        dtype: as in `dtbox.load`; None or 'auto' for float32.
        plugins: as in `dtbox.load`.

    Raises:
        InputError: what `dtbox.load` says; a device map of several devices.
    """
    from dtbox.apis.loading import load
    from dtbox.apis.opening import choose_device
    if isinstance(device_map, Mapping):
        devices = list(device_map.values())
        if list(device_map) != [''] or len(devices) != 1:
            raise InputError(f'got {device_map!r:.80}; a model of dtbox lies on one device. Name that.', 'device_map')
        device_map = devices[0]
    device = 'cpu' if device_map is None else choose_device() if device_map == 'auto' else device_map
    return load(folder, device=device, dtype='float32' if dtype in (None, 'auto') else dtype, plugins=plugins)
