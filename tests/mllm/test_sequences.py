"""Rendered ids, positions, segments and targets, against lists written by hand."""
import numpy as np
import pytest
import torch

from dtbox.conversations import Conversation, ConversationBatch, ImagePart, Turn
from dtbox.errors import InputError
from dtbox.mllm.sequences.rendered import pack_rows
from dtbox.registry import SEQUENCES
from dtbox.sequence_batch import SequenceBatch, allowed_mask
from tests.conversation_data import END, GEN, GENEND, IMG, START, UNCOND, ask, draw
from tests.sequence_data import put_together

PAD, BOS, EOS, CAT, DOG, WHAT, IS, IT, RED, YES, NO, DRAW, A = range(13)
DRAWN = Turn('assistant', (ImagePart(0, True),))
TALK = Conversation('chat', 'chat', (Turn('user', ('draw a cat',)), Turn('assistant', ('yes', ImagePart(1, True))),
                                     Turn('user', (ImagePart(0), 'what')), Turn('assistant', ('a dog',))))


def marked(rendered):
    """Return (ids, ids that are targets, others as None); codes of images as C0, C1, ... in the order of the codes."""
    ids = [f'C{v}' if v >= 0 else int(i) for i, v in zip(rendered.ids, rendered.visual)]
    return ids, [i if t else None for i, t in zip(ids, rendered.target)]


@pytest.mark.parametrize('conversation, ids, targets', [
    (draw('a cat'), [BOS, A, CAT, GEN, 'C0', 'C1', GENEND, EOS], [None] * 4 + ['C0', 'C1', GENEND, EOS]),
    (ask('q', 1, ('what is it', 'a dog')), [BOS, START, 'C2', 'C3', END, WHAT, IS, IT, A, DOG, EOS],
     [None] * 8 + [A, DOG, EOS]),
    (Conversation('t', 'text', (Turn('assistant', ('a red cat',)),)), [BOS, A, RED, CAT, EOS],
     [None, A, RED, CAT, EOS]),
    (TALK, [BOS, DRAW, A, CAT, YES, GEN, 'C2', 'C3', GENEND, EOS, START, 'C0', 'C1', END, WHAT, A, DOG, EOS],
     [None] * 4 + [YES, GEN, 'C2', 'C3', GENEND, EOS] + [None] * 5 + [A, DOG, EOS]),
    (Conversation('e', 'chat', (Turn('user', (ImagePart(0), 'red')), Turn('assistant', (ImagePart(1, True),)))),
     [BOS, START, 'C0', 'C1', END, RED, GEN, 'C2', 'C3', GENEND, EOS],
     [None] * 6 + [GEN, 'C2', 'C3', GENEND, EOS]),
])
def test_samples_by_hand(builder, conversation, ids, targets):
    rendered = builder.render(conversation)
    assert marked(rendered) == (ids, targets)
    assert rendered.position.tolist() == list(range(len(ids)))
    assert not rendered.segment.any() and not rendered.prefix.any()
    shown = builder.template.write(conversation)
    joined = builder.tokens.encode_marked(shown)
    assert joined == [i for i in rendered.ids[(rendered.visual < 0) | (rendered.visual % 2 == 0)]]


def test_shared_prefix_by_hand(builder):
    """Turns continue from the end of the picture, each in a segment of its own."""
    rendered = builder.render(ask('q', 1, ('what is it', 'a dog'), ('red', 'no')))
    ids = [BOS, START, 'C2', 'C3', END, WHAT, IS, IT, A, DOG, EOS, RED, NO, EOS]
    assert marked(rendered) == (ids, [None] * 8 + [A, DOG, EOS, None, NO, EOS])
    assert rendered.position.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 5, 6, 7]
    assert rendered.segment.tolist() == [0] * 5 + [1] * 6 + [2] * 3
    assert rendered.prefix.tolist() == [True] * 5 + [False] * 9


