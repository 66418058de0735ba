"""Runs that the page shows: opened once, when they are first asked for, and shared by everybody who looks at them.

Nothing of a session is kept here. What takes a pass over data (counted codes, embedded words) is computed once and does
not change after that.
"""
from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dtbox import trust
from dtbox.apis.loading import find_folder, load, open_config
from dtbox.apis.opening import MLLM, set_threads
from dtbox.diagnostics.atlas_page import Seen
from dtbox.diagnostics.code_atlas import look
from dtbox.diagnostics.semantics import embed_words
from dtbox.errors import InputError, closest
from dtbox.layout import Grid, Scales
from dtbox.mllm.code_rows import read_rows
from dtbox.registry import DATASETS
from dtbox.weights.exported_folders import suggest_model

COUNTED = 512
"""Held-out images whose codes are counted, at most."""
BATCH = 32
"""Images that are encoded at a time."""


class Opened:
    """A run that is open.

    Args:
        name: on the page.
        source: what `dtbox.load` took.
        model: Tokenizer or MultimodalModel.
        trusted: whether code of the author of the run may run, see `dtbox.trust`.
        plugins: as in `dtbox.load`.

    Attributes:
        tokenizer: Tokenizer, of a language model the one that it reads and writes images with.
        lock: held while a language model answers or draws: a blanked stream changes it for a moment.
    """

    def __init__(self, name: str, source: str, model: Any, trusted: bool = False, plugins: Sequence[str] = ()) -> None:
        self.name, self.source = name, source
        self.model, self.trusted = model, trusted
        self.plugins = plugins
        self.tokenizer = getattr(model, 'tokenizer', model)
        self.lock = threading.RLock()
        self._kept: dict[str, Any] = {}
        self._locks: dict[str, threading.RLock] = {}

    @property
    def talks(self) -> bool:
        """Whether the run is a multimodal language model."""
        return self.model.use == MLLM

    @property
    def coded(self) -> list[str]:
        """Names of the streams that have codes."""
        return [name for name, stream in self.tokenizer.model.streams.items() if stream.layout.has_codes]

    def keep(self, key: str, compute: Callable[[], Any]) -> Any:
        """Return what `compute` gave the first time; an `InputError` of it is kept, too."""
        with self.lock_of(key):
            if key not in self._kept:
                try:
                    self._kept[key] = compute()
                except InputError as e:
                    self._kept[key] = e
        if isinstance(self._kept[key], InputError):
            raise InputError(self._kept[key].message, self._kept[key].where)
        return self._kept[key]

    def lock_of(self, key: str) -> threading.RLock:
        """Return the lock of a key: what takes seconds under one key holds up nobody who asks for another."""
        return self._locks.setdefault(key, threading.RLock())

    def has(self, key: str) -> bool:
        """Whether something is kept under a key."""
        return key in self._kept

    @property
    def dataset(self) -> Any:
        """Held-out images of the run; `InputError` where the run names none."""
        return self.keep('dataset', self._open_data)

    def _open_data(self) -> Any:
        source = self.model.model.tokenizer.source if self.talks else self.source
        with trust.trust_remote_code(self.trusted):
            try:
                cfg, _ = open_config(source, plugins=self.plugins)
            except InputError as e:
                raise InputError(f'{self.name} names no images of its own ({e.message.split(". ")[0].rstrip(".")}). '
                                 'Drop an image instead, or take a run folder.') from e
            data = (cfg.get('val_dataloader') or {}).get('dataset')
            if not data:
                raise InputError(f'the config of {self.name} has no held-out images. Drop an image instead.')
            set_threads(cfg)
            return DATASETS.build(dict(data), where='val_dataloader.dataset')

    @property
    def seen(self) -> Seen:
        """Codes of held-out images, counted once; `InputError` where there are no images, or codes without a place."""
        return self.keep('seen', self._count)

    def _count(self) -> Seen:
        if not self.coded:
            raise InputError(f'{self.name} has no codes to count: its vocabularies are continuous.')
        return look(self.tokenizer.model, self.dataset, self.coded, COUNTED, BATCH, lambda line: None)

    def rows(self, stream: str) -> list[Tensor]:
        """Rows [K,C] of each depth of a stream, whose sum over the depths is what its quantizer decodes.

        Raises:
            InputError: a quantizer without such rows.
        """
        found = self.tokenizer.model.streams[stream]
        if isinstance(found.layout.token_layout, Scales) or not found.layout.has_codes:
            what = 'has codes on several scales' if found.layout.has_codes else 'is continuous'
            raise InputError(f'the stream {stream} {what}, so no row of a codebook stands for a code of a patch.')
        return self.keep(f'rows/{stream}', lambda: read_rows(found.quantizer, found.sizes, stream))

    @property
    def words(self) -> tuple[list[str], Tensor]:
        """Words of the data with their embeddings [W,E]; `InputError` where the run cannot tell words from images."""
        return self.keep('words', self._embed_words)

    def _embed_words(self) -> tuple[list[str], Tensor]:
        missing = [part for part in ('head', 'text') if getattr(self.tokenizer.model, part) is None]
        if missing:
            names = dict(head='head', text='text tower')
            raise InputError(f'{self.name} has no {" and no ".join(names[part] for part in missing)}, so nothing tells '
                             'which words are near. Take a run whose config has a `head` and a `text`.')
        words, vectors = embed_words(self.tokenizer.model, self.dataset, dict(texts=self.seen.texts))
        if vectors is None:
            raise InputError(f'{self.name}: {words}.')
        return drop_unknown(words, vectors)


