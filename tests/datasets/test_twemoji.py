"""The emoji pairs: families, names, and held-out sets that never shift."""
import hashlib
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from dtbox.datasets import CursorBatchSampler, Twemoji, collate
from dtbox.datasets.families import AMBIGUOUS, GIANTS, JOINED, find_family, format_name, is_plain
from dtbox.datasets.twemoji import find_split, list_family_names, load_pairs
from dtbox.errors import InputError
from dtbox.registry import DATASETS

PIPELINE = [dict(type='EmojiAugment', size=32), dict(type='PackImage')]


@pytest.fixture(scope='module')
def pairs():
    return {part: [e for e in load_pairs() if find_split(e) == part] for part in ('train', 'concepts', 'variants')}


def families(emojis):
    return {emoji.family for emoji in emojis}


def test_sizes(pairs):
    assert sum(len(part) for part in pairs.values()) == 3953 == len(Twemoji('all'))
    assert 270 <= len(pairs['concepts']) <= 330 and 270 <= len(pairs['variants']) <= 330
    assert len(Twemoji('heldout')) == len(pairs['concepts']) + len(pairs['variants'])


def test_concepts_are_whole_families_that_training_never_sees(pairs):
    held = families(pairs['concepts'])
    assert len(held) > 120
    assert not held & (families(pairs['train']) | families(pairs['variants']))


def test_variants_are_of_families_in_training(pairs):
    trained = Counter(emoji.family for emoji in pairs['train'])
    assert all(trained[family] >= 3 for family in families(pairs['variants']))
    assert len(families(pairs['variants'])) > 80


def test_no_family_fills_a_held_out_set(pairs):
    for part in ('concepts', 'variants'):
        assert max(Counter(emoji.family for emoji in pairs[part]).values()) <= 18
    sizes = Counter(emoji.family for emoji in load_pairs())
    assert {family for family, size in sizes.items() if size > 36} <= GIANTS


def test_plain_forms_are_in_training(pairs):
    """Every family has a plain form in training, unless it is held out."""
    plain = {emoji.family for emoji in load_pairs() if is_plain(emoji.key)}
    assert plain == families(load_pairs())
    assert not any(is_plain(emoji.key) for emoji in pairs['variants'])


@pytest.mark.parametrize('part, digest', [
    ('concepts', 'e589f8489b0472220c463c7db2b5ee25032ab441'),
    ('variants', 'c5fabd1016d6eb903f34bb8a4134d8e3e10fea50')])
def test_held_out_sets_never_shift(pairs, part, digest):
    keys = '\n'.join(sorted(emoji.key for emoji in pairs[part]))
    assert hashlib.sha1(keys.encode()).hexdigest() == digest


def test_held_out_pictures_are_unlike_all_others(pairs):
    count = Counter(Path(emoji.path).read_bytes() for emoji in load_pairs())
    assert all(count[Path(emoji.path).read_bytes()] == 1 for emoji in pairs['concepts'] + pairs['variants'])


@pytest.mark.parametrize('keys', [
    ('1f9d1-200d-1f33e', '1f468-1f3fd-200d-1f33e', '1f469-200d-1f33e'),  # farmers
    ('1f46e', '1f46e-200d-2640-fe0f', '1f46e-1f3ff-200d-2642-fe0f'),  # police officers
    ('1f6b6', '1f6b6-1f3fb-200d-2640-fe0f-200d-27a1-fe0f', '1f6b6-200d-27a1-fe0f'),  # walking, also to the right
    ('1f9d1', '1f468', '1f469-1f3fc', '1f9d1-1f3ff-200d-1f9b0', '1f471-200d-2642-fe0f', '1f9d4'),  # portraits
    ('1f48f', '1f48f-1f3fb', '1f469-200d-2764-fe0f-200d-1f48b-200d-1f468',
     '1f9d1-1f3fb-200d-2764-200d-1f48b-200d-1f9d1-1f3fc'),
    ('1f491', '1f468-200d-2764-fe0f-200d-1f468'),
    ('1f46b', '1f46c-1f3fb', '1f46d', '1f9d1-200d-1f91d-200d-1f9d1', '1f469-1f3fb-200d-1f91d-200d-1f468-1f3ff'),
    ('1f46a', '1f468-200d-1f469-200d-1f466', '1f9d1-200d-1f9d2'),
    ('1f91d', '1f91d-1f3fb', '1faf1-1f3fb-200d-1faf2-1f3fc'),
    ('1f385', '1f936-1f3fb', '1f9d1-200d-1f384'), ('1fac5', '1f934', '1f478-1f3fd'),
    ('1f46f', '1f468-1f3fb-200d-1f430-200d-1f468-1f3fc', '1f46f-200d-2640-fe0f'),
    ('1f446', '1f448-1f3fb', '1f449'), ('1f1f3-1f1f4', '1f1f8-1f1ef'), ('1f575', '1f575-fe0f-200d-2640-fe0f',
                                                                        '1f575-1f3fb')])
def test_one_family(keys):
    assert {find_family(key) for key in keys} == {keys[0]}


def test_different_families():
    keys = ['1f9d1-200d-1f33e', '1f33e', '1f9d1-200d-1f9bd', '1f9bd', '2640', '2642', '27a1', '1f48b', '2764', '1f499',
            '23-20e3', '1f1ea-1f1fa', '1f3f3-fe0f-200d-1f308', '1f3f3', '1f3fb', '1f9b0']
    assert len({find_family(key) for key in keys}) == len(keys)


