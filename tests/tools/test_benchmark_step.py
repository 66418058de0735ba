"""The direct implementation of the benchmark trains as dtbox does: the same terms and weights after a step."""
import pytest
import torch

from dtbox.registry import MODELS
from dtbox.structures import Batch
from dtbox.training.optim import build_optim_wrappers
from tools.benchmarks.step import Baseline, build_recipe, main, show

SMALL = dict(net='squeeze', size=64, codes=64,
             vision=dict(hidden_size=64, intermediate_size=96, num_attention_heads=2, image_size=64))


def one_step(stage, direct, lpips):
    torch.manual_seed(0)
    model_cfg, optim_cfg = build_recipe(stage, lpips, **SMALL)
    model_cfg['tokenizer']['decoder'].update(channels=32, latent_channels=32, blocks=1, attention_resolutions=(4,))
    model = MODELS.build(model_cfg)
    for side in optim_cfg.values():  # a step in the direction of the gradient, not of its sign
        side['optimizer'] = dict(type='SGD', lr=0.01)
    optim = build_optim_wrappers(model.parts, optim_cfg)
    model.teacher.encoder.load_state_dict(model.tokenizer.encoders['trunk'].state_dict())
    model.train()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    baseline = Baseline(model, optim, stage, text=False)
    terms = baseline.step(images) if direct else model.train_step(Batch(images=images), optim)
    return {k: float(v) for k, v in terms.items()}, model.state_dict()


@pytest.mark.parametrize('stage', [0, 1])
def test_the_same_training(stage, tmp_path):
    import torchvision
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / 'squeeze.pth')
    (want, direct), (found, own) = (one_step(stage, d, str(tmp_path / 'squeeze.pth')) for d in (True, False))
    assert {k: found[k] for k in want} == pytest.approx(want, rel=1e-5, abs=1e-5)
    for name, value in direct.items():
        if value.is_floating_point() and '.quantizer.' not in name:  # unused codes restart at random
            assert torch.allclose(own[name], value, rtol=1e-4, atol=1e-5), name  # a step moves weights by about 1e-2


def test_what_it_prints(capsys):
    rows = dict(baseline=[dict(seconds=[2.0, 4.0], megabytes=1000.0, first=dict(l2=1.0))],
                dtbox=[dict(seconds=[1.5], megabytes=700.0, first=dict(l2=1.25))])
    show(1, rows)
    out = capsys.readouterr().out
    assert '1.50 s (0.50 x)       700 MB (0.70 x)  losses of the first step differ by at most 2.5e-01' in out
    with pytest.raises(SystemExit):
        main(['--rounds', '0'])
