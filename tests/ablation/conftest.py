"""A small grid over the tiny recipe, and an engine that finishes trials at once."""
import json
import os

import pytest

from dtbox.ablation.trial import read_record, write_record

GRID = '''"""A small grid: two axes."""
base = {base!r}
axes = dict(depth=dict(key='quantizer.depth', values=[1, 2]),
            decoder=dict(variants=dict(wide={{'model.tokenizer.decoder.width': 64}}, narrow={{}})))
seeds = [0, 1]
metrics = ['heldout/psnr']
reference = dict(depth=2, decoder='wide')
'''


@pytest.fixture
def write_grid(tiny_config, tmp_path):
    """Write a grid over the tiny recipe: text or (part, replacement) pairs on GRID -> path."""
    def write(*changes, text=None, name='small.py'):
        text = text or GRID.format(base=str(tiny_config))
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)
    return write


class InstantEngine:
    """Ends every trial at the next look.

    Args:
        outcome: dict trial name -> 'failed', 'diverged', 'never' (it runs on), a signal as a negative exit code; 'done' for the rest.
    """
    remark = ''

    def __init__(self, workers=2, outcome=None):
        self.workers, self.outcome, self.started, self.most, self.open = workers, outcome or {}, [], 0, set()

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

    def __init__(self, engine, folder, outcome):
        self.engine, self.folder, self.outcome, self.stopped = engine, folder, outcome, False

    def poll(self):
        if self.outcome == 'never' and not self.stopped:
            return None
        self.engine.open.discard(os.path.basename(self.folder))
        if isinstance(self.outcome, int) or self.stopped:
            return -15 if self.stopped else self.outcome
        record = read_record(self.folder)
        record.update(status=self.outcome, reason='' if self.outcome == 'done' else 'as asked', seconds=1.5, identity='x', iterations=6)
        if self.outcome == 'done':
            score = sum(os.path.basename(self.folder).encode()) / 7
            with open(os.path.join(self.folder, 'metrics.json'), 'w') as f:
                json.dump(dict(heldout=dict(psnr=score, kept=None), counts=dict(heldout=8), skipped={}), f)
        write_record(self.folder, record)
        return int(self.outcome != 'done')

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
