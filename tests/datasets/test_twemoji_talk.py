"""Conversations over emoji: answers that are right, balanced questions, views that never change."""
import pickle
from collections import Counter, defaultdict
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dtbox.conversations import ImagePart
from dtbox.datasets import PackImage, TwemojiDraw, TwemojiTalk, read_rgba
from dtbox.datasets.emoji_questions import (
    BACKGROUNDS,
    NO,
    PLACES,
    QUESTIONS,
    SIZES,
    VIEW_QUESTIONS,
    YES,
    answer_from_name,
    choose_yes_no,
)
from dtbox.datasets.emoji_views import draw_view, render_view
from dtbox.datasets.twemoji import find_split, load_pairs
from dtbox.errors import InputError


@pytest.fixture(scope='module')
def heldout():
    return TwemojiTalk('heldout')


def read_turns(conversation):
    """Return kind -> (question, answer)."""
    pairs = zip(conversation.turns[::2], conversation.turns[1::2])
    return {answer.kind: (question.text, answer.text) for question, answer in pairs}


@pytest.mark.parametrize('name, answers', [
    ('woman farmer medium-dark skin tone', dict(skin_tone='medium-dark', gender='woman', people='one')),
    ('person bowing', dict(gender='person', people='one')),
    ('detective light skin tone', dict(skin_tone='light')),
    ('men holding hands dark skin tone', dict(skin_tone='dark', gender='man', people='two')),
    ('kiss woman man light skin tone dark skin tone', dict(people='two')),
    ('couple with heart', dict(people='two')), ('kiss', dict(people='two')), ('kiss mark', {}), ('kissing face', {}),
    ('woman and man holding hands', dict(people='two')), ('family man man boy', {}), ("men's room", {}),
    ('light blue heart', dict(colour='light blue')), ('black medium-small square', dict(colour='black')),
    ('large orange diamond', dict(colour='orange')), ('red hair', {}), ('Blue Book', dict(colour='blue'))])
def test_answers_from_names(name, answers):
    assert answer_from_name(name) == answers


def test_yes_no_by_hand():
    """Of a person that walks to the right the twin walks to the left; a mailbox with a flag is not asked about."""
    names = dict(a='man walking facing right light skin tone', b='man walking light skin tone', c='man walking',
                 d='flag of Peru', e='mailbox with raised flag', f='pear', g='crossed flags', h='lemon', i='plum')
    chosen = choose_yes_no(names)
    assert chosen['faces_right'] == dict(a=YES, b=NO)
    assert {key for key, answer in chosen['flag'].items() if answer == YES} == set('dg')
    assert Counter(chosen['flag'].values()) == {YES: 2, NO: 2} and 'e' not in chosen['flag']
    assert choose_yes_no({key: names[key] for key in 'cdefg'}, names.values())['faces_right'] == {}


def test_yes_no_are_balanced_in_each_set(heldout):
    counts = defaultdict(Counter)
    for part, answers in zip(heldout.sets, heldout.answers):
        for kind in ('faces_right', 'flag'):
            counts[part, kind][answers.get(kind)] += 1
    assert counts['variants', 'faces_right'][YES] == counts['variants', 'faces_right'][NO] >= 10
    assert counts['concepts', 'flag'][YES] == counts['concepts', 'flag'][NO] >= 15
    assert counts['variants', 'flag'] == {None: heldout.sets.count('variants')}


def test_answers_are_among_those_listed(heldout):
    for item in (heldout[i] for i in range(0, len(heldout), 5)):
        for kind, (question, answer) in read_turns(item['conversation']).items():
            assert kind == 'caption' or (question, answer in QUESTIONS[kind].answers) == (QUESTIONS[kind].text, True)


