"""dtbox/evaluation/README.md: its metric keeps the contract, its tables are right, its files exist."""
import re
from pathlib import Path

import dtbox
from dtbox.config.find import list_configs
from dtbox.protocols import load_protocol
from dtbox.registry import METRICS
from dtbox.testing import run_checks

ROOM = Path(dtbox.__file__).parent / 'evaluation'
TEXT = (ROOM / 'README.md').read_text()


def test_the_metric_keeps_the_contract():
    code = next(block for block in re.findall(r'```python\n(.*?)```', TEXT, re.S) if 'class Clipped' in block)
    try:
        exec(code, {'__name__': 'readme'})
        results = run_checks(dict(type='Clipped'), skip=['two_ranks'])
        assert {r.name: r.detail for r in results if r.status == 'fails'} == {} and len(results) > 5
    finally:
        METRICS.module_dict.pop('Clipped', None)


def test_every_module_is_listed():
    listed = set(re.findall(r'`(\w+)\.py`', TEXT))
    assert {path.stem for path in ROOM.glob('*.py')} - {'__init__'} == listed - {'__init__', 'my_metrics'}


def test_the_table_of_conventions_is_that_of_the_configs():
    paths = list_configs('protocol')
    for name, library, written, size, against in re.findall(r'\| `(rfid_\w+)` \| (\S+) \| (\w+) \| (\S+) \| (.+?) '
                                                            r'\|', TEXT):
        metric, = load_protocol(paths[name]).evaluator().prototypes
        assert metric.library == library and metric.written == written.lower()
        assert str(metric.size or "model's") == size and metric.against == ('images' if against == 'images'
                                                                            else 'statistics')
