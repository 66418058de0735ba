"""A wheel in a fresh environment, in an empty folder far from any clone: command, configs and plugins work."""
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from dtbox.packaged import IMPORT_ROOT
from tests.test_runs import OPTIONAL, list_absent, list_surprises

pytestmark = pytest.mark.slow
SOURCES = ('setup.py', 'README.md', 'LICENSE', 'MANIFEST.in', 'dtbox', 'configs', 'plugins', 'tools')


def run(*command, cwd, **env):
    """Run a command; returns its output and fails with it."""
    clean = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'PYTHONHOME')
             and not k.startswith('PYTEST')}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=cwd, timeout=500,
                          env={**clean, 'OMP_NUM_THREADS': '1', **env})
    assert done.returncode == 0, f'{command}\n{done.stdout}\n{done.stderr}'
    return done.stdout


@pytest.fixture(scope='module')
def dtbox(tmp_path_factory):
    """Function that runs the installed `dtbox WORDS` in an empty folder, its attribute `folder`."""
    place = tmp_path_factory.mktemp('installed')
    source, venv = place / 'source', place / 'venv'
    folder = place / 'empty'
    source.mkdir(), folder.mkdir()
    for name in SOURCES:
        path = Path(IMPORT_ROOT) / name
        ignore = shutil.ignore_patterns('results', '__pycache__', '*.pyc')
        shutil.copytree(path, source / name, ignore=ignore) if path.is_dir() else shutil.copy(path, source / name)
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '-q']
    run(*pip, 'wheel', source, '--no-deps', '--no-build-isolation', '-w', place, cwd=place)
    run(sys.executable, '-m', 'venv', '--without-pip', venv, cwd=place)
    site = Path(run(venv / 'bin' / 'python', '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))',
                    cwd=place).strip())
    run(*pip, '--python', venv / 'bin' / 'python', 'install', '--no-deps', '--no-index', next(place.glob('*.whl')),
        cwd=place)
    others = {sysconfig.get_path('purelib'), sysconfig.get_path('platlib'),
              os.path.dirname(os.path.dirname(pytest.__file__))}
    (site / 'others.pth').write_text('\n'.join(sorted(others)) + '\n')

    def call(*words):
        return run(venv / 'bin' / 'dtbox', *words, cwd=folder)

    call.folder, call.package = folder, site / 'dtbox'
    call.python = venv / 'bin' / 'python'
    return call


@pytest.fixture(scope='module')
def printed(dtbox):
    """What the installed package prints: name -> output. The first command runs as users type it, the others in one
    process, which imports once."""
    plugin = str(dtbox.folder / 'plugins' / 'MyIdea')
    commands = dict(
        test=['test', 'work_dirs/dualtoken_rq'], plan=['ablate', 'decoupling', '--dry-run'],
        protocols=['test', 'RUN', '--protocol', 'list'], listed=['print-config', '--list'],
        by_name=['print-config', 'paper/vqgan_f16'], by_path=['print-config', 'configs/vqgan.py'],
        built_in=['plugins', 'list'], packaged=['plugins', 'list', '--plugin', 'residual_fsq'],
        new=['plugins', 'new', 'quantizer', 'MyIdea'], config=['print-config', f'{plugin}/config.py'],
        check=['plugins', 'check', 'MyIdea', '--plugin', plugin])
    code = ('import json, sys; from dtbox.cli.main import main\n'
            'for words in json.loads(sys.argv[1]):\n'
            '    assert not main(words), words\n'
            '    print(end="\\0")')
    train = dtbox('train', 'dualtoken_rq', '--tiny', '--cfg-options', 'heldout_limit=8')
    out = run(dtbox.python, '-c', code, json.dumps(list(commands.values())), cwd=dtbox.folder).split('\0')
    assert len(out) == len(commands) + 1
    return dict(zip(commands, out), train=train)


def test_package_is_the_installed_one(dtbox):
    """No file of the clone is in use, and the wheel holds code and READMEs without results and tests."""
    out = run(dtbox.python, '-c', 'import dtbox; print(dtbox.__file__)', cwd=dtbox.folder)
    assert Path(out.strip()).parent == dtbox.package
    files = [path.relative_to(dtbox.package / '.mim') for path in (dtbox.package / '.mim').rglob('*') if path.is_file()]
    assert {path.parts[0] for path in files} == {'configs', 'plugins', 'tools'}
    assert all(path.suffix in ('.py', '.md', '.pyc') and 'results' not in path.parts for path in files)


def test_train_then_test(dtbox, printed):
    run_folder = dtbox.folder / 'work_dirs' / 'dualtoken_rq'
    assert list_absent(run_folder, (*OPTIONAL, 'with `interval`')) == []
    assert sorted(list_surprises(run_folder)) == ['metrics.1.json', 'samples.1.npz']  # of `dtbox test`
    assert 'written to work_dirs/dualtoken_rq/metrics.1.json' in printed['test']


def test_configs_by_name(printed):
    """Configs of the wheel are found by their names, as is one that is given by its path in a clone."""
    assert 'trials; nothing was started.' in printed['plan'] and 'rfid_clean' in printed['protocols']
    assert all(name in printed['listed'] for name in ('dualtoken_rq', 'paper/vqgan_f16', 'decoupling', 'imagenet'))
    assert 'image_size = 256' in printed['by_name'] and 'quantizer = ' in printed['by_path']


def test_plugins(dtbox, printed):
    """Parts are listed, a packaged plugin is found by its name, and a new plugin passes the contract and its own
    test."""
    assert 'FSQ' in printed['built_in'] and 'ResidualFSQ' in printed['packaged'] and 'MyIdea' in printed['check']
    run(dtbox.python, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-k', 'not two_ranks', dtbox.folder / 'plugins',
        cwd=dtbox.folder)  # `plugins check` has started the ranks
