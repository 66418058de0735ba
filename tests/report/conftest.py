"""Made-up grids and the report of one of them."""
import pytest

from dtbox.report import build
from tests.report.synthetic import write_grid

HEAD = ['all/psnr', 'all/token_cosine']


@pytest.fixture(scope='session')
def grid(tmp_path_factory):
    """A grid of two axes, two seeds, one diverged trial; not to be changed."""
    folder = tmp_path_factory.mktemp('grid')
    write_grid(folder, dict(lr=['0.001', '0.01'], codebooks=['one', 'two & <more>']), [0, 1],
               metrics=[*HEAD, 'all/nothing'], reference=dict(lr='0.001', codebooks='one'), failed=(3,))
    return folder


@pytest.fixture(scope='session')
def page(grid, tmp_path_factory):
    """Path of index.html of the report of `grid`."""
    from pathlib import Path
    return Path(build(grid, tmp_path_factory.mktemp('out') / 'report'))
