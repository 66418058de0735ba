"""Disks that fail and files that change: what was whole stays whole, and damage is told."""
import os
import shutil
import zipfile

import pytest
import torch

import dtbox
from dtbox.checksums import find_damage
from dtbox.config import load_config
from dtbox.errors import InputError
from dtbox.training import checkpoint
from dtbox.training.runner import Runner


def damage(path, change):
    """Change the middle byte of the largest record; returns its name."""
    with zipfile.ZipFile(path) as archive:
        record = max(archive.infolist(), key=lambda r: r.file_size)
    content = bytearray(path.read_bytes())
    place = record.header_offset + 200 + record.file_size // 2
    content[place:place + len(change)] = change
    path.write_bytes(bytes(content))
    return record.filename


@pytest.mark.parametrize('change', [None, bytes(512)], ids=['bit', 'sector'])
def test_a_changed_checkpoint_is_told(tiny_config, tiny_run, tmp_path, change):
    """One flipped bit, or a sector of zeros: torch reads both without a word."""
    run = shutil.copytree(tiny_run, tmp_path / 'run')
    path = run / 'checkpoint.pth'
    before = torch.load(path, weights_only=True)['state_dict']
    with zipfile.ZipFile(path) as archive:
        record = max(archive.infolist(), key=lambda r: r.file_size)
    middle = record.header_offset + 200 + record.file_size // 2
    name = damage(path, change or bytes([path.read_bytes()[middle] ^ 1]))
    after = torch.load(path, weights_only=True)['state_dict']
    assert set(before) == set(after) and find_damage(path) == name
    for use in (lambda: checkpoint.load(run), lambda: dtbox.load(run),
                lambda: Runner.from_config(load_config(tiny_config), work_dir=str(run), resume=True).train()):
        with pytest.raises(InputError, match=f'{path} is damaged: its record {name} does not match its checksum'):
            use()


def test_a_whole_file_has_no_damage(tiny_run, tmp_path):
    assert find_damage(tiny_run / 'checkpoint.pth') is None
    (tmp_path / 'old.pth').write_bytes(b'no zip')
    assert find_damage(tmp_path / 'old.pth') is None


def test_a_checkpoint_that_cannot_be_written(tmp_path, monkeypatch):
    """torch's writer says so by a RuntimeError; the old file is as it was, and no part of the new one is left."""
    path = tmp_path / 'checkpoint.pth'
    checkpoint.save(dict(state_dict=dict(a=torch.ones(2))), str(path))
    before = path.read_bytes()

    def fail(*_, **__):
        raise RuntimeError('[enforce fail at inline_container.cc] . unexpected pos 64 vs 0')
    monkeypatch.setattr(torch, 'save', fail)
    with pytest.raises(InputError, match='checkpoint.pth cannot be written .*The one before is as it was'):
        checkpoint.save(dict(state_dict=dict(a=torch.zeros(2))), str(path))
    assert path.read_bytes() == before and os.listdir(tmp_path) == ['checkpoint.pth']


def test_a_folder_that_is_removed_meanwhile(tiny_config, tmp_path):
    runner = Runner.from_config(load_config(tiny_config, {'hooks.images.interval': 0}), work_dir=str(tmp_path / 'run'))
    step = runner.task.train_step

    def stepping(*args, **kwargs):
        if int(runner.task.iteration) == 2:
            os.rename(tmp_path / 'run', tmp_path / 'away')
        return step(*args, **kwargs)
    runner.task.train_step = stepping
    with pytest.raises(InputError, match='the run folder .*run is gone: something has removed or renamed it'):
        runner.train()
    assert not (tmp_path / 'run').exists()


def test_a_checkpoint_of_a_wrapped_model(tiny_run, tmp_path):
    """`load_from` and `dtbox.load` take it as that of the model itself."""
    state = checkpoint.load(tiny_run)
    good = state['state_dict']
    state['state_dict'] = {f'module._orig_mod.{name}': value for name, value in good.items()}
    torch.save(state, tmp_path / 'checkpoint.pth')
    again = checkpoint.load(tmp_path / 'checkpoint.pth')['state_dict']
    assert list(again) == list(good)
    opened = dtbox.load(tiny_run, tmp_path / 'checkpoint.pth')
    assert all(torch.equal(opened.model.state_dict()[name.removeprefix('tokenizer.')], value)
               for name, value in good.items() if name.startswith('tokenizer.'))
