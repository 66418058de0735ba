"""pytest -m gpu: every part of `dtbox diagnose gpu` on the GPU of this machine; about eight minutes."""
import pytest
import torch

from dtbox.diagnostics.gpu.parts import PARTS

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(),
                                                  reason='there is no GPU; `dtbox diagnose gpu --cpu` runs without')]


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    """Name of a part -> PartResult."""
    from dtbox.diagnostics.gpu.machine import describe_machine, prepare_settings
    from dtbox.diagnostics.gpu.runner import Checker
    settings = prepare_settings(cpu=False)
    checker = Checker(settings, describe_machine(settings), str(tmp_path_factory.mktemp('gpu')))
    return {result.name: result for result in checker.run(PARTS)}


@pytest.mark.parametrize('name', [part.name for part in PARTS])
def test_part(results, name):
    """Every check of the part holds; a part that cannot run here says why."""
    result = results[name]
    if result.status == 'skipped':
        pytest.skip(result.reason)
    wrong = [f'{row.what}: {row.detail}' for row in result.rows if row.ok is False]
    assert result.status == 'ok', '\n'.join([result.reason, *wrong])
