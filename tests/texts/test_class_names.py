"""Class names in the place of texts: which class a text names, and that names rank images as logits do."""
import warnings

import pytest
import torch

from dtbox.errors import InputError, Remark
from dtbox.registry import TEXTS

NAMES = {
    'a photo of a tench': [0], 'a photo of the giant panda in a video game': [388], 'platypus': [103],
    'a cock': [7],  # a word of WordNet; CLIP's name is rooster
    'hot dog': [934],  # the longest name counts, not the ending `dog`
    'starfishes': [327], 'strawberries': [949], 'Leopards': [288],
    'grand piano': [579], 'piano': [579, 881],  # grand and upright: the ending of both names
    'a photo of a snoopy': []}
"""Text -> classes by their standard numbers."""


@pytest.fixture(scope='module')
def tower():
    return TEXTS.build(dict(type='ClassNames'))


@pytest.mark.parametrize('text', NAMES)
def test_which_class_a_text_names(tower, text):
    assert tower.tokenizer.find(text) == NAMES[text]


def test_names_rank_as_logits_do(tower):
    """The normalised embeddings of five names, times logits, are the logits of these classes."""
    logits = torch.randn(3, 1000)
    names = ['tench', 'platypus', 'rooster', 'giant panda', 'starfish']
    scores = logits @ torch.nn.functional.normalize(tower(tower.ids(names)), dim=-1).T
    assert torch.allclose(scores, logits[:, [0, 103, 7, 388, 327]])
    assert tower(tower.ids(['piano']))[0, [579, 881]].tolist() == [0.5, 0.5]


def test_texts_that_name_no_class(tower):
    """They are told once, and embedded as 0."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always', Remark)
        vectors = tower(tower.ids(['snoopy', 'tench', 'yin yang']))
        tower.ids(['snoopy'])
    assert vectors.sum(1).tolist() == [0, 1, 0]
    assert [str(w.message) for w in told] == [
        '2 of 3 texts name no class of ImageNet-1k, as may later ones: "snoopy", "yin yang". Their embedding is 0: '
        'zero-shot classification never answers with them.']


def test_ids_of_another_tokenizer(words):
    tower = TEXTS.build(dict(type='ClassNames', tokenizer=dict(type='FileTokenizer', file=words)))
    with pytest.raises(InputError, match='ClassNames reads the ids of ImageNetNames'):
        tower.ids(torch.zeros(1, 4, dtype=torch.int64))
