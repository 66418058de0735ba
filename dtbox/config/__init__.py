"""The config language: Python files with `_base_`, merged by name, made strict. `configs/README.md` explains it with
examples.

| module | what it holds |
|---|---|
| `loading.py` | `load_config`: a file with its bases, plugins, data, tiny values and options |
| `find.py` | where a config is: by path or by name |
| `files.py` | reads one file, and merges it with its bases |
| `merge.py` | how two dicts merge |
| `schema.py` | what the values may be that dtbox itself reads: a dataclass for each dict |
| `keys.py` | which keys the dicts of a config may have |
| `checks.py` | keys that do not exist, forms of earlier versions: errors that name the closest match, or the new form |
| `variables.py` | which variables are read: setting another one is an error |
| `options.py` | `--cfg-options`: reads values, sets dotted keys |
| `references.py` | `'${name}'`, and `resolve`, which puts values in their place |
| `run_entries.py` | `'${run:ENTRY}'`: entries of the config of another run |
| `text.py` | configs as Python text |
"""
from dtbox.config.checks import resolve_checked  # noqa: F401
from dtbox.config.keys import UNTYPED, list_known_keys  # noqa: F401
from dtbox.config.loading import load_config, replace_data, take_data_options, use_own_tokenizer  # noqa: F401
from dtbox.config.options import set_option  # noqa: F401
from dtbox.config.references import REFERENCE, find_references, resolve  # noqa: F401
from dtbox.config.schema import check_recipe  # noqa: F401
