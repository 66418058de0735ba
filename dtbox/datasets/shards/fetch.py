"""Shards that only a command can read: fetched once a machine into a folder, the ones unused longest removed when it
grows."""
from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile

from dtbox.datasets.shards.places import Place
from dtbox.errors import InputError
from dtbox.files import LEFTOVER, replacing


class ShardCache:
    """A folder of fetched shards that the processes of a machine share.

    Args:
        folder: where they go; None takes dtbox/fetched under the temporary folder of the system.
        keep: shards kept at most; a shard that is being read is never lost, since an open file outlives its name.
    """

    def __init__(self, folder: str | None = None, keep: int = 64):
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise InputError(f'`keep` is the most shards to keep, an int >= 1; got {keep!r}.')
        self.folder, self.keep = os.fspath(folder or os.path.join(tempfile.gettempdir(), 'dtbox', 'fetched')), keep

    def file(self, place: Place) -> str:
        """Return the local file of a Place, fetched if it is not there.

        Raises:
            InputError: the command fails or writes nothing.
        """
        if place.path:
            return place.path
        os.makedirs(self.folder, exist_ok=True)
        path = os.path.join(self.folder, f'{hashlib.sha256(place.command.encode()).hexdigest()[:24]}.tar')
        with open(f'{path}.lock', 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one process of this machine fetches, the others wait for it
            if os.path.isfile(path):
                os.utime(path)
                return path
            self._run(place.command, path)
        self._tidy(path)
        return path

    def _run(self, command, path):
        with replacing(path) as temporary, open(temporary, 'wb') as out:
            # of a pipeline, each part must succeed: a shell tells of the last one only
            shell = shutil.which('bash')
            words = [shell, '-o', 'pipefail', '-c', command] if shell else ['sh', '-c', command]
            done = subprocess.run(words, stdout=out, stderr=subprocess.PIPE)
            if done.returncode:
                said = done.stderr.decode(errors='replace').strip().splitlines()
                raise InputError(f'the command of a shard, `{command}`, failed with code {done.returncode}'
                                 f'{f": {said[-1][:200]}" if said else ""}. Try it in a shell.')
            if not os.path.getsize(temporary):
                raise InputError(f'the command of a shard, `{command}`, wrote nothing to its standard output. Try it '
                                 'in a shell.')

    def _tidy(self, newest):
        """Remove the shards unused longest."""
        shards = []
        for name in os.listdir(self.folder):
            path = os.path.join(self.folder, name)
            if name.endswith('.tar') and not LEFTOVER.fullmatch(name) and path != newest:
                try:
                    shards.append((os.path.getmtime(path), path))
                except FileNotFoundError:
                    continue
        for _, path in sorted(shards)[:max(0, len(shards) + 1 - self.keep)]:
            for gone in (path, f'{path}.lock'):
                try:
                    os.remove(gone)
                except FileNotFoundError:
                    pass
