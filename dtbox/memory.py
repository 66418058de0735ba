"""The most memory that a stretch of work holds."""
import torch


class Peak:
    """Measure the peak between entering and leaving the block.

    Attributes:
        megabytes: 10^6 bytes: of the GPU where there is one, else resident memory of the process (Linux); None where that cannot be told.
    """
    megabytes = None

    def __enter__(self):
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        else:
            try:
                with open('/proc/self/clear_refs', 'w') as f:
                    f.write('5')  # resets VmHWM
                self._able = True
            except OSError:
                self._able = False
        return self

    def __exit__(self, *error):
        if torch.cuda.is_available():
            self.megabytes = torch.cuda.max_memory_allocated() / 1e6
        elif self._able:
            with open('/proc/self/status') as f:
                self.megabytes = next(int(line.split()[1]) for line in f if line.startswith('VmHWM:')) * 1024 / 1e6


def resident_megabytes():
    """Return the resident memory of this process now, in 10^6 bytes (Linux); 0 where that cannot be told."""
    try:
        with open('/proc/self/status') as f:
            return next(int(line.split()[1]) for line in f if line.startswith('VmRSS:')) * 1024 / 1e6
    except OSError:
        return 0.0
