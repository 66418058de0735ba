"""Folders of the Hugging Face hub by name, `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION`; the cache comes first.

A snapshot in the cache is used without a request, also where the hub has a newer one; `hf download OWNER/NAME` brings
the cache up to date. `HF_HUB_OFFLINE=1` forbids requests, as everywhere with `huggingface_hub`. Nothing here runs or
reads what a folder holds.
"""
from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from dtbox.errors import InputError, need_package, reason

HUB = 'hf://'
TIMM_HUB = 'hf-hub:'
"""What timm and open_clip put before a name on the hub."""
EXAMPLES = dict(timm='vit_base_patch16_siglip_256', open_clip='ViT-B-16-SigLIP-256')
_PART = r'[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?'
_NAME = re.compile(rf'{_PART}/{_PART}', re.ASCII)
_REVISION = re.compile(r'[\w][\w./+-]*', re.ASCII)


class HubName(NamedTuple):
    """A folder on the hub.

    Attributes:
        name: OWNER/NAME.
        revision: branch, tag or commit; None for the default branch.
    """
    name: str
    revision: str | None = None


def refuse_hub_name(name: str, library: str) -> None:
    """Raise `InputError` for the name of a part on the hub, `hf-hub:OWNER/NAME`: the hub would have to be asked for its
    sizes whenever the model is built, also by those who open it later.

    Args:
        name: of a model of timm or open_clip.
        library: 'timm' or 'open_clip'.
    """
    if name.startswith((TIMM_HUB, 'hf_hub:', HUB)):
        place = HUB + name.partition(':')[2].lstrip('/')
        raise InputError(f'`{name}` is a folder on the hub, which would be asked for the sizes of the model whenever '
                         f'it is built. Name the architecture, such as {EXAMPLES[library]}, and give the folder as its '
                         f'weights: weights={place!r}.', 'name')


def find_cached_name(folder: str) -> str:
    """Return NAME of the model OWNER/NAME whose snapshot a folder of the cache is; '' for every other folder."""
    place, inside = os.path.split(os.path.dirname(os.path.abspath(folder)))
    parts = os.path.basename(place).split('--')
    return '--'.join(parts[2:]) if inside == 'snapshots' and parts[0] == 'models' and len(parts) > 2 else ''


def is_hub_name(text: str) -> bool:
    """Whether a text has the form OWNER/NAME of a folder on the hub; a relative path may have it, too."""
    return bool(_NAME.fullmatch(text)) and '..' not in text


def read_hub_name(text: str, revision: str | None = None) -> HubName:
    """Return the name and revision of `hf://OWNER/NAME[@REVISION]` or `OWNER/NAME`.

    Args:
        text: the name.
        revision: asked for beside it; None for that of the text.

    Raises:
        InputError: another form; two revisions that differ.
    """
    name, mark, own = text.removeprefix(HUB).partition('@')
    if not is_hub_name(name) or mark and not _REVISION.fullmatch(own) or '..' in own:
        raise InputError(f'{text!r:.200} is not the name of a model on the Hugging Face hub; expected '
                         f'{HUB}OWNER/NAME or {HUB}OWNER/NAME@REVISION.')
    if revision is not None and (not isinstance(revision, str) or not _REVISION.fullmatch(revision)
                                 or '..' in revision):
        raise InputError(f'got {revision!r:.80}; expected a branch, a tag or a commit, such as main.', 'revision')
    if None not in (own or None, revision) and own != revision:
        raise InputError(f'got {revision!r}, and {text} names the revision {own!r}. Say it once.', 'revision')
    return HubName(name, revision or own or None)


def find_cached(where: HubName, patterns: Sequence[str] | None = None, **how: Any) -> str | None:
    """Return the snapshot of the local cache, without a request; None where there is none, or where it is known to
    lack some of the files `patterns`. Arguments as those of `fetch_snapshot`."""
    hub = _import_hub(where)
    try:
        return hub.snapshot_download(where.name, allow_patterns=patterns, **_settings(where, how, True))
    except FileNotFoundError:  # of every version of huggingface_hub
        return None
    except Exception as e:
        raise _explain(where, e) from e


def fetch_snapshot(where: HubName, patterns: Sequence[str] | None = None, **how: Any) -> str:
    """Fetch files of a folder of the hub into the local cache.

    Args:
        where: the folder.
        patterns: which files, such as '*.json'; None for all.
        how: `cache_dir`, `token` and `local_files_only` of huggingface_hub; None values are left out.

    Returns:
        the local folder, which holds at least those files.

    Raises:
        InputError: huggingface_hub is not installed; the hub cannot be reached, or must not be asked, and the cache has
            no such snapshot; no such name or revision; a folder that needs a token.
    """
    hub = _import_hub(where)
    try:
        return hub.snapshot_download(where.name, allow_patterns=patterns, **_settings(where, how))
    except Exception as e:
        raise _explain(where, e) from e


def _import_hub(where: HubName) -> Any:
    return need_package('huggingface_hub', 'mllm', f'the model {where.name} of the Hugging Face hub')


def _settings(where: HubName, how: dict[str, Any], local: bool = False) -> dict[str, Any]:
    settings = dict(how, revision=where.revision, **(dict(local_files_only=True) if local else {}))
    return {name: value for name, value in settings.items() if value is not None}


def _explain(where: HubName, error: Exception) -> InputError:
    """Return what a user reads of an error of huggingface_hub."""
    from huggingface_hub import constants
    name = f'{where.name}{f", revision {where.revision}," if where.revision else ""}'
    advice = (f'Fetch it where there is a network (`hf download {where.name}`), or download it elsewhere and give its '
              'local folder.')
    if constants.HF_HUB_OFFLINE and isinstance(error, FileNotFoundError):
        return InputError(f'{name} is not in the local cache of the Hugging Face hub ({constants.HF_HUB_CACHE}), and '
                          f'HF_HUB_OFFLINE forbids to ask the hub. {advice}')
    return InputError(f'{name} cannot be fetched from the Hugging Face hub, and the local cache does not have it '
                      f'({reason(error)}). {advice}')
