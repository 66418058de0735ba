"""A run folder has one owner: the run that took it first, from before anything in it changes to its end."""
from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

from dtbox.errors import InputError
from dtbox.files import check_name, explain_writing, remove_leftovers
from dtbox.locks import Locked, find_holder, take_folder, wait_until_free


class Owned:
    """Base of a folder that one process at a time may work in.

    Attributes:
        path: of the folder.
        running_lock: path of the lock file in it.
        lock: held by this object, or None.
    """
    path: str
    running_lock: str
    lock: Locked | None = None

    def check_format(self) -> None:
        """Raise `InputError` where this version of dtbox does not read what the folder holds."""

    def check_places(self) -> None:
        """Raise `InputError` where a file that the run will write cannot be written."""

    def check_exists(self) -> None:
        """Raise `InputError` where something has removed or renamed the folder while the run used it."""
        if not os.path.isdir(self.path):
            raise InputError(f'the run folder {self.path} is gone: something has removed or renamed it while the run '
                             'used it. What the run had learnt since its last checkpoint is lost.')

    def prepare(self, resume: bool) -> str | None:
        """Take the folder for a run, until `hold` ends or `release`. All ranks call this; only rank 0 touches the disk.

        Args:
            resume: continue the run in the folder; otherwise an earlier run is moved to NAME.1, NAME.2, ...

        Returns:
            where an earlier run was moved to, or None.

        Raises:
            InputError: on every rank: the folder is a file, cannot be written to, another run uses it, or it is of a
                format that cannot be read, or something else stands where a file of the run belongs.
        """
        from dtbox import distributed  # brings torch, which command lines that only print do without
        return distributed.run_on_first_rank(lambda: self._prepare(resume))

    def _prepare(self, resume: bool) -> str | None:
        check_name(self.path)
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise InputError(f'the work dir {self.path} is a file. Give a folder that is new or holds a run.')
        if resume:
            self.check_format()
            self.check_places()
        lock = Locked(self.running_lock, 'the run')
        try:
            if (pid := find_holder(self.running_lock)) == str(os.getpid()):
                gc.collect()  # a run of this process that is over, but not yet forgotten
            elif pid:
                wait_until_free(self.running_lock)  # ranks of a run that was killed are about to end
            moved = take_folder(self.path, lock, move=not resume)
        except OSError as e:
            raise InputError(f'the work dir {self.path} cannot be made or written to ({e.strerror or e}). Give another '
                             '--work-dir, or mend that.') from e
        self.lock = lock
        for folder in (self.path, *(entry.path for entry in os.scandir(self.path)
                                     if entry.is_dir(follow_symlinks=False))):
            remove_leftovers(folder)
        return moved

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Within the block no other run trains in the folder; rank 0 holds the lock for all, from `prepare` on."""
        from dtbox import distributed
        if self.lock is None and distributed.get_rank() == 0:
            self.lock = Locked(self.running_lock, 'the run').__enter__()
        try:
            yield
        except OSError as e:
            self.check_exists()  # what could not be written may be gone with the whole folder
            if not os.fsdecode(e.filename or '').startswith(os.path.join(self.path, '')):
                raise
            with explain_writing(self.path):
                raise
        finally:
            self.release()

    def release(self) -> None:
        """Let other runs have the folder."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None
