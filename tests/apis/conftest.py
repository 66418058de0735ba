"""Runs to open."""
import pytest

import dtbox


@pytest.fixture(scope='session')
def tok(converted):
    """The tiny DualToken of the golden data: images of 32 pixels, 25 tokens, two vocabularies of 4 x 64 codes, no text
    tokenizer."""
    return dtbox.load(converted)


def make_reader(golden, folder):
    """Write the same model with a tokenizer of a few words as a run folder; returns it."""
    from dtbox.converters.run_folder import convert
    from dtbox.texts.tokenizers import train_word_tokenizer
    from tests.conftest import write_published
    src, siglip = write_published(folder, golden)
    train_word_tokenizer(['red fox', 'red']).save(str(siglip / 'tokenizer.json'))
    (siglip / 'tokenizer_config.json').write_text('{"pad_token": "<pad>"}')
    convert('dualtoken', src, folder / 'run', siglip=siglip)
    return folder / 'run'


@pytest.fixture(scope='session')
def reader_run(golden, tmp_path_factory):
    """Run folder of `reader`."""
    return make_reader(golden, tmp_path_factory.mktemp('reader'))


@pytest.fixture(scope='session')
def reader(reader_run):
    """The same model with a tokenizer of a few words: <pad> = 0, <unk> = 1, red = 2, fox = 3."""
    return dtbox.load(reader_run)