def test_majority_answers_of_the_held_out_set():
    """Shares of the most frequent answer among the `variants`."""
    variants = TwemojiTalk('variants')
    counts = defaultdict(Counter)
    for i, answers in enumerate(variants.answers):
        for kind, answer in {**answers, **variants.view_of(i, 0).answers}.items():
            counts[kind][answer] += 1
    share = {kind: max(count.values()) / sum(count.values()) for kind, count in counts.items()}
    assert share == pytest.approx(dict(skin_tone=0.22, gender=0.41, people=0.90, faces_right=0.5, background=0.13,
                                       place=0.20, size=0.51), abs=0.01)


def test_shape_of_a_conversation(heldout):
    item = heldout[3]
    talk = item['conversation']
    assert talk.shared_prefix and talk.kind == 'question' and item['set'] == heldout.sets[3]
    assert talk.turns[0].parts == (ImagePart(0), 'what is it?') and talk.turns[1].kind == 'caption'
    assert talk.turns[1].text == heldout.emoji.samples[3][1].captions[0]
    assert all(turn.images == [] for turn in talk.turns[1:]) and talk.images[0].shape == (3, 64, 64)
    drawn = TwemojiDraw('variants')[3]['conversation']
    assert [turn.parts for turn in drawn.turns] == [(talk.turns[1].text,), (ImagePart(0, generated=True),)] \
        or drawn.key != talk.key
    assert drawn.images[0].dtype == torch.uint8 and drawn.images[0][:, 0, 0].tolist() == [255] * 3


def test_views_of_training():
    """View number `epoch % views`; the first is plain and is not asked about; the same view has the same pixels."""
    train = TwemojiTalk('train', views=3, questions=9)
    size = len(train)
    talks = [train[epoch * size + 7]['conversation'] for epoch in range(7)]
    images = [talk.images[0] for talk in talks]
    same = {(a, b) for a in range(7) for b in range(a) if torch.equal(images[a], images[b])}
    assert same == {(a, b) for a in range(7) for b in range(a) if (a - b) % 3 == 0}
    plain = TwemojiDraw('train')[7]['conversation'].images[0]
    assert torch.equal(images[0], plain) and not set(VIEW_QUESTIONS) & set(read_turns(talks[0]))
    assert set(VIEW_QUESTIONS) <= set(read_turns(talks[1]))
    train.set_seed(5)
    assert not torch.equal(train[size + 7]['conversation'].images[0], images[1])


def test_held_out_views_do_not_depend_on_seed_and_limit(heldout):
    few = TwemojiTalk('variants', seed=9, limit=20)
    whole = dict(zip(heldout.keys, range(len(heldout))))
    for i, key in enumerate(few.keys[:5]):
        later = few[3 * len(few) + i]['conversation']
        assert torch.equal(few[i]['conversation'].images[0], heldout[whole[key]]['conversation'].images[0])
        assert read_turns(later) == read_turns(few[i]['conversation'])


def test_the_same_over_workers():
    """What an item holds depends neither on the worker that reads it nor on what was read before."""
    train = TwemojiTalk('train', views=2, questions=2)
    positions = [[5, 9], [len(train) + 5, 3 * len(train) + 9]]
    read = [list(DataLoader(train, batch_sampler=positions, num_workers=n, collate_fn=train.collate)) for n in (0, 1)]
    again = pickle.loads(pickle.dumps(train))
    read.append([again.collate([again[p] for p in batch]) for batch in reversed(positions)][::-1])
    for others in read[1:]:
        for a, b in zip(read[0], others):
            assert torch.equal(a.images, b.images) and a.conversations == b.conversations
            assert a.epoch_index == b.epoch_index


def test_how_many_questions():
    """Beside the name, at most `questions`; training draws them anew in each epoch."""
    train = TwemojiTalk('train', questions=2, plain=False)
    drawn = {tuple(read_turns(train[e * len(train) + 60]['conversation'])) for e in range(12)}
    assert {len(kinds) for kinds in drawn} == {3} and len(drawn) > 3
    only = TwemojiTalk('variants', kinds=['size', 'skin_tone'])[0]['conversation']
    assert list(read_turns(only)) == ['caption', 'size', 'skin_tone']
    with pytest.raises(InputError, match='no kind of question `tone`.*skin_tone'):
        TwemojiTalk('variants', kinds=['tone'])
    with pytest.raises(InputError, match='`questions` is -1'):
        TwemojiTalk('variants', questions=-1)


