"""A builder whose ids can be counted by hand (see `tests.conversation_data`)."""
import pytest

from dtbox.registry import SEQUENCES
from tests.conversation_data import write_word_tokenizer


@pytest.fixture(scope='session')
def words(tmp_path_factory):
    """Path of a tokenizer.json of whole words."""
    return write_word_tokenizer(tmp_path_factory.mktemp('words') / 'tokenizer.json')


@pytest.fixture(scope='session')
def make_builder(words):
    """Function of arguments -> SequenceBuilder of whole words with 2 places an image."""
    def make(places=2, context_length=40, drop=0.0, template=None, tokenizer=None, **more):
        return SEQUENCES.build(dict(type='SequenceBuilder', drop=drop, template=template or dict(type='PlainTemplate'),
                                    tokenizer=tokenizer or dict(type='TokenizerFile', file=words), **more),
                               places=places, context_length=context_length)
    return make


@pytest.fixture(scope='session')
def builder(make_builder):
    return make_builder()
