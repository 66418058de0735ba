"""`dtbox train mllm_twemoji --data tokens`: a language model on token shards, by the name of another data config."""
import numpy as np
import pytest
import torch

from dtbox.cli import check_data, train
from dtbox.config import load_config, resolve
from dtbox.evaluation.results import Results
from dtbox.registry import DATASETS, TOKENIZERS
from dtbox.token_shards.writing import write_shard
from tests.token_kit import make_meta, make_row, write_tokens

pytest.importorskip('pyarrow')
pytest.importorskip('transformers')
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def tokens(tmp_path_factory):
    """Token shards of 24 emoji, by the recipe's tokenizer."""
    folder = tmp_path_factory.mktemp('tokens')
    tokenizer = TOKENIZERS.build(dict(type='TrainedTokenizer', source='dtbox://dualtoken-twemoji'))
    emoji = DATASETS.build(dict(type='TwemojiDraw', limit=24))
    talks = [emoji[i]['conversation'] for i in range(24)]
    codes = tokenizer.encode(torch.stack([talk.images[0] for talk in talks]).float() / 127.5 - 1)
    meta = make_meta(tokenizer.layout, tokenizer.digest)
    for shard in range(2):
        rows = [make_row(meta, 100 * shard + i, codes={name: value[12 * shard + i].numpy() for name, value in
                                                       codes.items()}, texts=[talks[12 * shard + i].turns[0].text])
                for i in range(12)]
        write_shard(folder, f's{shard}', rows, meta)
    return folder


def test_the_command_trains_and_evaluates(tokens, tmp_path, capsys):
    """One option more than on images; captions, drawings and likelihoods of the held-out images are scored."""
    train.VERB.main(['mllm_twemoji', '--data', 'tokens', '--tiny', '--work-dir', str(tmp_path / 'run'),
                     '--cfg-options', f'data_root={tokens}', 'holdout=0.25', 'cpu_ranks=1', f'codes={tmp_path / "c"}'])
    scores = Results.read(str(tmp_path / 'run' / 'metrics.json')).row()
    assert np.isfinite(scores['heldout_draw/nats/pixel'])
    assert any(name.startswith('heldout_caption/') for name in scores)
    assert not (tmp_path / 'c').exists()  # nothing was encoded


def test_images_without_texts(tokens, tmp_path, capsys):
    """The other config draws without a prompt, and holds no evaluation."""
    train.VERB.main(['mllm_twemoji', '--data', 'tokens_without_texts', '--tiny', '--work-dir', str(tmp_path / 'run'),
                     '--cfg-options', f'data_root={tokens}', 'cpu_ranks=1'])
    assert (tmp_path / 'run' / 'checkpoint.pth').is_file()


def test_another_tokenizer_stops_at_the_start(tmp_path, capsys):
    """Before the run folder is made."""
    cfg = resolve(load_config('mllm_twemoji'))
    layout = TOKENIZERS.build(cfg.model.tokenizer).layout
    folder = write_tokens(tmp_path / 'tokens', size=20, meta=make_meta(layout))
    with pytest.raises(SystemExit):
        train.VERB.main(['mllm_twemoji', '--data', 'tokens', '--tiny', '--work-dir', str(tmp_path / 'run'),
                         '--cfg-options', f'data_root={folder}', 'cpu_ranks=1'])
    assert 'were made by a tokenizer with the weights 0000000000000000' in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


def test_check_data(tokens, tmp_path, capsys, monkeypatch):
    """`dtbox check-data` counts samples and texts; there are no pixels to draw."""
    monkeypatch.chdir(tmp_path)
    check_data.VERB.main(['tokens', '--cfg-options', f'data_root={tokens}', 'holdout=0.25'])
    assert 'train' in capsys.readouterr().out
