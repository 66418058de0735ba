"""What a checkpoint holds under which names: that of dtbox 0.1.0, so that its checkpoints load and resume."""
from pathlib import Path

from dtbox.training import checkpoint
from tests.tiny_run import train

KEYS = Path(__file__).with_name('checkpoint_keys.txt')
"""Written from runs of `tests/tiny_run.py` with dtbox 0.1.0."""


def read_expected(section):
    """Return the words behind `section` in the lines of the golden file that begin with it."""
    lines = KEYS.read_text().splitlines()
    return [line.removeprefix(f'{section} ') for line in lines if line.startswith(f'{section} ')]


def test_names_and_shapes(tiny_run):
    """Order, names and shapes of the weights; names of all else."""
    state = checkpoint.load(tiny_run)
    weights = [f'{name} {"x".join(map(str, value.shape)) or "scalar"}' for name, value in state['state_dict'].items()]
    assert weights == read_expected('state_dict')
    moments = [f'{name}:{len(one["state"])}' for name, one in state['optimizer'].items()]
    assert ' '.join(moments) in read_expected('optimizer')
    for section in ('meta', 'param_schedulers', 'backward_passes'):
        assert ' '.join(state[section]) in read_expected(section)
    assert ' '.join(state) in read_expected('checkpoint')


def test_names_with_an_average(tiny_config, tmp_path):
    """The weights that train stand in `ema`, by their names in the tokenizer."""
    train(tiny_config, tmp_path / 'run', ema=dict(decay=0.9), train_cfg__max_iters=1, val_dataloader=None)
    state = checkpoint.load(tmp_path / 'run')
    assert ' '.join(state) in read_expected('with ema')
    weights = {line.split()[0] for line in read_expected('state_dict')}
    assert {f'tokenizer.{name}' for name in state['ema']['raw']} <= weights