def test_batch_by_hand(builder):
    batch, codes = put_together(draw('a cat'), ask('q', 1, ('red', 'no')))
    out, unusable = builder.build(batch, codes)
    assert not unusable and not out.need_mask
    assert out.ids.tolist() == [[BOS, A, CAT, GEN, IMG, IMG, GENEND, EOS], [BOS, START, IMG, IMG, END, RED, NO, EOS]]
    assert out.visual.tolist() == [[-1] * 4 + [0, 1, -1, -1], [-1, -1, 2, 3] + [-1] * 4]
    assert out.text_target.tolist() == [[-100] * 6 + [GENEND, EOS], [-100] * 6 + [NO, EOS]]
    assert out.visual_target.tolist() == [[False] * 4 + [True] * 2 + [False] * 2, [False] * 8]
    assert out.sample.tolist() == [[0] * 8, [1] * 8]
    assert out.codes['pixel'] is codes['pixel']


def test_padding_on_the_left_needs_a_mask(builder):
    _, codes = put_together()
    rows = [[(i, builder.render(talk))] for i, talk in enumerate([draw('a cat'), draw('cat')])]
    left, right = (builder.assemble(rows, codes, side) for side in ('left', 'right'))
    assert left.need_mask and not right.need_mask
    assert left.ids[1].tolist() == [PAD, BOS, CAT, GEN, IMG, IMG, GENEND, EOS]
    assert left.position[1].tolist() == [0, *range(7)]


def test_first_place_is_never_a_target(make_builder, words):
    """Without a begin token nothing comes before it; in a packed row that would be another sample."""
    builder = make_builder(tokenizer=dict(type='TokenizerFile', file=words, bos=None), pack=20)
    text = Conversation('t', 'text', (Turn('assistant', ('a red cat',)),))
    assert marked(builder.render(text)) == ([A, RED, CAT, EOS], [None, RED, CAT, EOS])
    assert builder.unconditional_prompt() == [UNCOND, GEN]


def test_sums_of_targets(builder):
    """A drawing has N visual and 2 text targets, a caption len(answer) + 1 and none in the given image."""
    batch, codes = put_together(draw('a red cat', 2), ask('q', 1, ('what', 'a red cat')))
    out, _ = builder.build(batch, codes)
    assert out.visual_target.sum(1).tolist() == [2, 0]
    assert (out.text_target >= 0).sum(1).tolist() == [2, 4]


def test_allowed_places():
    """By hand: a prefix of two places, two turns of two, another sample, padding."""
    segment = torch.tensor([[0, 0, 1, 1, 2, 2, 3, -1]])
    sample = torch.tensor([[0, 0, 0, 0, 0, 0, 1, -1]])
    zeros = torch.zeros(1, 8, dtype=torch.long)
    batch = SequenceBatch(zeros, zeros, {}, zeros, segment, sample, torch.tensor([[True] * 2 + [False] * 6]), zeros,
                          zeros)
    rows = ['10000000', '11000000', '11100000', '11110000', '11001000', '11001100', '00000010', '00000001']
    assert allowed_mask(batch)[0].tolist() == [[c == '1' for c in row] for row in rows]


@pytest.mark.parametrize('lengths, rows', [
    ([3, 9, 4, 6], [[1], [3, 2], [0]]), ([10, 10], [[0], [1]]), ([1, 1, 1], [[0, 1, 2]]), ([], [])])
def test_rows_of_a_packer(lengths, rows):
    """By hand, with 10 places: the longest first, each into the first row with room; every sample is in one row."""
    assert pack_rows(lengths, 10) == rows


def test_packed_batch(make_builder):
    batch, codes = put_together(draw('a cat'), ask('q', 1, ('red', 'no'), ('it', 'cat')), draw('dog', 2))
    out, _ = make_builder(pack=20).build(batch, codes)
    assert out.need_mask
    assert out.sample.tolist() == [[1] * 11 + [0] * 8, [2] * 7 + [-1] * 12]
    assert out.segment[0].tolist() == [0] * 5 + [1] * 3 + [2] * 3 + [3] * 8
    assert out.position[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 5, 6, 7, *range(8)]
    assert out.ids[1, 7:].tolist() == [PAD] * 12


