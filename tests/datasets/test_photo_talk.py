"""Conversations over photographs of any data set: drawn classes, names with yes/no questions, captions."""
from collections import Counter

import numpy as np
import pytest

from dtbox.datasets import CaptionTalk, ClassDraw, ClassTalk
from dtbox.datasets.class_talk import read_labels
from dtbox.errors import InputError
from dtbox.registry import DATASETS
from tests import shard_data
from tests.format_data import caltech101, flickr8k, save

PIPELINE = [dict(type='ResizeCrop', size=32), dict(type='PackImage')]


def caltech(root, split='train', each=8):
    return dict(type='Photographs', data_root=str(caltech101(root, each=each)), split=split)


def say(item):
    """The turns of a sample, as texts."""
    return [turn.text for turn in item['conversation'].turns]


def test_a_drawing_of_each_class(tmp_path):
    """`each` takes the first photographs of a class; the prompt is the caption of `ClassTalk`."""
    source = caltech(tmp_path, 'heldout', 20)
    data = ClassDraw(source, PIPELINE, each=1)
    items = [data[i] for i in range(len(data))]
    assert [say(item)[0] for item in items] == [
        'a photo of a faces easy', 'a photo of a accordion', 'a photo of a yin yang']
    one = items[1]['conversation']
    assert one.kind == 'draw' and one.parts[0].generated and one.images[0].shape == (3, 32, 32)
    known = data.photographs.names.astype(str)
    assert items[1]['key'] == min(name for name in known if name.startswith('accordion/')) and len(known) > 3
    assert items[1]['set'] == 'test' and len(ClassDraw(source, PIPELINE, limit=2)) == 2


def test_yes_and_no_are_asked_equally_often(tmp_path):
    """Each photograph is asked for its own class (yes) and for that of another one (no); names are about as often right
    as wrong where classes differ in size."""
    root = caltech101(tmp_path, each=30)
    for path in sorted((root / '101_ObjectCategories' / 'yin_yang').glob('*'))[5:]:
        path.unlink()
    source = dict(type='Caltech101', data_root=str(root), split='all')
    data = ClassTalk(source, PIPELINE)
    answers = Counter()
    for i in range(len(data)):
        turns = data[i]['conversation'].turns
        name = turns[1].text.removeprefix('a photo of a ')
        assert turns[0].text == 'what is it?' and [turn.kind for turn in turns[1::2]] == ['caption', 'is_it', 'is_it']
        assert (turns[2].text, turns[3].text, turns[5].text) == (f'is it a {name}?', 'yes', 'no')
        assert turns[4].text != turns[2].text
        answers.update([(turns[2].text, 'yes'), (turns[4].text, 'no')])
    assert answers['is it a yin yang?', 'yes'] == 5
    assert answers['is it a yin yang?', 'no'] < 20  # of 60: drawn among classes it would be 30
    assert {say(ClassTalk(source, PIPELINE, seed=seed)[3])[4] for seed in (0, 5)} == {say(data[3])[4]}


def test_wrong_names_change_in_training(tmp_path):
    data = ClassTalk(caltech(tmp_path), PIPELINE)
    assert len({say(data[epoch * len(data)])[4] for epoch in range(12)}) == 2
    assert say(data[len(data)]) == say(ClassTalk(caltech(tmp_path), PIPELINE)[len(data)])
    assert {'is it a accordion?', 'yes', 'no', 'what is it?', 'a photo of a yin yang'} <= set(data.texts)
    assert len(say(ClassTalk(caltech(tmp_path), PIPELINE, yes_no=False)[0])) == 2


def test_labels_of_shards_and_folders(tmp_path):
    """They are known without reading an image; photographs without a class are left out, and the notes say so."""
    shard_data.write_shard(tmp_path / 's' / 'train-0.tar', range(5))
    shard_data.write_shard(tmp_path / 's' / 'test-0.tar', [5])
    source = dict(type='Photographs', data_root=str(tmp_path / 's'))
    with pytest.raises(InputError, match='have no classes with names; expected class folders, Caltech-101, or shards'):
        ClassDraw(source)
    (tmp_path / 's' / 'classes.txt').write_text('cat\ndog\n')
    assert read_labels(DATASETS.build(dict(source))).tolist() == [0, 1, -1, 0, 1]  # there is no class 2
    data = ClassDraw(source, PIPELINE)
    assert [say(data[i])[0] for i in range(4)] == [f'a photo of a {name}' for name in ('cat', 'dog', 'cat', 'dog')]
    assert data.notes[-1] == '1 photograph is left out: of no class'
    for name in ('a', 'b'):
        save(tmp_path / 'f' / name / '0.png', 3, (40, 40))
    folder = DATASETS.build(dict(type='ImageFolder', data_root=str(tmp_path / 'f'), split='all'))
    assert read_labels(folder).tolist() == [0, 1]


def test_captions(tmp_path):
    """Training draws one of five, another one each time; evaluation takes the first, the others beside it."""
    root = str(flickr8k(tmp_path))
    train = CaptionTalk(dict(type='Captions', data_root=root), PIPELINE)
    said = {say(train[epoch])[1] for epoch in range(40)}
    assert said == {f'Sentence {i} of 0 .' for i in range(5)} == set(train.texts[1:])
    assert train[0]['conversation'].turns[1].others == () and train.texts[0] == 'describe the photo'
    test = CaptionTalk(dict(type='Captions', data_root=root, split='test'), PIPELINE, limit=1)
    answer = test[0]['conversation'].turns[1]
    assert len(test) == 1 and answer.text == 'Sentence 0 of 2 .' and answer.kind == 'caption'
    assert answer.others == tuple(f'Sentence {i} of 2 .' for i in range(1, 5))


def test_captions_of_shards(tmp_path):
    shard_data.write_shard(tmp_path / 'train-0.tar', range(2), json_captions=True)
    shard_data.write_shard(tmp_path / 'test-0.tar', [2], json_captions=True)
    data = CaptionTalk(dict(type='Photographs', data_root=str(tmp_path)), PIPELINE)
    assert data.texts[1:] == ['image 0', 'number 0', 'image 1', 'number 1']
    assert say(data[1])[1] in ('image 1', 'number 1')


@pytest.mark.parametrize('change, says', [
    (dict(pipeline=PIPELINE), 'has a pipeline, which would not run. Give it to ClassTalk'),
    (dict(type='TwemojiDraw'), 'is TwemojiDraw, which holds conversations; expected a data set of images')])
def test_other_photographs(tmp_path, change, says):
    source = {**caltech(tmp_path), **change}
    with pytest.raises(InputError, match=says):
        ClassTalk(source if 'type' not in change else change)


def test_a_text_without_its_gap(tmp_path):
    with pytest.raises(InputError, match="`text` is 'a photo'; expected a text with {} in it, once"):
        ClassDraw(caltech(tmp_path), text='a photo')
    assert np.array_equal(ClassDraw(caltech(tmp_path), text='{}').labels, ClassDraw(caltech(tmp_path)).labels)
