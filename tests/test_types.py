"""Types that users see: dtbox ships them (`py.typed`), and mypy agrees with them."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run_mypy(*arguments):
    """Run mypy from the repository, whose `.mypy.ini` says what is checked; returns (exit code, its lines)."""
    pytest.importorskip('mypy')
    done = subprocess.run([sys.executable, '-m', 'mypy', *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope='module')
def errors(tmp_path_factory):
    """What mypy finds wrong in dtbox and in a user's script that calls it wrongly, in one run."""
    folder = tmp_path_factory.mktemp('mypy')
    (folder / 'script.py').write_text('from dtbox.processes import end_with_parent\nend_with_parent("7")\n')
    code, lines = run_mypy('--cache-dir', os.devnull, 'dtbox', str(folder / 'script.py'))
    assert code == 1, lines
    return [line for line in lines.splitlines() if ': error: ' in line]


def test_mypy(errors):
    """Nothing of dtbox."""
    assert [line for line in errors if 'script.py:' not in line] == []


def test_no_room_is_left_out():
    text = (ROOT / '.mypy.ini').read_text()
    assert 'ignore_errors' not in text and 'files = dtbox\n' in text


def test_users_see_types(errors):
    """A user's script that calls dtbox wrongly is told so: the annotations reach it."""
    assert (ROOT / 'dtbox' / 'py.typed').is_file() and "'py.typed'" in (ROOT / 'setup.py').read_text()
    error, = (line for line in errors if 'script.py:' in line)
    assert 'script.py:2: error: Argument 1 to "end_with_parent" has incompatible type "str"' in error
