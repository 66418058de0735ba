"""Images: the embedded emoji, or the user's own images once `data_root` is set."""
from __future__ import annotations

from dtbox.datasets.base import PairDataset
from dtbox.errors import InputError
from dtbox.registry import DATASETS


@DATASETS.register_module()
def EmojiOrFolder(data_root: str | None = None, split: str = 'train', twemoji: dict | None = None,
                  folder: dict | None = None, seed: int = 0, limit: int | None = None) -> PairDataset:
    """Build one of two datasets, so that setting `data_root` is all it takes to train on other images.

    Args:
        data_root: None for the emoji, or a folder of images.
        split: as in `Twemoji`; a folder has 'train' and 'heldout' only and takes any other name for 'heldout'.
        twemoji: config of the dataset without data_root, with its own pipeline; `type` is Twemoji unless given.
        folder: config of the dataset with data_root; `type` is ImageFolder unless given.
        seed: of the augmentation, for either.
        limit: take at most so many images, for either; None for all.

    Raises:
        InputError: the config that is needed is missing, or what the dataset says.
    """
    name, cfg, kind = ('twemoji', twemoji, 'Twemoji') if data_root is None else ('folder', folder, 'ImageFolder')
    if cfg is None:
        raise InputError(f'EmojiOrFolder with data_root={data_root!r} needs the argument `{name}`: the config of '
                         f'{kind} with its pipeline.')
    defaults = dict(type=kind, split=split, seed=seed, **({} if limit is None else dict(limit=limit)))
    cfg = dict(defaults, **cfg)
    if data_root is not None:
        cfg.setdefault('data_root', data_root)
        cfg['split'] = 'train' if cfg['split'] == 'train' else 'heldout'
    return DATASETS.build(cfg, where=name)
