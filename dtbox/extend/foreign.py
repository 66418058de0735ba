"""Whose a plugin is that a folder names: the user's own, or one that may have come with the folder."""
from __future__ import annotations

import os

from dtbox.extend.find import Missing, find, list_holders
from dtbox.packaged import find_packaged_path
from dtbox.trust import require_trust


def refuse_foreign(name: str | os.PathLike, file: str, what: str) -> None:
    """Raise `InputError` where a plugin may have come with the folder that names it, unless its author is trusted: a
    plugin in the folder; one that a relative path, `~` or a link finds in any folder; a module in the current directory
    or in a folder that holds the folder; anything in a cache of the Hugging Face hub. Those in `plugins/` of the
    current directory are the user's.

    Args:
        name: path or module name of the plugin.
        file: that names it.
        what: names it, for the message: 'the config of the run folder RUN'.
    """
    try:
        place = find(name, file)
    except Missing:  # `load_plugins` says where it may have gone
        return
    folder = os.path.realpath(os.path.dirname(os.path.abspath(file)))
    if place.kind == 'module':
        here = os.path.realpath(os.getcwd())
        foreign = any(holder == here or lies_in(folder, holder) for holder in list_holders(place.source))
    else:
        foreign = not is_exact(name) or lies_in_cache(place.root)
    places = (os.path.realpath(path) for path in ('plugins', find_packaged_path('plugins')) if path)
    own = [path for path in places if not lies_in(path, folder)]
    if (foreign or lies_in(place.root, folder)) and not any(lies_in(place.root, path) for path in own):
        require_trust(f'{what} names the plugin {place.root}')


def lies_in_cache(path: str) -> bool:
    """Whether a path lies in what huggingface_hub has fetched of a model, a data set or a space."""
    return any(part.startswith(('models--', 'datasets--', 'spaces--')) for part in path.split(os.sep))


def is_exact(path: str | os.PathLike) -> bool:
    """Whether a path leads to its file without links and whatever the current directory is, as dtbox records it."""
    return os.path.realpath(path) == os.path.normpath(path)


def lies_in(path: str, folder: str) -> bool:
    """Whether a real path is a folder, or lies in it."""
    return f'{path}{os.sep}'.startswith(f'{folder.rstrip(os.sep)}{os.sep}')