class Runs:
    """The runs of a page by their names; each is opened when it is first asked for.

    Args:
        sources: what `dtbox.load` takes.
        device, plugins: as in `dtbox.load`.
        trusted: whether code of their authors may run.

    Raises:
        InputError: a run that is not there.
    """

    def __init__(self, sources: Sequence[str], device: str = 'cpu', plugins: Sequence[str] = (),
                 trusted: bool = False) -> None:
        self.device, self.plugins = device, plugins
        self.trusted = trusted
        for source in sources:
            if not os.path.exists(find_folder(source)):
                raise InputError(f'the run {source} does not exist.{suggest_model(source)} Give run folders, folders '
                                 'of save_pretrained, or packaged models (dtbox://NAME).', 'run')
        self.sources = dict(zip(name_runs(sources), sources))
        self._opened: dict[str, Opened] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """Names in the order of the command line."""
        return list(self.sources)

    def is_open(self, name: str) -> bool:
        """Whether a run is open, so that `get` takes no time."""
        return name in self._opened

    def get(self, name: str | None) -> Opened:
        """Return a run by its name; `InputError` for another name, and for a run that has gone or cannot be opened."""
        if name not in self.sources:
            raise InputError(f'this page shows no run {str(name)[:60]!r}.{closest(str(name), self.names)} It shows '
                             f'{", ".join(self.names)}.')
        with self._lock:
            if name not in self._opened:
                source = self.sources[name]
                model = load(source, device=self.device, plugins=self.plugins, trust_remote_code=self.trusted)
                self._opened[name] = Opened(name, source, model, self.trusted, self.plugins)
            return self._opened[name]


def drop_unknown(words: Sequence[str], vectors: Tensor) -> tuple[list[str], Tensor]:
    """Leave out words [W] that have their embedding [W,E] in common with others: the text tower does not know them."""
    _, number, counts = torch.unique(vectors, dim=0, return_inverse=True, return_counts=True)
    kept = [i for i, own in enumerate(number.tolist()) if counts[own] == 1]
    return [words[i] for i in kept], vectors[kept]


def name_runs(sources: Sequence[str]) -> list[str]:
    """Return a name for each source: that of its folder, with the folders above it where two would have the same."""
    short = [os.path.basename(os.path.normpath(source)) for source in sources]
    names = [one if short.count(one) == 1 else source for one, source in zip(short, sources)]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise InputError(f'the run {double} came twice. Name each run once.', 'run')
    return names


def find_grid(tokenizer: Any, stream: str | None = None) -> Grid | None:
    """Return the rows and columns of the tokens of a stream (None: of the first stream that has them): a grid, or the
    last of several scales; None where its tokens have no place in the image."""
    names = [stream] if stream is not None else list(tokenizer.model.streams)
    for name in names:
        layout = tokenizer.model.streams[name].layout.token_layout
        if isinstance(layout, Scales):
            return layout.grids[-1]
        if isinstance(layout, Grid):
            return layout
    return None
