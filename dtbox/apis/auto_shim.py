"""The module of a few lines that an exported folder has for `transformers`, which runs it; dtbox never does."""
from __future__ import annotations

MODULE = 'dtbox_auto'
"""Name of the module in a folder."""
CONFIG_CLASS, MODEL_CLASS = 'DtboxConfig', 'DtboxModel'
SHIM = f'''"""Opens this folder with transformers: AutoModel.from_pretrained(folder, trust_remote_code=True)."""
from dtbox.apis.auto_model import make_auto_classes

{CONFIG_CLASS}, {MODEL_CLASS} = make_auto_classes({{kind!r}})
'''
AUTO_MAP = dict(AutoConfig=f'{MODULE}.{CONFIG_CLASS}', AutoModel=f'{MODULE}.{MODEL_CLASS}')
"""Entry `auto_map` of config.json."""


def write_shim(kind: str) -> str:
    """Return the module of a folder of a kind, `model_type` of its config.json."""
    return SHIM.format(kind=kind)
