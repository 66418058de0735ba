"""A recipe that trains in no time, a small grid over it, and an engine that finishes trials at once."""
import json
import os

import pytest

from dtbox.ablation.trial import read_record, write_record
from tests.tiny_run import write_photos

GRID = '''"""A small grid: two axes."""
base = {base!r}
axes = dict(depth=dict(key='quantizer.depth', values=[1, 2]),
            decoder=dict(variants=dict(wide={{'model.tokenizer.decoder.width': 64}}, narrow={{}})))
seeds = [0, 1]
metrics = ['heldout/psnr']
reference = dict(depth=2, decoder='wide')
'''


RECIPE = '''
image_size = 32
data_root = {photos!r}
quantizer = dict(type='RQ', size=64, dim=8, depth=2)
model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${{image_size}}',
        encoders=dict(cnn=dict(type='CNNEncoder', channels=32, multipliers=(1, 1), blocks=1, latent_channels=32,
                                attention_resolutions=(), stem=4)),
        vocabularies=dict(pixel=dict(taps=3, quantizer='${{quantizer}}')),
        decoder=dict(type='LightCNNDecoder', reads=['pixel'], width=32, blocks=1)),
    losses=dict(quantizers=dict(type='QuantizerLoss', weight=1.0), pixels=dict(type='L2Loss', weight=5.0)),
    gan='${{gan}}')
gan = dict(discriminator=dict(type='PatchDiscriminator', width=32),
           adversarial=dict(type='AdversarialLoss', start=2, against=('l2',)))
train_dataloader = dict(batch_size=4, dataset=dict(
    type='ImageFolder', data_root='${{data_root}}', split='train',
    pipeline=[dict(type='RandomResizedCrop', size='${{image_size}}'), dict(type='PackImage')]))
val_dataloader = dict(batch_size=4, dataset=dict(
    type='ImageFolder', data_root='${{data_root}}', split='heldout',
    pipeline=[dict(type='ResizeCrop', size='${{image_size}}'), dict(type='PackImage')]))
val_evaluator = dict(psnr=dict(type='PSNR'), code_usage=dict(type='CodeUsage'))
optim_wrapper = dict(generator=dict(optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(max_norm=1.0)),
                     discriminator=dict(optimizer=dict(type='Adam', lr=2e-4)))
param_scheduler = dict(generator=dict(type='WarmupCosineLR', total=6))
train_cfg = dict(max_iters=6)
hooks = dict(log=dict(type='Log', interval=1), checkpoint=dict(type='Checkpoint', interval=1),
             results=dict(type='Results'))
seed = 0
'''
"""A process that trains this starts in half the time: no timm, no matplotlib; every iteration leaves a checkpoint and a
line."""


@pytest.fixture(scope='session')
def quick_config(tmp_path_factory):
    """The quick recipe: path of its config file, beside its photographs."""
    folder = tmp_path_factory.mktemp('quick')
    write_photos(folder / 'photos')
    (folder / 'recipe.py').write_text(RECIPE.format(photos=str(folder / 'photos')))
    return folder / 'recipe.py'


@pytest.fixture
def write_grid(quick_config, tmp_path):
    """Write a grid over the quick recipe: text or (part, replacement) pairs on GRID -> path."""
    def write(*changes, text=None, name='small.py'):
        text = text or GRID.format(base=str(quick_config))
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)
    return write


class InstantEngine:
    """Ends every trial at the next look.

    Args:
        outcome: dict trial name -> 'failed', 'diverged', 'never' (it runs on), a signal as a negative exit code; 'done'
            for the rest.
    """
    remark = ''

    def __init__(self, workers=2, outcome=None):
        self.workers = workers
        self.outcome = outcome or {}
        self.started = []
        self.most = 0
        self.open = set()

    def start(self, folder):
        name = os.path.basename(folder)
        self.started.append(name)
        self.open.add(name)
        self.most = max(self.most, len(self.open))
        return InstantTrial(self, folder, self.outcome.get(name, 'done'))

    def close(self):
        pass


class InstantTrial:
    """A trial of InstantEngine; its psnr is the sum of its name's bytes."""
    why = ''

    def __init__(self, engine, folder, outcome):
        self.engine = engine
        self.folder = folder
        self.outcome = outcome
        self.stopped = False

    def poll(self):
        if self.outcome == 'never' and not self.stopped:
            return None
        self.engine.open.discard(os.path.basename(self.folder))
        if isinstance(self.outcome, int) or self.stopped:
            return -15 if self.stopped else self.outcome
        record = read_record(self.folder)
        record.update(status=self.outcome, reason='' if self.outcome == 'done' else 'as asked', seconds=1.5,
                      identity='x', iterations=6)
        if self.outcome == 'done':
            score = sum(os.path.basename(self.folder).encode()) / 7
            with open(os.path.join(self.folder, 'metrics.json'), 'w') as f:
                json.dump(dict(heldout=dict(psnr=score, kept=None), counts=dict(heldout=8), skipped={}), f)
        write_record(self.folder, record)
        return int(self.outcome != 'done')

    def has_begun(self):
        return True

    def stop(self):
        self.stopped = True
        self.poll()


@pytest.fixture
def instant(monkeypatch):
    """Let `run_grid` use an InstantEngine: instant(workers, outcome) -> engine."""
    def use(workers=2, outcome=None):
        engine = InstantEngine(workers, outcome)
        monkeypatch.setattr('dtbox.ablation.run.make_engine', lambda *a: engine)
        monkeypatch.setattr('dtbox.ablation.run.POLL', 0.001)
        return engine
    return use
