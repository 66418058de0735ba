"""What plugins/README.md shows works as it is shown."""
import re
from pathlib import Path

import pytest

from dtbox.config.find import find_config
from dtbox.registry import QUANTIZERS
from dtbox.testing import CONTRACTS, check_quantizer, run_checks
from dtbox.testing.scaffold import write_scaffold
from tests.plugins_kit import clean as clean  # noqa: F401

pytestmark = pytest.mark.usefixtures('clean')
GUIDE = (Path(__file__).parents[1] / 'plugins' / 'README.md').read_text()


def test_the_quantizer_with_state(tmp_path):
    """ema_scale.py keeps the contract, and the summary of `check` is the one that is shown."""
    plugin = tmp_path / 'ema_scale.py'
    plugin.write_text(re.search(r'```python\n(# ema_scale\.py.*?)```', GUIDE, re.DOTALL).group(1))
    check_quantizer(dict(type='ScaledVQ', size=32, dim=4), plugins=[str(plugin)])


def test_ten_minutes(tmp_path):
    """The scaffold with the guide's lines in it keeps the contract, and codes as the guide's numbers say."""
    path, files = write_scaffold('quantizer', 'Quinary', str(tmp_path), find_config('dualtoken_rq'))
    module, test = Path(files[0]), Path(files[2])
    idea, numbers = re.findall(r'```python\n(    .*?)```', GUIDE, re.DOTALL)
    text = module.read_text()
    start, end = text.index('        if dim > 62:'), text.index('\n    # =======')
    module.write_text(text[:start] + idea + text[end:])
    lines = test.read_text()
    test.write_text(lines[:lines.index('    assert out.codes')] + numbers)
    results = run_checks(dict(type='Quinary'), plugins=[path], skip=['two_ranks'])
    count = {status: sum(r.status == status for r in results) for status in ('holds', 'fails', 'does not apply')}
    assert (count['holds'] + 1, count['fails'], count['does not apply']) == (26, 0, 1), results
    scope = {'__file__': str(test), '__name__': 'test_of_the_guide'}
    exec(compile(test.read_text(), str(test), 'exec'), scope)
    scope['test_by_hand']()
    assert QUANTIZERS.get('Quinary').__module__.startswith('dtbox_plugin_Quinary')


def test_the_numbers_of_checks():
    """The table says how many checks each contract has."""
    rows = dict(re.findall(r'^\| `(\w+)` \| .* \| (\d+) \|$', GUIDE, re.MULTILINE))
    assert {kind: int(count) for kind, count in rows.items()} == {kind: len(c.checks) for kind, c in CONTRACTS.items()}
