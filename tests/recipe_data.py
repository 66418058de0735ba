"""Generated data for a recipe at its tiny size, where the recipe reads data that it does not carry."""
from pathlib import Path

from mmengine.config import Config

from dtbox.config import set_option
from tests.cifar_data import write_shards as write_cifar
from tests.format_data import caltech101, flickr8k, imagenet
from tests.shard_data import write_set
from tests.tiny_run import write_photos


def give_data(cfg: Config, folder: Path) -> Config:
    """Point a config, references not resolved, at small data below `folder`, which are written where they are not
    there; returns the config."""
    kind = cfg.train_dataloader.dataset.type
    if 'captions_root' in cfg:
        set_option(cfg, 'data_root', _write(folder / 'caltech101', lambda path: caltech101(path, each=20)))
        set_option(cfg, 'captions_root', _write(folder / 'flickr8k', flickr8k))
    elif kind == 'Shards':
        shards = _write(folder / 'shards', lambda path: write_set(path, [3, 3]))
        set_option(cfg, 'shards', shards), set_option(cfg, 'heldout', shards)
    elif kind in KINDS:
        set_option(cfg, 'data_root', _write(folder / kind, KINDS[kind]))
    return cfg


def _write(folder, write):
    if not folder.exists():
        write(folder)
    return str(folder)


KINDS = dict(CIFAR10=write_cifar, ImageNet=imagenet, Photographs=lambda path: write_photos(path, train=6, heldout=4))
"""Type of a dataset -> what writes its folder."""
