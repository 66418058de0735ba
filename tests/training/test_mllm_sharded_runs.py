"""Runs of a multimodal language model that two ranks share by FSDP2: evaluated, drawn, saved, resumed by one."""
import shutil
import sys

import pytest
import torch

from dtbox.config import load_config
from dtbox.errors import InputError
from dtbox.testing.rank_group import SHARED
from dtbox.training import checkpoint
from dtbox.training.runner import Runner
from tests import mllm_kit as kit
from tests.training.test_mllm_runs import config, make_runner  # noqa: F401

pytest.importorskip('transformers')
pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='forks')
OPTIONS = {'model.lm.lora': dict(r=2, lora_alpha=4),
           'model.lm.config': dict(_delete_=True, **kit.LLAMA, vocab_size=kit.ORDINARY), 'model.keep_share': 1.0,
           'model.micro_batch': 1,
           'optim_wrapper.model.optimizer': dict(_delete_=True, type='SGD', lr=0.1, momentum=0.9)}
"""Adapters and special rows; steps that one rank and two take alike."""
SHARDED = {**OPTIONS, 'model_wrapper_cfg': dict(type='FSDP2'), 'train_dataloader.batch_size': 2, 'max_iters': 3,
           'hooks.sheets': dict(type='ConversationSheets', interval=2, count=1), 'train_cfg.val_interval': 2}


def train(rank, world, config, folder, options, resume=False):  # noqa: F811
    """Train on the ranks; returns 'done' or why it was refused."""
    try:
        Runner.from_config(load_config(config, options), work_dir=folder, resume=resume, launcher='pytorch').train()
    except InputError as e:
        return str(e)
    return 'done'


def test_sharded_then_whole(config, tmp_path):  # noqa: F811
    """Its checkpoint holds whole tensors, momenta included; one rank resumes it to the weights of a run of one."""
    assert SHARED.run(train, str(config), str(tmp_path / 'run'), SHARDED) == ['done', 'done']
    state = checkpoint.load(tmp_path / 'run')
    assert state['meta']['world_size'] == 2 and all(type(v) is torch.Tensor for v in state['state_dict'].values())
    assert (tmp_path / 'run' / 'drawings.png').is_file() and (tmp_path / 'run' / 'metrics.json').is_file()
    plain = {key.replace('.', '__'): value for key, value in OPTIONS.items()}
    make_runner(config, tmp_path / 'run', True, **plain, train_dataloader__batch_size=2).train()
    make_runner(config, tmp_path / 'whole', **plain).train()
    ends = [checkpoint.load(tmp_path / name) for name in ('run', 'whole')]
    for name, value in ends[1]['state_dict'].items():
        assert torch.allclose(ends[0]['state_dict'][name].double(), value.double(), rtol=1e-5, atol=1e-5), name
    momenta = [end['optimizer']['model']['state'] for end in ends]
    assert momenta[0].keys() == momenta[1].keys() and len(momenta[0]) > 10
    assert all(torch.allclose(one['momentum_buffer'], momenta[1][i]['momentum_buffer'], atol=1e-5)
               for i, one in momenta[0].items())


def test_whole_then_sharded(config, tmp_path):  # noqa: F811
    """Two ranks resume the run of one; a checkpoint that is damaged is refused on both."""
    plain = {key.replace('.', '__'): value for key, value in OPTIONS.items()}
    make_runner(config, tmp_path / 'run', **plain, max_iters=3).train()
    shutil.copytree(tmp_path / 'run', tmp_path / 'cut')
    more = {**{key: value for key, value in SHARDED.items() if key != 'hooks.sheets'}, 'max_iters': 5}
    assert SHARED.run(train, str(config), str(tmp_path / 'run'), more, True) == ['done', 'done']
    make_runner(config, tmp_path / 'whole', **plain).train()
    ends = [checkpoint.load(tmp_path / name)['state_dict'] for name in ('run', 'whole')]
    for name, value in ends[1].items():
        assert torch.allclose(ends[0][name].double(), value.double(), rtol=1e-5, atol=1e-5), name
    path = tmp_path / 'cut' / 'checkpoint.pth'
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    said = SHARED.run(train, str(config), str(tmp_path / 'cut'), more, True)
    assert all('is damaged' in s for s in said)


def test_what_cannot_be_sharded(config, tmp_path):  # noqa: F811
    mixed = {**SHARDED, 'model.lm.lora': None, 'model.lm.dtype': 'bfloat16'}
    said = SHARED.run(train, str(config), str(tmp_path / 'a'), mixed)
    assert all('weights of the types bfloat16 and float32 would train together' in s for s in said)
    nameless = {**SHARDED, 'model_wrapper_cfg': dict(type='FSDP2', blocks=['stages'])}
    said = SHARED.run(train, str(config), str(tmp_path / 'b'), nameless)
    assert all('has no list of blocks named stages' in s for s in said)
    assert not (tmp_path / 'a').exists()