def test_joined_names_real_families():
    found = families(load_pairs())
    assert set(JOINED) <= found and GIANTS | AMBIGUOUS <= found


@pytest.mark.parametrize('name, key, words', [
    (':man_farmer_light_skin_tone:', '1f468-1f3fb-200d-1f33e', 'man farmer light skin tone'),
    (':Madagascar:', '1f1f2-1f1ec', 'flag of Madagascar'), (':flag_for_Chad:', '1f1f9-1f1e9', 'flag of Chad'),
    (':Wales:', '1f3f4-e0067-e0062-e0077-e006c-e0073-e007f', 'flag of Wales'), (':pirate_flag:', '1f3f4-200d-2620',
                                                                                'pirate flag'),
    (':woman’s_‘hat:', '1f452', "woman's 'hat"), (':“up”_button:', '1f199', '"up" button'),
    (':keycap_#:', '23-20e3', 'keycap #')])
def test_names_in_words(name, key, words):
    assert format_name(name, key) == words


def test_texts_are_unique_and_classes_readable():
    texts = [emoji.captions[0] for emoji in load_pairs()]
    assert len(set(texts)) == len(texts) and not any('_' in t or ':' in t for t in texts)
    names = list_family_names()
    assert len(set(names.values())) == len(names) == len(families(load_pairs()))
    assert names['1f9d1-200d-2695'] == 'health worker' and names['1f46b'] == 'people holding hands'


def test_sample():
    data = Twemoji('concepts')
    sample = data[0]
    assert sample['image'].mode == 'RGBA' and sample['image'].size == (72, 72)
    assert sample['set'] == 'concepts' and sample['key'] == data.keys[0] and sample['text']
    assert data.metainfo['texts'] and data.metainfo['classes'][sample['label']] == sample['text']
    assert [item['set']
            for item in Twemoji('heldout')] == ['concepts'] * len(data) + ['variants'] * len(Twemoji('variants'))


def test_cached_pictures_are_not_changed():
    data = Twemoji('variants')
    before = data[0]['image'].tobytes()
    data[0]['image'].paste((1, 2, 3, 4), (0, 0, 72, 72))
    assert data[0]['image'].tobytes() == before


def test_aliases_are_drawn_by_the_sample():
    data = Twemoji('train', aliases=True)
    index = data.keys.index('1f45f')  # also 'athletic shoe'
    drawn = [data[epoch * len(data) + index]['text'] for epoch in range(12)]
    assert set(drawn) == {'running shoe', 'athletic shoe'} and drawn == [data[epoch * len(data) + index]['text']
                                                                         for epoch in range(12)]
    assert {Twemoji('train')[epoch * len(data) + index]['text'] for epoch in range(12)} == {'running shoe'}
    owners = Counter(text.lower() for emoji in load_pairs() for text in emoji.captions)
    assert max(owners.values()) == 1


def test_augmentation_depends_on_seed_epoch_and_index():
    data, other = (DATASETS.build(dict(type='Twemoji', pipeline=PIPELINE, seed=s)) for s in (0, 1))
    n = len(data)
    assert torch.equal(data[7]['image'], data[7]['image'])
    assert not torch.equal(data[7]['image'], data[n + 7]['image'])
    assert not torch.equal(data[7]['image'], other[7]['image'])
    other.set_seed(0)
    assert torch.equal(data[n + 7]['image'], other[n + 7]['image'])


def test_workers_make_no_difference():
    data = DATASETS.build(dict(type='Twemoji', pipeline=PIPELINE, aliases=True))

    def read(workers):
        loader = DataLoader(data, batch_sampler=CursorBatchSampler(len(data), 8, seed=3, cursor=419),
                            collate_fn=collate, num_workers=workers)
        return [batch for batch, _ in zip(loader, range(5))]
    for one, two in zip(read(0), read(2)):
        assert torch.equal(one.images, two.images) and one.texts == two.texts and torch.equal(one.labels, two.labels)
        assert one.keys == two.keys and one.images.dtype == torch.uint8 and one.images.shape == (8, 3, 32, 32)


def test_errors():
    with pytest.raises(InputError, match='no split `concept`. Did you mean `concepts`'):
        Twemoji('concept')
    with pytest.raises(InputError, match='seed.*-1'):
        Twemoji(seed=-1)
    with pytest.raises(InputError, match=r'pipeline.0.*`EmojiAugment` takes no argument `sise`'):
        DATASETS.build(dict(type='Twemoji', pipeline=[dict(type='EmojiAugment', sise=3)]))
    with pytest.raises(IndexError):
        Twemoji()[-1]


def test_limit_takes_as_many_of_each_set():
    """A limit keeps the first samples of every set, as many of each; a bad one is an error that names it."""
    whole = Twemoji('heldout')
    few = Twemoji('heldout', limit=5)
    assert few.sets == ['concepts'] * 3 + ['variants'] * 2 and len(few) == 5
    assert few.keys == [*Twemoji('concepts').keys[:3], *Twemoji('variants').keys[:2]]
    assert Twemoji('heldout', limit=10 ** 6).keys == whole.keys and few.fingerprint() != whole.fingerprint()
    for limit in (0, -1, True, 2.0, '5'):
        with pytest.raises(InputError, match='`limit`'):
            Twemoji('heldout', limit=limit)
