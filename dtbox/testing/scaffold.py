"""A new plugin to start from: a folder with a quantizer that works, its recipe, its test and a README."""
import keyword
import os

from dtbox.errors import InputError
from dtbox.files import write_atomic
from dtbox.registry import QUANTIZERS

MODULE = '''"""{name}: one bit per channel, its sign. An example that works, to start from.

Say here what your idea is, which paper it follows (arXiv id), and where it deviates on purpose.
"""
import torch

from dtbox.errors import InputError
from dtbox.quantizers.base import Quantizer, check_sizes
from dtbox.registry import ESTIMATORS, QUANTIZERS
from dtbox.structures import QuantizerOutput

__version__ = '0.1'


@QUANTIZERS.register_module()
class {name}(Quantizer):
    """One bit per channel: the sign.

    Args:
        dim: code width C, at most 62; there are 2 ** C codes.
        estimator: config of the gradient estimator.
    """
    example = dict(dim=8)  # arguments of a small instance, for the contract's checks

    def __init__(self, dim, estimator=dict(type='StraightThrough')):
        super().__init__()
        check_sizes(dim=dim)
        if dim > 62:
            raise InputError(f'`dim` is {{dim}}; codes are int64, so it can be 62 at most.')
        self.dim, self.codebook_sizes = dim, [2 ** dim]
        self.estimator = ESTIMATORS.build(estimator, where='estimator')
        self.register_buffer('bits', 2 ** torch.arange(dim), persistent=False)

    # ==== YOUR IDEA: what is coded, and what is read back. The methods below follow from these two. ====

    def to_codes(self, z):
        """z [B,N,C] float32 -> codes [B,N,1] int64."""
        return ((z > 0) * self.bits).sum(-1, keepdim=True)

    def to_features(self, codes):
        """codes [B,N,1] -> features [B,N,C] float32."""
        return (codes // self.bits % 2) * 2.0 - 1.0

    # ===================================================================================================

    def forward(self, z):
        """z [B,N,C] -> QuantizerOutput with the term `commitment` = mean (z - sg(q))^2."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            values = z.float()
            codes = self.to_codes(values.detach())
            quantized = self.to_features(codes)
            features = self.estimator(values, quantized)
            commitment = (values - quantized.detach()).square().sum() / max(values.numel(), 1)
        return QuantizerOutput(features.to(z.dtype), codes, dict(commitment=commitment))

    @torch.no_grad()
    def encode(self, z):
        """z [B,N,C] -> codes [B,N,1]."""
        self.check(z)
        return self.to_codes(z.float())

    def decode(self, codes):
        """codes [B,N,1] -> features [B,N,C]."""
        self.check_codes(codes)
        return self.to_features(codes)
'''

CONFIG = '''"""DualToken on the embedded pictures, with {name} in both vocabularies.

Command: python tools/train.py {shown}/config.py
"""
_base_ = [{base!r}]

plugins = ['{name}']  # found beside this file, wherever the folder is moved to
quantizer = dict(_delete_=True, type='{name}', dim=16)
'''

TEST = '''"""{name} keeps the contract of quantizers (a test a check), and does what it is meant to do."""
from pathlib import Path

import torch

from dtbox.extend import load_plugins
from dtbox.registry import QUANTIZERS
from dtbox.testing import quantizer_checks

PLUGIN = str(Path(__file__).parent)

test_contract = quantizer_checks(dict(type='{name}'), plugins=[PLUGIN])  # with the arguments of its `example`


def test_by_hand():
    """Values that you worked out with a pencil: the test that knows your idea."""
    load_plugins(PLUGIN)
    quantizer = QUANTIZERS.build(dict(type='{name}', dim=2))
    out = quantizer(torch.tensor([[[0.3, -2.0], [-1.0, 4.0]]]))
    assert out.codes.tolist() == [[[1], [2]]]
    assert out.features.tolist() == [[[1.0, -1.0], [-1.0, 1.0]]]
'''

README = '''# {name}

A quantizer as a plugin of dtbox. Your idea goes into `__init__.py`, where it says `YOUR IDEA`.

```bash
pytest {shown}                                        # the contract of quantizers, and your own test
python tools/plugins.py check {name} --plugin {shown}   # the same contract as a table
python tools/train.py {shown}/config.py               # the main recipe with this quantizer
```

| file | what it is |
|---|---|
| `__init__.py` | the quantizer |
| `config.py` | its recipe |
| `test_{name}.py` | the contract, and a place for values worked out by hand |
'''

FILES = {'__init__.py': MODULE, 'config.py': CONFIG, 'test_{name}.py': TEST, 'README.md': README}
"""File of a new quantizer -> template."""


def new_quantizer(name, folder, recipe):
    """Write a plugin with a working quantizer into FOLDER/NAME.

    Args:
        name: of the class, the registered part and the folder.
        folder: where to put it; made where it does not exist.
        recipe: config file that its own config is a child of.

    Returns:
        path of the new folder, and list of its files.

    Raises:
        InputError: the name is no identifier or is registered already, or the folder exists.
    """
    if name in ('torch', 'InputError', 'Quantizer', 'QuantizerOutput', 'ESTIMATORS', 'QUANTIZERS', 'check_sizes'):
        raise InputError(f'`{name}` is a name that the module itself uses. Choose another, such as MyQuantizer.')
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith('_') or not name.isascii():
        raise InputError(f'`{name}` cannot be the name of a class and of a folder. Take letters, digits and underscores, a letter first, such as '
                         'MyQuantizer.')
    QUANTIZERS.import_from_location()
    taken = {known.lower(): known for known in QUANTIZERS.module_dict}
    if name.lower() in taken:
        raise InputError(f'the quantizer `{taken[name.lower()]}` exists already. Choose another name.')
    path = os.path.join(folder, name)
    if os.path.lexists(path):
        raise InputError(f'{path} exists already; nothing in it was changed. Choose another name or another --dir.')
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise InputError(f'{folder} is a file. Give --dir a folder.')
    if not os.path.isfile(recipe):
        raise InputError(f'the recipe {recipe}, from which the plugin\'s own would follow, does not exist.')
    base = os.path.relpath(os.path.realpath(recipe), os.path.realpath(path))
    written = []
    for file, template in FILES.items():
        written.append(os.path.join(path, file.format(name=name)))
        write_atomic(written[-1], template.format(name=name, base=base.replace(os.sep, '/'), shown=os.path.normpath(path)))
    return path, written
