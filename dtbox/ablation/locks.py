"""A lock on a folder that dies with the process that holds it."""
import os

from dtbox.errors import InputError


class Locked:
    """Hold a lock file for a block.

    Args:
        path: of the lock file, which is made and stays.
        what: what is locked, for the message.

    Raises:
        InputError: another process holds it.
    """

    def __init__(self, path, what):
        self.path, self.what, self.file = path, what, None

    def __enter__(self):
        import fcntl
        self.file = open(self.path, 'a+')
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.seek(0)
            holder = self.file.read().strip() or 'unknown'
            self.file.close()
            raise InputError(f'another process (pid {holder}) is working on {self.what} in {os.path.dirname(self.path)}. Wait for it, or stop '
                             'it.') from None
        self.file.truncate(0)
        self.file.write(str(os.getpid()))
        self.file.flush()
        return self

    def __exit__(self, *_):
        self.file.close()


def held(path):
    """Whether some process holds the lock file `path`."""
    try:
        with Locked(path, ''):
            return False
    except InputError:
        return True
    except OSError:
        return False
