"""Mixtures: fixed counts in every batch, the same batch for an iteration, each dataset once an epoch."""
from itertools import islice

import pytest

from dtbox.datasets import FixedCounts, Mixture, Twemoji
from dtbox.datasets.mixture import MixtureSampler
from dtbox.errors import InputError
from dtbox.registry import DATASETS
from dtbox.training.dataloaders import build_train_dataloader, build_val_dataloader
from tests.conversation_data import llava, write_rows

SIZES = dict(draw=10, read=7)


def take(count, **more):
    """Return the first batches of a mixture of 10 and 7 with 2 and 1 in a batch."""
    return list(islice(MixtureSampler(SIZES, [2, 1], **more), count))


@pytest.mark.parametrize('weights, batch, counts', [
    (None, 8, [4, 4]), (None, 3, [2, 1]), (dict(a=3, b=1), 8, [6, 2]), (dict(a=1, b=2), 8, [3, 5]),
    (dict(a=0.1, b=0.2), 3, [1, 2])])
def test_counts_by_hand(weights, batch, counts):
    assert FixedCounts(weights).counts(['a', 'b'], batch) == counts


@pytest.mark.parametrize('weights, message', [
    (dict(a=0, b=1), 'weight of `a` is 0'), (dict(a=-1), 'above 0'), (dict(a=1), 'expected a weight of each'),
    (dict(a=1, b=1, c=1), 'expected a weight of each dataset: a, b'), (dict(a=100, b=1), 'holds none of `b`')])
def test_bad_weights(weights, message):
    with pytest.raises(InputError, match=message):
        FixedCounts(weights).counts(['a', 'b'], 8)


def test_every_batch_holds_each_kind():
    for batch in take(40, seed=1):
        assert [position % 17 < 10 for position in batch] in ([True, False, True],)


def test_each_dataset_once_an_epoch():
    """Each has its own epochs: 10 draw samples take 5 batches, 7 read samples 7."""
    batches = take(35, seed=1)
    drawn = [p for batch in batches for p in batch if p % 17 < 10]
    read = [p for batch in batches for p in batch if p % 17 >= 10]
    assert [sorted(drawn[i:i + 10]) for i in (0, 10)] == [[17 * e + i for i in range(10)] for e in (0, 1)]
    assert [sorted(read[i:i + 7]) for i in (0, 7)] == [[17 * e + i for i in range(10, 17)] for e in (0, 1)]
    assert drawn[:10] != sorted(drawn[:10])


def test_resumed_sampler():
    assert take(12, seed=2)[7:] == take(5, seed=2, cursor=7)
    assert take(12, seed=2) != take(12, seed=3)


def test_two_ranks_are_one():
    """A global batch is divided dataset by dataset, so that each rank has the same counts."""
    whole = list(islice(MixtureSampler(SIZES, [4, 2]), 6))
    parts = [take(6, rank=rank, world=2) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*parts)] == [sorted(batch) for batch in whole]


def test_same_images_in_two_datasets():
    """Their orders differ: a batch does not show an image in both kinds."""
    batches = list(islice(MixtureSampler(dict(a=50, b=50), [2, 2]), 20))
    same = sum(len({p % 50 for p in batch}) < 4 for batch in batches)
    assert same < 10


@pytest.mark.parametrize('more, message', [
    (dict(last='smaller'), "'drop' or 'carry'"), (dict(world=4), 'datasets.draw: .*fewer than one batch of 4')])
def test_bad_samplers(more, message):
    with pytest.raises(InputError, match=message):
        MixtureSampler(SIZES, [4, 1], **more)


@pytest.fixture
def config(tmp_path):
    """Config of a mixture of 6 drawings and 4 questions."""
    write_rows(tmp_path, [llava(str(i), 'a.png', ('cat', '<image>')) for i in range(6)], name='draw.json')
    write_rows(tmp_path, [llava(str(i), 'b.png', ('<image> what?', 'dog')) for i in range(4)], name='read.json')
    return dict(type='Mixture', rule=dict(type='FixedCounts', weights=dict(draw=2, read=1)), datasets={
        name: dict(type='ConversationFiles', data_root=str(tmp_path), file=f'{name}.json',
                   pipeline=[dict(type='PackImage')]) for name in ('draw', 'read')})


