"""Packing a run's towers: weights as float16, tokenizer, scores of what was packed, and a card that says what it is."""
import json

import pytest
import torch
from safetensors.torch import load_file

from dtbox.cli.pack_zoo import VERB
from dtbox.config import load_config
from dtbox.training import checkpoint
from dtbox.training.runner import Runner


@pytest.fixture(scope='module')
def towers(cifar_shards, tmp_path_factory):
    """The run folder of `siglip_tiny_cifar10` after two steps on generated images."""
    folder = tmp_path_factory.mktemp('towers') / 'run'
    cfg = load_config('configs/siglip_tiny_cifar10.py', dict(data_root=str(cifar_shards), batch_size=4, max_iters=2))
    Runner.from_config(cfg, work_dir=str(folder)).train()
    return folder


def test_pack(towers, tmp_path):
    VERB.main([str(towers), 'small', '--zoo', str(tmp_path), '--command', 'python tools/train.py X', '--config', 'X',
               '--note', 'One minute.',
          '--data', 'CIFAR-10.', '--limits', 'Ten classes only.'])
    packed = load_file(tmp_path / 'small' / 'model.safetensors')
    trained = checkpoint.load(towers / 'checkpoint.pth')['state_dict']
    assert packed['text.words.weight'].dtype == torch.float16
    assert 'encoders.trunk.trunk.blocks.7.mlp.fc2.weight' in packed
    assert all(torch.equal(value, trained[f'tokenizer.{key}'].half()) for key, value in packed.items())
    words = [json.loads((folder / 'tokenizer.json').read_text()) for folder in (tmp_path / 'small', towers)]
    assert words[0] == words[1]
    scores = json.loads((tmp_path / 'small' / 'scores.json').read_text())
    assert scores['counts']['test'] == 10 and 0 <= scores['test']['zeroshot_top1/tokens'] <= 1
    card = (tmp_path / 'small' / 'README.md').read_text()
    assert 'dtbox://small' in card
    assert '`python tools/train.py X`' in card
    assert '\n  One minute.\n' in card
    assert 'Data: CIFAR-10.\n' in card
    assert 'Ten classes only.' in card and 'zero-shot top-1' in card and 'emoji' not in card
