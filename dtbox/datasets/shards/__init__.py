"""WebDataset-style shards: tar files whose members KEY.jpg, KEY.cls, KEY.txt, ... make one sample a KEY.

`places` says which shards a pattern names, `index` where the samples of a shard lie, `fetch` brings shards that only a
command can read, `dataset` is `Shards`, `reading` goes through small shards from front to back.
"""
from dtbox.datasets.shards.dataset import Shards
from dtbox.datasets.shards.reading import list_shards, read_shards

__all__ = ['Shards', 'list_shards', 'read_shards']
