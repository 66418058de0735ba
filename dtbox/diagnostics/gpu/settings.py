"""How the GPU check runs: where, at which size, with what the machine can do."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from dtbox.diagnostics.rates import WARM, measure_rate, time_in_turn

T = TypeVar('T')


@dataclass(frozen=True)
class Settings:
    """What every part is given.

    Attributes:
        device_name: 'cuda:0', or 'cpu'.
        small: everything at a size that takes a CPU seconds.
        half: whether the device multiplies bfloat16.
        compiles: whether torch.compile has what it needs on this device.
        gigabytes: memory of the device, 10^9 bytes.
        seconds: that the timing of one contender may take.
    """
    device_name: str
    small: bool
    half: bool = True
    compiles: bool = True
    gigabytes: float = 0.0
    seconds: float = 1.0

    @property
    def device(self) -> torch.device:
        """Where the parts run."""
        return torch.device(self.device_name)

    @property
    def gpu(self) -> bool:
        """Whether that is a GPU."""
        return self.device.type == 'cuda'

    @property
    def dtype(self) -> torch.dtype:
        """Float type of models that are timed: bfloat16, or float32 where the device has none."""
        return torch.bfloat16 if self.half else torch.float32

    @property
    def dtype_name(self) -> str:
        """Its name."""
        return str(self.dtype).removeprefix('torch.')

    def time(self, calls: Mapping[str, Callable[[], object]], fraction: float = 1.0,
             rounds: int = 3) -> dict[str, list[float]]:
        """Time calls that take turns, see `time_in_turn`: name -> seconds of a call in each round.

        Args:
            calls: name -> function without arguments.
            fraction: of `seconds` that the rounds of one call take.
            rounds: on a GPU; a CPU, which only shows that it runs, has one.
        """
        return time_in_turn(calls, self.device, fraction * self.seconds, self.choose(rounds, 1), self.choose(WARM, 1))

    def measure_rate(self, dtype: torch.dtype, tf32: bool = False) -> float:
        """Return the operations a second of large matrix products."""
        return measure_rate(self.device, dtype, self.seconds / 4, self.choose(8192, 128), tf32)

    @property
    def backend(self) -> str:
        """Backend of torch.compile: PyTorch's own, or on a CPU one that needs no compiler."""
        return 'inductor' if self.gpu else 'eager'

    def choose(self, large: T, small: T) -> T:
        """Return what belongs to the size."""
        return small if self.small else large
