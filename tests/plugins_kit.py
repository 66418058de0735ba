"""What the tests of plugins share: registries and plugins as they were before each test, and small plugins to write."""
import contextlib
import sys
from pathlib import Path

import pytest

from dtbox.extend import load
from dtbox.registry import ALL

ROOT = str(Path(__file__).parents[1])
STAYS = ('dtbox', 'mmengine', 'mmcv', 'torch')

HEAD = '''"""A plugin."""
from dtbox.registry import HEADS

__version__ = '1.2'


@HEADS.register_module()
class {name}:
    """A head from outside."""
'''

SIGN = '''"""A quantizer of signs (arXiv 0000.11111)."""
import torch

from dtbox.quantizers.base import Quantizer
from dtbox.registry import QUANTIZERS
from dtbox.structures import QuantizerOutput


@QUANTIZERS.register_module()
class {name}(Quantizer):
    """One bit per channel. And no more."""
    example = dict(dim=6)

    def __init__(self, dim):
        super().__init__()
        self.dim, self.codebook_sizes = dim, [2 ** dim]
        self.register_buffer('bits', 2 ** torch.arange(dim), persistent=False)

    def forward(self, z):
        self.check(z)
        signs = torch.where(z > 0, 1.0, -1.0).to(z.dtype)
        return QuantizerOutput(z + (signs - z).detach(), self.encode(z), {{}})

    def encode(self, z):
        self.check(z)
        return ((z > 0) * self.bits).sum(-1, keepdim=True)

    def decode(self, codes):
        self.check_codes(codes)
        return (codes // self.bits % 2) * 2.0 - 1.0
'''


def write(path, text):
    """Write a file and its folders; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def install(folder, package, entries, version='3.1'):
    """Make `folder`, once it is on sys.path, look as if a package with these entry points were installed."""
    info = folder / f'{package.replace("-", "_")}-{version}.dist-info'
    write(info / 'METADATA', f'Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n')
    lines = ''.join(f'{name} = {value}\n' for name, value in entries.items())
    write(info / 'entry_points.txt', f'[dtbox.plugins]\n{lines}')


def forget_plugins():
    """Let the process have no plugins, as a new process; registered parts stay."""
    load.LOADED.clear()
    load._installed.clear()


@contextlib.contextmanager
def without_plugins():
    """Registries without plugins inside the block, everything put back after it; gives a function that makes them so
    again."""
    registries = {r for registry in ALL.values() for r in (registry, registry.parent) if r is not None}
    for registry in registries:
        registry.import_from_location()
    before = {registry: dict(registry.module_dict) for registry in registries}
    loaded = dict(load.LOADED)
    installed = list(load._installed)
    modules = set(sys.modules)
    forget_plugins()

    def restore():
        for registry, parts in before.items():
            for name in set(registry.module_dict) - set(parts):
                part = registry.module_dict[name]
                again = any(part is known for known in parts.values())  # a part of dtbox under another name
                if again or part.__module__.split('.')[0] not in STAYS:  # those register once a process
                    del registry.module_dict[name]
            registry.module_dict.update(parts)
        new = set(sys.modules) - modules
        files = {name: getattr(sys.modules[name], '__dict__', {}).get('__file__') for name in new}
        tops = {name.split('.')[0] for name, file in files.items() if file
                and not file.startswith((sys.prefix, sys.base_prefix, ROOT))}
        for name in new:
            if name.startswith('dtbox_plugin_') or name.split('.')[0] in tops:
                del sys.modules[name]
        forget_plugins()
    try:
        yield restore
    finally:
        restore()
        load.LOADED.update(loaded)
        load._installed.extend(installed)


@pytest.fixture
def clean():
    """As `without_plugins`, for the time of a test."""
    with without_plugins() as restore:
        yield restore