def box_of(image, background):
    """Return (left, top, right, bottom) of what is not background."""
    rows, columns = (image != torch.tensor(background)[:, None, None]).any(0).nonzero(as_tuple=True)
    return [int(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


def test_views_show_what_the_answers_say():
    """An emoji that fills its canvas, in 60 views: background, place and size, read from the pixels."""
    fills = (e for e in load_pairs() if read_rgba(e.path).getchannel('A').getbbox() == (0, 0, 72, 72))
    full = list(islice(fills, 3))
    for number in range(60):
        view = draw_view(full[number % 3].key, number)
        image = PackImage()(dict(image=render_view(full[number % 3].path, view, 64)))['image']
        corners = {tuple(image[:, y, x].tolist()) for y in (0, 63) for x in (0, 63)}
        assert BACKGROUNDS[view.background] in corners
        if view.size == 'small':
            left, top, right, bottom = box_of(image, BACKGROUNDS[view.background])
            centre = (left + right) / 2 - 32, (top + bottom) / 2 - 32
            for at, way in zip(centre, PLACES[view.place]):
                assert (at * way >= 3.5) if way else abs(at) <= 1.5
            assert right - left <= 51


def test_draws_of_views_are_balanced():
    views = [draw_view(f'{i}', i % 4) for i in range(2000)]
    for name, table in dict(background=BACKGROUNDS, place=PLACES, size=SIZES).items():
        counts = Counter(getattr(view, name) for view in views)
        expected = 2000 / len(table)
        assert set(counts) == set(table)
        assert max(abs(n - expected) for n in counts.values()) < 5 * expected ** 0.5


def test_controls():
    """Shuffled names are those of other emoji; a blank view keeps questions and answers."""
    plain, shuffled = (TwemojiDraw('variants', limit=40, shuffled=s) for s in (False, True))
    names = [[d[i]['conversation'].turns[0].text for i in range(len(d))] for d in (plain, shuffled)]
    assert sorted(names[0]) == sorted(names[1]) and all(a != b for a, b in zip(*names))
    seen, blank = (TwemojiTalk('variants', blank=b)[0]['conversation'] for b in (False, True))
    assert seen.turns == blank.turns and blank.images[0].unique().numel() == 1


def test_aliases_and_texts():
    emoji = next(i for i, e in enumerate(TwemojiDraw('train').emoji.samples) if len(e[1].captions) == 3)
    dataset = TwemojiDraw('train', aliases=True)
    drawn = {dataset[e * len(dataset) + emoji]['conversation'].turns[0].text for e in range(30)}
    assert drawn == set(dataset.emoji.samples[emoji][1].captions) <= set(dataset.texts)
    texts = TwemojiTalk('variants').texts
    assert {'what is it?', 'medium-light', QUESTIONS['place'].text, 'centre'} <= set(texts)


def test_fingerprints():
    """Held-out sets of the same samples with other views or questions have another fingerprint."""
    prints = [TwemojiTalk('variants', limit=20, **kwargs).fingerprint()
              for kwargs in ({}, dict(size=32), dict(questions=2), dict(kinds=['size']), dict(blank=True))]
    prints += [TwemojiDraw('variants', limit=20, shuffled=s).fingerprint() for s in (False, True)]
    assert len(set(prints)) == len(prints)
    assert TwemojiTalk('variants', limit=20, seed=4).fingerprint() == prints[0]


def test_a_name_in_each_set():
    """`find_split` and the data set agree, so that balanced views are those of the whole set."""
    variants = TwemojiTalk('variants', limit=30)
    assert all(find_split(emoji) == 'variants' for _, emoji in variants.emoji.samples)
    assert np.unique([draw_view(key, 0).scale for key in variants.keys]).size == 30
