"""Text tokenizers: ids by hand, padding, cutting, and texts that say nothing."""
import warnings

import pytest
import torch

from dtbox.errors import InputError
from dtbox.registry import TEXT_TOKENIZERS
from dtbox.texts.tokenizers import canonicalize, train_word_tokenizer


@pytest.fixture
def tokenizer(words):
    return TEXT_TOKENIZERS.build(dict(type='FileTokenizer', file=words, context_length=4))


@pytest.mark.parametrize('text, clean', [
     ('Red_Fox!', 'red fox'), ('  a\t\nb  ', 'a b'), ("don't, please.", 'dont please'), ('Äpfel  ÉTÉ', 'äpfel été'),
     ('?!', ''), ('', '')])
def test_canonicalize(text, clean):
    assert canonicalize(text) == clean


def test_ids_padding_and_unknown_words(tokenizer):
    ids = tokenizer(['red fox', 'RED, apple!', 'a red bee', 'sun'])
    assert ids.tolist() == [[2, 3, 0, 0], [2, 4, 0, 0], [1, 2, 1, 0], [5, 0, 0, 0]]
    assert ids.dtype == torch.int64 and (tokenizer.vocab_size, tokenizer.context_length, tokenizer.pad_id) == (6, 4, 0)


def test_unknown_words_are_told_once(tokenizer):
    """Counted and named for the first texts that have some."""
    with pytest.warns(UserWarning) as told:
        tokenizer(['red fox', 'RED apple'])
        warnings.warn('nothing so far', stacklevel=1)
        tokenizer(['a red Zebra', 'zebra!', 'sun'])
        tokenizer(['a lion'])
    assert [str(w.message).partition(' are not')[0] for w in told] == ['nothing so far', 'in 3 texts, 3 words']
    assert 'the vocabulary of the text tokenizer: "zebra", "a".' in str(told[1].message)


def test_long_texts_are_cut_with_one_warning(tokenizer):
    with pytest.warns(UserWarning, match=r'text 1 has 5 tokens, but .* at most 4 \("red red red red fox\.\.\."\)\. It '
                                         r'is cut') as seen:
        ids = tokenizer(['sun', 'red red red red fox', 'fox fox fox fox fox'])
    assert ids.tolist()[1:] == [[2, 2, 2, 2], [3, 3, 3, 3]] and len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        tokenizer(['apple apple apple apple apple'])  # said once, not with every batch
        tokenizer(['red red red red'])


def test_long_texts_may_be_an_error(tokenizer):
    with pytest.raises(InputError, match=r'text 0 has 5 tokens.*Shorten it, or pass truncate=True'):
        tokenizer(['red red red red fox'], truncate=False)


@pytest.mark.parametrize('texts, says', [
     (['sun', ''], 'text 1 is empty'), (['  \n'], 'text 0 is empty'), ([3], 'text 0 is int; expected a ' 'string'),
     ([None], 'text 0 is NoneType')])
def test_texts_that_are_none(tokenizer, texts, says):
    with pytest.raises(InputError, match=says):
        tokenizer(texts)


def test_no_texts_at_all(tokenizer):
    assert tokenizer([]).shape == (0, 4)


def test_text_as_it_is(words):
    tokenizer = TEXT_TOKENIZERS.build(dict(type='FileTokenizer', file=words, context_length=2, clean=False))
    assert tokenizer(['Red fox']).tolist() == [[1, 3]]


def test_settings_inside_the_file_do_not_interfere(words, tmp_path):
    from tokenizers import Tokenizer
    inner = Tokenizer.from_file(words)
    inner.enable_padding(length=7)
    inner.enable_truncation(1)
    inner.save(str(tmp_path / 'other.json'))
    tokenizer = TEXT_TOKENIZERS.build(dict(type='FileTokenizer', file=str(tmp_path / 'other.json'), context_length=3))
    assert tokenizer(['red fox']).tolist() == [[2, 3, 0]]


def test_files_that_are_none(tmp_path, words):
    with pytest.raises(InputError, match=r'gone\.json does not exist'):
        TEXT_TOKENIZERS.build(dict(type='FileTokenizer', file=str(tmp_path / 'gone.json')))
    (tmp_path / 'bad.json').write_text('{}')
    with pytest.raises(InputError, match=r'bad\.json is not a tokenizer\.json'):
        TEXT_TOKENIZERS.build(dict(type='FileTokenizer', file=str(tmp_path / 'bad.json')))
    with pytest.raises(InputError, match=r'has no token `\[PAD\]` to pad with'):
        TEXT_TOKENIZERS.build(dict(type='FileTokenizer', file=words, pad='[PAD]'))