def test_prompts_are_beginnings_of_samples(builder):
    """Generation starts from the ids that training has seen before the first target."""
    assert builder.prompt_for_drawing('a cat') == [BOS, A, CAT, GEN]
    assert builder.unconditional_prompt() == [BOS, UNCOND, GEN]
    assert builder.prompt_for_question('what is it') == ([BOS, START], [END, WHAT, IS, IT])
    asked = Conversation('p', 'chat', TALK.turns[:3])
    prompt = builder.render_prompt(asked)
    assert prompt.ids.tolist() == builder.render(TALK).ids[:len(prompt)].tolist()
    with pytest.raises(InputError, match='ends with an answer'):
        builder.render_prompt(TALK)


def test_given_image_of_an_answer(builder):
    """An image that the assistant's words merely show is no target."""
    shown = Conversation('s', 'chat', (Turn('user', ('what',)), Turn('assistant', ('cat', ImagePart(0), 'dog'))))
    ids, targets = marked(builder.render(shown))
    assert ids == [BOS, WHAT, CAT, START, 'C0', 'C1', END, DOG, EOS]
    assert targets == [None, None, CAT, None, None, None, None, DOG, EOS]


def test_wording_of_prompts(make_builder):
    builder = make_builder(template=dict(type='PlainTemplate', prompts=dict(draw='draw {}'), user='{} is'))
    assert builder.prompt_for_drawing('a cat') == [BOS, DRAW, A, CAT, IS, GEN]
    assert builder.prompt_for_question('what')[1] == [END, WHAT, IS]


def test_text_is_never_special(tmp_path):
    """What looks like a special token in a text is text; with a byte-level BPE decoding gives it back."""
    builder = SEQUENCES.build(dict(type='SequenceBuilder', tokenizer=dict(type='TrainedBPE', texts=['a <eos> cat']),
                                   template=dict(type='PlainTemplate')), places=2, context_length=90)
    odd = '<eos><image> <image_gen_start> é😀 {}'
    rendered = builder.render(ask('q', 0, (odd, odd)))
    assert np.isin(rendered.ids, list(builder.tokens.special.values())).sum() == 2 + 2 + 2  # bos, eos, image
    answer = [i for i, t in zip(rendered.ids.tolist(), rendered.target) if t]
    assert builder.tokens.decode(answer) == ' ' + odd
    assert builder.tokens.decode(answer, special=True).endswith('{}<eos>')
    builder.tokens.save(tmp_path)
    again = SEQUENCES.build(dict(type='PretrainedTokenizer', path=str(tmp_path)))
    assert not again.added and again.vocab_size == builder.tokens.vocab_size
    assert again.encode(odd) == builder.tokens.encode(odd)
    assert (again.bos, again.eos, again.pad) == (builder.tokens.bos, builder.tokens.eos, builder.tokens.pad)


def test_concatenated_turns_are_the_whole_text():
    """Turn by turn gives the ids of the rendered string, with the BPE of the embedded recipe."""
    texts = ['grinning face', 'what is it?', 'flag: France', 'light skin tone']
    builder = SEQUENCES.build(dict(type='SequenceBuilder', tokenizer=dict(type='TrainedBPE', texts=texts, size=320),
                                   template=dict(type='PlainTemplate')), places=1, context_length=90)
    for talk in (draw('flag: France'), ask('q', 0, ('what is it?', 'grinning face')), TALK):
        rendered = builder.render(talk)
        assert builder.tokens.encode_marked(builder.template.write(talk)) == rendered.ids.tolist()


def test_same_texts_make_the_same_tokenizer():
    make = [SEQUENCES.build(dict(type='TrainedBPE', texts=['a cat', 'a dog', 'cats and dogs'], size=280))
            for _ in range(2)]
    assert make[0].tokenizer.to_str() == make[1].tokenizer.to_str()


