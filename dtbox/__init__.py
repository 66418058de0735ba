"""dtbox: a modular toolbox of visual tokenizers.

    import dtbox
    tok = dtbox.load('work_dirs/dualtoken_rq')
    codes = tok.encode('photo.jpg')
"""
import importlib

__version__ = '0.1.0'

_PUBLIC = {'load': 'dtbox.apis', 'Tokenizer': 'dtbox.apis', 'load_config': 'dtbox.config', 'InputError': 'dtbox.errors'}


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f'module `dtbox` has no attribute `{name}`')


def __dir__():
    return sorted([*globals(), *_PUBLIC])
