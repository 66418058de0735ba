"""MaskGIT's VQGAN through the converter, against what 1d-tokenizer's own modules gave (golden_maskgit_vqgan.pt: 40
codes, 8 x 8 tokens), and all names and shapes of the full size."""
import pytest
import torch

import dtbox
from dtbox.converters import maskgit_vqgan
from dtbox.errors import InputError
from tests.converters.cnn_kit import check_whole, is_near, read_golden, read_keys, to_map
from tools.convert_checkpoint import main


@pytest.fixture(scope='module')
def golden():
    return read_golden('maskgit_vqgan')


def test_codes_and_reconstructions(golden, tmp_path):
    """The published network works in [0, 1]; here images are in [-1, 1]."""
    torch.save(golden['state_dict'], tmp_path / 'maskgit-vqgan-imagenet-f16-256.bin')
    main(['maskgit_vqgan', str(tmp_path / 'maskgit-vqgan-imagenet-f16-256.bin'), str(tmp_path / 'run'),
          '--image-size', '32'])
    model, out = dtbox.load(tmp_path / 'run').model, golden['outputs']
    image = golden['inputs']['image'] * 2 - 1
    codes = model.encode(image)['pixel']
    assert torch.equal(codes[..., 0], out['codes'])
    with torch.no_grad():
        z = model(image, layers=[('cnn', 4)]).layers['cnn', 4]
        assert is_near(to_map(z, (8, 8)), out['z'])
        table = model.vocabularies['pixel'].quantizer.codebook.weight
        soft = (-torch.cdist(z[0, :4], table).pow(2)).softmax(1)
        assert is_near(soft, out['soft_code_first'])
        assert is_near((model.decode(dict(pixel=codes)) + 1) / 2, out['recon_unclamped'])


def test_every_published_name_at_full_size():
    state = read_keys('maskgit_vqgan')
    sizes = maskgit_vqgan.find_sizes(state, 'the release')
    assert (sizes['size'], sizes['dim'], sizes['encoder']['blocks']) == (1024, 256, 2)
    model = check_whole(maskgit_vqgan.build_tokenizer_config(sizes), maskgit_vqgan.map_state(state, 'the release'))
    assert model.encoders['cnn'].grid(6) == (16, 16)


@pytest.mark.parametrize('change, says', [
    (lambda s: s.pop('encoder.mid.0.conv1.weight'), 'is no VQGAN of MaskGIT: expected quantize.embedding.weight'),
    (lambda s: s.update(extra=torch.ones(1)), '1 left over: extra')])
def test_files_of_another_layout(golden, tmp_path, change, says):
    change(state := dict(golden['state_dict']))
    torch.save(state, tmp_path / 'x.bin')
    with pytest.raises(InputError, match=says):
        maskgit_vqgan.convert(str(tmp_path / 'x.bin'))
