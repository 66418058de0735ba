"""The folder configs/ stays small, and the links of its READMEs lead somewhere."""
import re
import subprocess
from pathlib import Path

import pytest

from dtbox.config import load_config
from dtbox.errors import InputError

ROOT = Path(__file__).parent.parent
MOST_FILES, MOST_BYTES = 190, 5_000_000
LEFT_OUT = ('.pdf', '.tex', '.html', 'report.json', 'grid.json')


@pytest.fixture(scope='module')
def tracked():
    """Paths of the tracked files below configs/, or of all where there is no git."""
    done = subprocess.run(['git', 'ls-files', '-z', 'configs'], cwd=ROOT, capture_output=True, text=True)
    if done.returncode or not done.stdout:
        return [path for path in (ROOT / 'configs').rglob('*') if path.is_file() and '__pycache__' not in path.parts]
    return [ROOT / path for path in done.stdout.split('\0') if path and (ROOT / path).is_file()]


def test_files_and_bytes(tracked):
    assert len(tracked) <= MOST_FILES
    assert sum(path.stat().st_size for path in tracked) <= MOST_BYTES


def test_reports_are_made_again(tracked):
    """What a command rebuilds is not kept: a grid has a README, a table of trials and at most two figures."""
    assert not [path for path in tracked if path.name.endswith(LEFT_OUT)]
    for grid in (ROOT / 'configs' / 'ablations' / 'results').iterdir():
        if (grid / 'results.csv').is_file():
            assert (grid / 'README.md').is_file()
            assert sum(path.suffix == '.png' and grid in path.parents for path in tracked) <= 2


@pytest.mark.parametrize('readme', sorted((ROOT / 'configs').rglob('*.md')),
                         ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links(readme):
    text = re.sub(r'```.*?```', '', readme.read_text(encoding='utf-8'), flags=re.DOTALL)
    for target in re.findall(r'\]\(([^)\s]+)\)', text):
        path = target.partition('#')[0]
        if path and '://' not in path:
            assert (readme.parent / path).exists(), target


def test_json_is_read_as_json(tmp_path):
    """1e-4 is a number, and tabs may indent; YAML 1.1 thinks otherwise of both."""
    (tmp_path / 'small.json').write_text('{\n\t"lr": 1e-4,\n\t"nested": {"a": [1, 2.5, null, true]}\n}')
    cfg = load_config(tmp_path / 'small.json')
    assert cfg.lr == 1e-4 and cfg.nested.to_dict() == dict(a=[1, 2.5, None, True])
    (tmp_path / 'code.yaml').write_text('a: !!python/object/apply:os.getcwd []')
    with pytest.raises(InputError, match='code.yaml cannot be read: ConstructorError'):
        load_config(tmp_path / 'code.yaml')