def test_gaps_between_ids(tmp_path):
    """The ids of a small vocabulary may end at 7999, or 8 a token of one that has more than 1000; beyond, the table of
    embeddings would be mostly empty rows."""
    from tokenizers import Tokenizer, models
    for last, most, more in ((7999, 8000, 3), (8000, None, 3), (8095, 8096, 1012), (8096, None, 1012)):
        table = {'<pad>': 0, '<unk>': 1, **{str(i): i for i in range(2, more - 1)}, 'far': last}
        Tokenizer(models.WordLevel(table, unk_token='<unk>')).save(str(tmp_path / 'gaps.json'))
        cfg = dict(type='FileTokenizer', file=str(tmp_path / 'gaps.json'))
        if most is not None:
            assert TEXT_TOKENIZERS.build(cfg).vocab_size == most
        else:
            with pytest.raises(InputError, match=f'has {more:,} tokens and an id of {last:,}: it is damaged'):
                TEXT_TOKENIZERS.build(cfg)


def test_zoo_file():
    tokenizer = TEXT_TOKENIZERS.build(dict(type='FileTokenizer', file='dtbox://siglip-tiny-twemoji/tokenizer.json',
                                           context_length=16))
    ids = tokenizer(['Red Heart', 'red heart'])
    assert torch.equal(ids[0], ids[1])
    assert ids[0, 0] != tokenizer.pad_id
    assert ids[0, -1] == tokenizer.pad_id
    assert ids.max() < tokenizer.vocab_size


def test_words_by_falling_count():
    tokenizer = train_word_tokenizer(['b a', 'b c', 'B!'], min_count=1)
    assert tokenizer.get_vocab() == {'<pad>': 0, '<unk>': 1, 'b': 2, 'a': 3, 'c': 4}
    assert train_word_tokenizer(['b a', 'b c'], min_count=2).get_vocab() == {'<pad>': 0, '<unk>': 1, 'b': 2}
    with pytest.raises(InputError, match='none of the 2 texts has a word'):
        train_word_tokenizer(['?', ''])


def test_clip_byte_pairs():
    """As open_clip's own call gives them, long texts included."""
    import open_clip
    tokenizer = TEXT_TOKENIZERS.build(dict(type='OpenCLIPTokenizer', context_length=8))
    texts = ['a red fox', 'A Red   fox!', 'one two three four five six seven eight nine ten']
    with pytest.warns(UserWarning, match='text 2 has 12 tokens'):
        ids = tokenizer(texts)
    assert torch.equal(ids, open_clip.get_tokenizer('ViT-B-32', context_length=8)(texts))
    assert ids[0].tolist()[:1] == [49406] and ids[0].tolist()[4:] == [49407, 0, 0, 0] and ids[2, -1] == 49407


def test_a_cut_text_keeps_its_end_token(tmp_path):
    """A special token at the end (end of text) stays the last one; CLIP's end token, too."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    inner = Tokenizer(models.WordLevel({'<pad>': 0, '</s>': 1, 'red': 2, 'fox': 3}, unk_token='<pad>'))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.add_special_tokens(['</s>'])
    inner.post_processor = processors.TemplateProcessing(single='$A </s>', special_tokens=[('</s>', 1)])
    inner.save(str(tmp_path / 'tokenizer.json'))
    short = TEXT_TOKENIZERS.build(dict(type='FileTokenizer', file=str(tmp_path / 'tokenizer.json'), context_length=3))
    with pytest.warns(UserWarning, match='It is cut'):
        assert short(['red fox red fox', 'red']).tolist() == [[2, 3, 1], [2, 1, 0]]
    clip = TEXT_TOKENIZERS.build(dict(type='OpenCLIPTokenizer', context_length=5))
    with pytest.warns(UserWarning, match='It is cut'):
        ids = clip(['one two three four five six']).tolist()[0]
    assert ids[0] == clip.tokenizer.sot_token_id and ids[-1] == clip.tokenizer.eot_token_id