def test_loader_of_a_mixture(config):
    """The runner's loader: counts by the weights, keys by name, resumed at a cursor as in an unbroken run."""
    loader = build_train_dataloader(dict(dataset=config, batch_size=3), seed=3)
    batches = list(islice(loader, 6))
    for batch in batches:
        assert sorted(key.split('/')[0] for key in batch.keys) == ['draw', 'draw', 'read']
        assert [talk.key for talk in batch.conversations] == batch.keys
        assert batch.seed == 3
    loader.batch_sampler.cursor = 4
    assert [batch.keys for batch in islice(loader, 2)] == [batch.keys for batch in batches[4:]]
    assert [batch.epoch_index for batch in islice(loader, 2)] == [batch.epoch_index for batch in batches[4:]]
    assert loader.batch_sampler.batch_size == 3 and loader.batch_sampler.iters_per_epoch == 4


def test_held_out_mixture(config):
    batches = list(build_val_dataloader(dict(dataset=config, batch_size=4)))
    assert [key for batch in batches for key in batch.keys] == Mixture(config['datasets']).keys
    assert [len(batch) for batch in batches] == [4, 2, 4]  # 6 of one dataset, then 4 of the other


def test_facts_of_a_mixture(config):
    data = Mixture(config['datasets'])
    assert len(data) == 10 and len(data.texts) == 6 + 8 and data.sets == ['train'] * 10
    assert data.metainfo == dict(classes=(), texts=False)
    assert data[13]['epoch'] == 1 and data[13]['index'] == 3  # epochs are those of the dataset
    data.broken = 'skip'
    assert data.datasets['read'].broken == 'skip' and data.broken == 'skip'
    with pytest.raises(IndexError):
        data[-1]


@pytest.mark.parametrize('apart, sets', [(True, ['names', 'variants_emoji']), (False, ['', 'variants'])])
def test_a_dataset_without_sets(apart, sets):
    """Its own name stands for its set where sets are kept apart, in the list as in the samples."""
    class Bare(Twemoji):
        sets = property(lambda self: self.missing)

        def __getitem__(self, position):
            return {key: value for key, value in super().__getitem__(position).items() if key != 'set'}
    DATASETS.register_module(name='BareTwemoji', module=Bare, force=True)
    try:
        data = Mixture(dict(names=dict(type='BareTwemoji', split='variants', limit=2),
                            emoji=dict(type='Twemoji', split='variants', limit=1)), separate_sets=apart)
    finally:
        DATASETS.module_dict.pop('BareTwemoji')
    assert data.sets == [sets[0]] * 2 + [sets[1]] and [data[i].get('set', '') for i in range(3)] == data.sets


def test_mixture_of_pairs():
    """Images with texts mix, too; they go into a plain batch."""
    config = dict(type='Mixture', datasets={name: dict(type='Twemoji', split=name, limit=6, pipeline=[
        dict(type='EmojiPlace', size=8), dict(type='PackImage')]) for name in ('concepts', 'variants')})
    batch = next(iter(build_train_dataloader(dict(dataset=config, batch_size=4), seed=0)))
    assert sorted(batch.sets) == ['concepts'] * 2 + ['variants'] * 2 and len(batch.texts) == 4


@pytest.mark.parametrize('datasets, message', [
    ({}, 'a mixture of no datasets'), (dict(a=dict(type='No')), 'datasets.a: `No` is not registered'),
    (dict(a=Twemoji(limit=4)), None)])
def test_bad_mixtures(datasets, message, config):
    if message is None:
        datasets, message = {**datasets, **config['datasets']}, 'do not go into one batch'
    with pytest.raises(InputError, match=message):
        Mixture(datasets)


def test_weights_through_the_loader(config):
    config['rule']['weights']['read'] = 0.01
    with pytest.raises(InputError, match='train_dataloader.dataset.rule.weights: a batch of 3'):
        build_train_dataloader(dict(dataset=config, batch_size=3), seed=3)