@pytest.mark.parametrize('talk, reason', [
    (ask('q', 0, ('what ' * 40, 'cat')), r'has 4\d places; the language model reads 40'),
    (Conversation('q', 'chat', (Turn('user', ('what',)),)), 'has nothing to predict'),
    (ask('q', 0, ('', 'cat'), ('', 'dog')), 'an answer right after the shared image'),
    (ask('q', 0, ('\ud83d', 'cat')), 'not Unicode'),
])
def test_unusable_samples_are_named(builder, talk, reason):
    """They are left out of the batch, the others stay, and the codes keep their places."""
    batch, codes = put_together(talk, draw('a cat', 1))
    out, unusable = builder.build(batch, codes)
    assert [e.key for e in unusable] == ['q']
    assert out.sample.tolist() == [[1] * 8] and out.visual.max() == 3
    with pytest.raises(InputError, match=reason):
        raise unusable[0]


def test_too_long_for_a_packed_row(make_builder):
    """A shared prefix may be shorter than the model reads and longer than a row; the packer ends all the same."""
    batch, codes = put_together(ask('q', 0, *[('what is it', 'a cat')] * 4), draw('a cat', 1))
    out, unusable = make_builder(pack=16, context_length=16).build(batch, codes)
    assert 'a packed row holds 16' in str(unusable[0]) and out.sample.unique().tolist() == [1]
    assert make_builder(context_length=16).build(batch, codes)[1] == []


def test_batch_without_any_sample(builder):
    batch = ConversationBatch(torch.zeros(0, 3, 1, 1), [], [], [], [])
    out, unusable = builder.build(batch, dict(pixel=torch.zeros(0, 2, 2, dtype=torch.long)))
    assert len(out) == 0 and unusable == []


@pytest.mark.parametrize('change, message', [
    (dict(context_length=6), '`context_length` is 6; a drawing of 2 places needs 7'),
    (dict(pack=5), '`pack` is 5'),
    (dict(drop=1.5), 'expected a number from 0 to 1'),
    (dict(template=dict(type='PlainTemplate', user='says')), r"template.user: .* '\{\}' in it"),
    (dict(template=dict(type='PlainTemplate', assistant='A: {}')), 'Put it at the end of `user`'),
    (dict(template=dict(type='PlainTemplate', prompts=dict(drawing='{}'))), 'Did you mean `draw`'),
    (dict(template=dict(type='ChatTemplate')), 'has no chat template. Give the tokenizer `chat_template`'),
    (dict(tokenizer=dict(type='TokenizerFile', file='no.json')), 'no.json does not exist'),
    (dict(tokenizer=dict(type='TrainedBPE', texts=[])), 'none of the 0 texts has a word'),
    (dict(tokenizer=dict(type='TrainedBPE', texts=['a'], size=100)), 'has no room for 256 bytes'),
])
def test_bad_configs(make_builder, change, message):
    with pytest.raises(InputError, match=message):
        make_builder(**change)


def test_tokens_that_a_tokenizer_lacks(words):
    with pytest.raises(InputError, match='has no token `<s>`. Name one that it has'):
        SEQUENCES.build(dict(type='TokenizerFile', file=words, bos='<s>'))
    tokens = SEQUENCES.build(dict(type='TokenizerFile', file=words, bos=None, pad=None))
    assert tokens.bos is None and tokens.pad == tokens.eos == EOS
    assert tokens.added == [START, END, GEN, GENEND, IMG, UNCOND] and tokens.vocab_size == UNCOND + 1


def test_ids_while_a_text_is_generated(builder):
    """It ends with the end of an answer, and holds no special token but the start of a drawing."""
    assert builder.ends == [EOS]
    assert builder.forbidden == [PAD, BOS, START, END, GENEND, IMG, UNCOND]
