"""The paths that a loss may require: one table, which the README shows and the output has."""
import re
from pathlib import Path

import pytest

from dtbox.errors import InputError
from dtbox.losses.base import Loss, lookup
from dtbox.losses.criterion import Criterion
from dtbox.losses.paths import PATHS, match_path
from dtbox.registry import LOSSES
from dtbox.structures import TeacherOutput, TokenizerOutput
from dtbox.testing.loss_subject import LossSubject

README = Path('dtbox/losses/README.md')


def test_the_readme_shows_the_table():
    """Its rows are the entries of `PATHS`, in order."""
    rows = re.findall(r'^\| `([\w.]+)` \| (.*) \|$', README.read_text(), re.MULTILINE)
    assert dict(rows[-len(PATHS):]) == PATHS


def test_every_field_of_an_output_has_a_path():
    """`layers` alone is not for losses: its keys are no names."""
    fields = set(TokenizerOutput.__dataclass_fields__) - {'layers', 'teacher'}
    fields |= {f'teacher.{name}' for name in TeacherOutput.__dataclass_fields__}
    assert fields <= {path.removesuffix('.NAME') for path in PATHS}


@pytest.mark.parametrize('path', PATHS)
def test_every_path_leads_somewhere(path):
    """In an output that has every field."""
    outputs = LossSubject(dict(type='L2Loss')).outputs()
    name = path.replace('NAME', 'pixel').replace('TERM', 'commitment')
    assert match_path(name) == path and lookup(outputs, name) is not None


@pytest.mark.parametrize('path', ['feature.pixel', 'features', 'features.pixel.x', 'teacher', 'teacher.logits',
                                  'losses.a.b.c', 'codes', ''])
def test_paths_that_lead_nowhere(path):
    assert match_path(path) is None


def test_built_in_losses_require_legal_paths():
    for name in ('L1Loss', 'SemanticLoss', 'PooledLoss', 'CommitmentLoss', 'SigmoidContrastiveLoss',
                 'SoftmaxContrastiveLoss'):
        assert all(match_path(path) for path in LOSSES.build(dict(type=name)).requires)


def test_the_criterion_refuses_other_paths():
    """When it is built, not in the first step."""
    class Odd(Loss):
        requires = ('reconstruction',)
    with pytest.raises(InputError, match=r'^odd: Odd requires `reconstruction`, which is not a field of a tokenizer\'s '
                       r'output\. Did you '
                                         'mean `reconstructions`'):
        Criterion(dict(odd=dict(type=Odd)))
