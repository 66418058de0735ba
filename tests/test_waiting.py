"""How threads of OpenMP wait for each other: dtbox says it before torch is imported, unless the user has."""
import os
import subprocess
import sys

import pytest

import dtbox


def run(code, **variables):
    """Run Python in a process that has of OpenMP's variables only `variables`; returns what it prints, stderr too."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(('OMP_', 'GOMP_', 'KMP_'))}
    env.update(PYTHONPATH=os.pathsep.join(sys.path), **variables)
    return subprocess.run([sys.executable, '-c', code], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=True).stdout


@pytest.mark.parametrize('name, value', [('GOMP_SPINCOUNT', '5'), ('OMP_WAIT_POLICY', 'ACTIVE'),
                                         ('KMP_BLOCKTIME', '1')])
def test_what_a_user_has_said_stays(name, value):
    code = f'import os, dtbox; print(os.environ.get("GOMP_SPINCOUNT"), os.environ[{name!r}])'
    assert run(code, **{name: value}).split() == [value if name == 'GOMP_SPINCOUNT' else 'None', value]


@pytest.mark.skipif(sys.platform != 'linux', reason='torch has libgomp there')
def test_torch_heeds_it():
    """libgomp of torch's wheel prints what it has read when the command line of a training is imported."""
    out = run('import dtbox.cli.main, dtbox.training.runner', OMP_DISPLAY_ENV='VERBOSE')
    assert f"GOMP_SPINCOUNT = '{dtbox._SPINS}'" in out
