"""Models of dtbox on the Hugging Face hub: folders of `save_pretrained` and run folders that others published. They are
folders of strangers: opening one reads data, and runs nothing of theirs without `trust_remote_code` (`dtbox.trust`)."""
from __future__ import annotations

import os
from typing import Any

from dtbox.errors import InputError, at
from dtbox.runs import RunFolder
from dtbox.weights.exported_folders import (
    CARD,
    CONFIG,
    KIND,
    LANGUAGE,
    MLLM_KIND,
    SUMS,
    WEIGHTS,
    find_model_folder,
    is_pretrained,
    read_config_of,
)
from dtbox.weights.hub import HUB, fetch_snapshot, find_cached, is_hub_name, read_hub_name

_RUN = ('*.py', '*.json', os.path.basename(RunFolder('').checkpoint))
"""Files that are fetched of a run folder: its logs and figures stay on the hub."""
_OLD = (CARD, '*.json', WEIGHTS, f'{LANGUAGE}/*', f'*/{WEIGHTS}')
"""Files of an exported folder of an older dtbox, whose config does not list them."""


def find_model(name: str, revision: str | None = None, **how: Any) -> str:
    """Return the local folder of a model by any of its names.

    Args:
        name: `dtbox://NAME`, `package://MODULE/FILE`, `hf://OWNER/NAME[@REVISION]`; everything else stays as it is.
        revision: of a name on the hub.
        how: see `dtbox.weights.hub.fetch_snapshot`.

    Raises:
        InputError: no such model; see `fetch_snapshot`.
    """
    return find_hub_model(name, revision, **how) if name.startswith(HUB) else find_model_folder(name)


def find_pretrained(name: str, revision: str | None = None, **how: Any) -> str:
    """Return the local folder of what `from_pretrained` is asked for: a folder; a name as in `find_model`; or
    `OWNER/NAME` on the hub, where no folder has that path.

    Raises:
        InputError: a revision of what does not lie on the hub; what `find_model` says.
    """
    if not name.startswith(HUB) and (os.path.exists(name) or not is_hub_name(name)):
        if revision is not None:
            raise InputError(f'got {revision!r:.80}, but {name} does not lie on the Hugging Face hub: only folders '
                             f'there ({HUB}OWNER/NAME) have revisions. Leave it out.', 'revision')
        return find_model_folder(name)
    try:
        return find_hub_model(name, revision, **how)
    except InputError as e:
        if name.startswith(HUB) or e.where:
            raise
        raise InputError(f'there is no folder {name} here, and as a name on the hub: {e.message}', 'folder') from e


def find_hub_model(name: str, revision: str | None = None, **how: Any) -> str:
    """Return the local folder of a model of dtbox on the hub: that of the cache where it is whole, or else fetched.

    Args:
        name: `hf://OWNER/NAME[@REVISION]` or `OWNER/NAME`.
        revision, how: see `dtbox.weights.hub`.

    Raises:
        InputError: as `fetch_snapshot`; a folder of another kind, of which the config alone is fetched; a snapshot
            that lacks files and cannot be completed.
    """
    where = read_hub_name(name, revision)
    found = find_cached(where, **how)
    if found is not None and not list_missing(found):
        return found
    config = os.path.basename(RunFolder('').config)
    place = fetch_snapshot(where, (CONFIG, config), **how)
    place = fetch_snapshot(where, choose_patterns(place, where.name), **how)
    missing = list_missing(place)
    if missing:
        raise InputError(f'the snapshot {place} of {where.name} lacks {", ".join(missing[:5])}. It is half downloaded, '
                         f'or was published so. Fetch it again: `hf download {where.name}`.')
    return place


def choose_patterns(place: str, name: str) -> tuple[str, ...]:
    """Return which files of a folder on the hub a model of dtbox needs.

    Args:
        place: snapshot with config.json or config.py.
        name: of the folder, for the message.

    Raises:
        InputError: not a model of dtbox.
    """
    if RunFolder(place).has_config():
        return _RUN
    kind: Any = 'no config.json'
    if is_pretrained(place):
        config = read_config_of(place)
        kind = f'a config.json of the model_type {config.get("model_type")!r:.60}'
        if config.get('model_type') in (KIND, MLLM_KIND):
            sums = config.get(SUMS)
            return (CARD, CONFIG, WEIGHTS, *map(str, sums)) if isinstance(sums, dict) else _OLD
    raise InputError(f'{name} on the Hugging Face hub is not a model of dtbox: it has {kind}; expected a folder of '
                     'save_pretrained or a run folder. Weights of other projects are turned into run folders by '
                     '`dtbox convert` (`dtbox convert --list` shows which).')


def list_missing(place: str) -> list[str]:
    """Return the files that a snapshot lacks, as its config tells; [] of a folder of another kind that has a config."""
    run = RunFolder(place)
    if run.has_config():
        return [] if run.has_checkpoint() else [os.path.basename(run.checkpoint)]
    if not is_pretrained(place):
        return [CONFIG]
    with at('run'):
        sums = read_config_of(place).get(SUMS)
    names = dict.fromkeys([WEIGHTS, *(map(str, sums) if isinstance(sums, dict) else ())])
    return [name for name in names if name != CONFIG and not os.path.isfile(os.path.join(place, name))]
