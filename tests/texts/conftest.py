"""A word-level tokenizer file of a few words."""
import pytest


@pytest.fixture
def words(tmp_path):
    """Path of a tokenizer.json with <pad> = 0, <unk> = 1, red = 2, fox = 3, apple = 4, sun = 5."""
    from dtbox.texts.tokenizers import train_word_tokenizer
    path = str(tmp_path / 'tokenizer.json')
    train_word_tokenizer(['red fox', 'Red apple, red fox!', 'sun']).save(path)
    return path
