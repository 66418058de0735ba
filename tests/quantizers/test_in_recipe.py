"""Every built-in quantizer fits into the main recipe by one option: `--cfg-options "quantizer=dict(type=..., ...)"`."""
import pytest

from dtbox.config import load_config, resolve
from dtbox.tokenizers.visual import VisualTokenizer

SIZES = {'LFQ': (dict(dim=16), [65536]), 'BSQ': (dict(dim=16), [65536]), 'IBQ': (dict(size=4096, dim=16), [4096]),
         'SimVQ': (dict(size=4096, dim=16), [4096]), 'MCQ': (dict(size=1024, dim=32, parts=4), [1024] * 4),
         'VQ': (dict(size=4096, dim=16), [4096]), 'RQ': (dict(size=64, dim=16, depth=2), [64] * 2),
         'Product': (dict(quantizer=dict(type='LFQ', dim=8), groups=2), [256] * 2)}


@pytest.mark.parametrize('name', SIZES)
def test_in_the_main_recipe(name):
    """The code width divides the encoder's, and each vocabulary has the codes of the quantizer."""
    args, sizes = SIZES[name]
    cfg = load_config('configs/dualtoken_rq.py', {'quantizer': dict(type=name, **args)}, tiny=True)
    assert 'plugins' not in cfg
    tokenizer = VisualTokenizer(**resolve(cfg).model.tokenizer.to_dict())
    assert {k: v.quantizer.codebook_sizes for k, v in tokenizer.vocabularies.items()} == dict(pixel=sizes,
                                                                                              semantic=sizes)
