"""The quantizer that plugins/README.md shows keeps the contract."""
import re
from pathlib import Path

from dtbox.testing import check_quantizer


def test_the_quantizer_of_the_guide(tmp_path):
    guide = (Path(__file__).parents[1] / 'plugins' / 'README.md').read_text()
    plugin = tmp_path / 'ema_scale.py'
    plugin.write_text(re.search(r'```python\n(# ema_scale\.py.*?)```', guide, re.DOTALL).group(1))
    check_quantizer(dict(type='ScaledVQ', size=32, dim=4), plugins=[str(plugin)])
