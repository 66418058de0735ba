"""What a log says before the first iteration."""
import re

import torch
from torch import nn

from dtbox.training.summary import describe_contents


class Loader:
    """Stands for a DataLoader."""

    def __init__(self, size, sets=()):
        self.dataset = torch.utils.data.TensorDataset(torch.zeros(size))
        self.dataset.sets = list(sets)


class Parts:
    """Stands for a task: 3 x 2 + 2 weights, of which the second layer's 2 are frozen, beside a frozen teacher of 20."""

    def __init__(self):
        model = nn.ModuleDict(dict(first=nn.Linear(2, 3, bias=False), second=nn.Linear(2, 1, bias=False)))
        model['second'].requires_grad_(False)
        self.parts, self.teacher = dict(generator=model), nn.Linear(4, 5, bias=False)


def test_by_hand():
    assert describe_contents(Parts(), dict(train=Loader(1234), val=Loader(5, 'aaabb'))) == [
        'Images: 1,234 for training, 5 (a 3, b 2) held out.',
        'Parameters: generator 8 (first 6, second 2), 6 of them trained; teacher 20, frozen.']
    assert describe_contents(Parts(), dict(train=Loader(2), val=None))[0] == 'Images: 2 for training.'


def test_in_the_log_of_a_run(tiny_run):
    """The log file of a run has both lines."""
    log, = tiny_run.rglob('*.log')
    text = log.read_text()
    assert 'Images: 16 for training, 8 held out.' in text
    sizes = re.search(r'Parameters: generator ([\d,]+) \(encoders .*\), ([\d,]+) of them trained; discriminator', text)
    assert sizes[1] == sizes[2] and 'teacher' in text[sizes.end():]
