"""A batch that cannot be read ends a run as a signal does: its state is saved, and it resumes bit for bit."""
import pickle
from itertools import count

import pytest

from dtbox.config import load_config
from dtbox.datasets.base import BrokenSample
from dtbox.errors import DataError, InputError, at
from dtbox.testing.rank_group import SHARED
from dtbox.training import checkpoint
from dtbox.training.dataloaders import Loader
from dtbox.training.runner import Runner
from tests.training.test_resume import same
from tests.training.test_task import CONFIG

GONE = BrokenSample('a.png', 'the image a.png does not exist. Check the path.')


def start(config, folder, error=None, call=22, part='train', launcher='none', **options):
    """Return a Runner of the linear task; the `call`-th sample that its data set reads raises `error`."""
    cfg = load_config(config, {k.replace('__', '.'): v for k, v in options.items()})
    runner = Runner.from_config(cfg, work_dir=str(folder), launcher=launcher)
    data, calls = runner.val_parts[part].dataset, count(1)
    read = data.sample

    def sample(index, rng):
        if next(calls) == call and error is not None:
            raise error
        return read(index, rng)
    data.sample = sample
    return runner


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """The linear task for 8 iterations of 4 images, of which only the last one would be saved."""
    path = tmp_path_factory.mktemp('linear') / 'linear.py'
    path.write_text(CONFIG + 'train_cfg.update(max_iters=8)\nhooks.update(checkpoint=dict(type="Checkpoint", '
                             'interval=100))\nparam_scheduler["classifier"].update(total=8)\n')
    return path


@pytest.mark.parametrize('error, says', [
    (GONE, 'at iteration 6, the image a.png does not exist'), (OSError(5, 'Input/output error'), 'at iteration 6, a '
     r'batch of the data cannot be read \(OSError: \[Errno 5\] Input/output error\)')])
def test_the_state_is_saved(config, tmp_path, error, says):
    """After five whole iterations; the resumed run ends with the bits of one that nothing stopped."""
    folder = tmp_path / 'run'
    with pytest.raises(InputError, match=rf'^{says}.*The last state is .*checkpoint.pth; .* --resume\.$'):
        start(config, folder, error).train()
    assert checkpoint.load(folder)['iteration'] == 5
    Runner.from_config(load_config(config), work_dir=str(folder), resume=True).train()
    start(config, tmp_path / 'whole').train()
    same(checkpoint.load(tmp_path / 'whole'), checkpoint.load(folder))


def test_accumulated_gradients_are_not_saved(config, tmp_path):
    """Half of an update is in no checkpoint: the message does not promise one."""
    with pytest.raises(InputError, match='at iteration 6, .*No state is saved yet'):
        start(config, tmp_path / 'run', GONE, optim_wrapper__classifier__accumulative_counts=3).train()
    assert not (tmp_path / 'run' / 'checkpoint.pth').exists()


def test_held_out_data(config, tmp_path):
    with pytest.raises(InputError, match='^the image a.png .*The last state is .* --resume'):
        start(config, tmp_path / 'run', GONE, 7, 'val').train()
    assert checkpoint.load(tmp_path / 'run')['iteration'] == 8


def train_on_ranks(rank, world, config, folder):
    """Train on a rank; rank 1 cannot read a sample. Returns the error."""
    try:
        start(config, folder, GONE if rank else None, 12, launcher='pytorch').train()
    except InputError as e:
        return str(e)


def test_one_of_two_ranks(config, tmp_path):
    """Both ranks save and say what one of them met."""
    first, second = SHARED.run(train_on_ranks, str(config), str(tmp_path / 'run'))
    assert first == second and first.startswith('at iteration 3, the image a.png does not exist')
    assert checkpoint.load(tmp_path / 'run')['iteration'] == 2


class Bad:
    """Samples, of which reading number 1 raises an error."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index:
            raise self.error
        return index


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('error, says', [
    (GONE, 'the image a.png does not exist. Check the path.'), (InputError('no such thing.'), 'no such thing.'),
    (ZeroDivisionError('by zero'), 'a batch of the data cannot be read (ZeroDivisionError: by zero).')])
def test_one_sentence_of_a_loader(workers, error, says):
    """The traceback that PyTorch puts around an error of a worker is not for the user."""
    with pytest.raises(DataError) as caught:
        list(Loader(Bad(error), num_workers=workers))
    assert str(caught.value) == says


def test_a_broken_sample_in_a_config_entry():
    """It keeps what it says, and travels between processes."""
    with pytest.raises(InputError, match='^data: the image a.png does not exist'), at('data'):
        raise GONE
    again = pickle.loads(pickle.dumps(GONE))
    assert (again.key, str(again)) == (GONE.key, str(GONE))
