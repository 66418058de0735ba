"""Subject: the model that protocols measure, and the data that they measure it on."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from torch.utils.data import DataLoader


@dataclass
class Subject:
    """What is measured.

    Attributes:
        model: TokenizerTask in evaluation, weights loaded.
        cfg: resolved Config of the run, its held-out data replaced where others were given.
        state: the checkpoint.
        path: of the checkpoint.
        loader: DataLoader of the held-out images.
        opened: (run, checkpoint, options of the run, plugins) that it was opened with.
        data: callable size -> config of the held-out DataLoader for images of that size; None where it is the run's
            own.
    """
    model: Any
    cfg: Config
    state: dict[str, Any]
    path: str
    loader: DataLoader
    opened: tuple
    data: Callable[[Any], dict] | None = None
