"""What a task says of the weights that a new run of it starts from (`load_from`)."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from dtbox.errors import InputError


class Starts:
    """Mixed into `Task`."""
    exported_kind: str = ''
    """`model_type` of the folders of `save_pretrained` that hold its main part; '' where there are none."""
    start_advice: Mapping[str, str] = {}
    """Entry of `start_meta` -> what to do where the weights have another one; `{path}` stands for their place."""

    @property
    def start_meta(self) -> dict[str, Any]:
        """Hashes of what the weights must have been trained with, by name, as in `checkpoint_meta`; {} where weights of
        any origin do."""
        return {}

    def match_start(self, state: Mapping[str, Tensor], source: str) -> Mapping[str, Tensor]:
        """Return the weights of another run under the names that this task has for them, and with what it starts anew.

        Args:
            state: names of the other run -> tensor.
            source: what errors call them.

        Raises:
            InputError: weights that this task has no place for.
        """
        return state

    def choose_start(self, given: Sequence[str]) -> tuple[Sequence[str], str]:
        """Decide which keys a new run does without when it starts from the weights of another.

        Args:
            given: keys of the other run's state dict.

        Returns:
            (beginnings of keys that may be absent on either side, what to say about it).
        """
        return (), ''

    def read_exported(self, folder: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read a folder of `save_pretrained` of the kind `exported_kind`.

        Returns:
            (weights of the main part, by their names in it; what `start_meta` is compared with).
        """
        raise InputError(f'{folder} is a folder of save_pretrained, which {type(self).__name__} does not start from. '
                         'Give a run folder or a checkpoint.')
