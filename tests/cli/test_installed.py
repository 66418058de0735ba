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
    """Function that runs the installed `dtbox WORDS` in an empty folder, its attribute `folder`; `one_process` runs
    several of them."""
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

    def one_process(*commands):
        """Run several commands by one process, which imports once; returns the output of each."""
        code = ('import json, sys; from dtbox.cli.main import main\n'
                'for words in json.loads(sys.argv[1]):\n'
                '    assert not main(words), words\n'
                '    print(end="\\0")')
        out = run(call.python, '-c', code, json.dumps(commands), cwd=folder).split('\0')
        assert len(out) == len(commands) + 1
        return out[:-1]
    call.one_process = one_process
    call.folder, call.package = folder, site / 'dtbox'
    call.python = venv / 'bin' / 'python'
    return call


def test_package_is_the_installed_one(dtbox):
    """No file of the clone is in use, and the wheel holds code and READMEs without results and tests."""
    out = run(dtbox.python, '-c', 'import dtbox; print(dtbox.__file__)', cwd=dtbox.folder)
    assert Path(out.strip()).parent == dtbox.package
    files = [path.relative_to(dtbox.package / '.mim') for path in (dtbox.package / '.mim').rglob('*') if path.is_file()]
    assert {path.parts[0] for path in files} == {'configs', 'plugins', 'tools'}
    assert all(path.suffix in ('.py', '.md', '.pyc') and 'results' not in path.parts for path in files)


def test_train_then_test(dtbox):
    dtbox('train', 'dualtoken_rq', '--tiny')
    run_folder = dtbox.folder / 'work_dirs' / 'dualtoken_rq'
    assert list_surprises(run_folder) == [] and list_absent(run_folder, (*OPTIONAL, 'with `interval`')) == []
    out = dtbox('test', 'work_dirs/dualtoken_rq')
    assert 'written to work_dirs/dualtoken_rq/metrics.1.json' in out and (run_folder / 'metrics.1.json').is_file()


def test_configs_by_name(dtbox):
    """Configs of the wheel are found by their names, as is one that is given by its path in a clone."""
    plan, protocols, listed, config, other = dtbox.one_process(
        ['ablate', 'decoupling', '--dry-run'], ['test', 'RUN', '--protocol', 'list'], ['print-config', '--list'],
        ['print-config', 'paper/vqgan_f16'], ['print-config', 'configs/vqgan.py'])
    assert 'trials; nothing was started.' in plan and 'rfid_clean' in protocols
    assert all(name in listed for name in ('dualtoken_rq', 'paper/vqgan_f16', 'decoupling', 'imagenet'))
    assert 'image_size = 256' in config and 'quantizer = ' in other


def test_plugins(dtbox):
    """Parts are listed, a packaged plugin is found by its name, and a new plugin passes its own test."""
    plugin = dtbox.folder / 'plugins' / 'MyIdea'
    built_in, packaged, *_ = dtbox.one_process(
        ['plugins', 'list'], ['plugins', 'list', '--plugin', 'product_rq'], ['plugins', 'new', 'quantizer', 'MyIdea'],
        ['print-config', str(plugin / 'config.py')])
    assert 'FSQ' in built_in and 'ProductRQ' in packaged
    run(dtbox.python, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', plugin, cwd=dtbox.folder)
    dtbox('plugins', 'check', 'MyIdea', '--plugin', plugin)
