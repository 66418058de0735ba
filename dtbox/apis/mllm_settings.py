"""How a multimodal language model draws and answers where a caller says nothing: generation_config.json."""
from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Mapping

from dtbox.arguments import read_count
from dtbox.errors import InputError, at, closest
from dtbox.sampling import Guidance, SamplingRule


@dataclass(frozen=True)
class Generation:
    """Defaults of drawing and answering.

    Attributes:
        scale: of guidance, see `Guidance`.
        temperature, top_k, top_p: of codes, see `SamplingRule`.
        max_tokens: most text ids of a reply.
        question: that asks for a caption.
        batch: rows that are generated at a time.

    Raises:
        InputError: values that cannot be.
    """
    scale: Any = 1.0
    temperature: Any = 1.0
    top_k: Any = None
    top_p: Any = None
    max_tokens: int = 32
    question: str = 'what is it?'
    batch: int = 64

    def __post_init__(self) -> None:
        Guidance(self.scale)
        SamplingRule(self.temperature, self.top_k, self.top_p)
        for name in ('max_tokens', 'batch'):
            with at(name):
                read_count()(getattr(self, name))
        if not isinstance(self.question, str) or not self.question.strip():
            raise InputError(f'got {self.question!r:.60}; expected a question.', 'question')

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Generation:
        """Return what generation_config.json says; `InputError` for an entry that there is not."""
        known = asdict(cls())
        for name in values:
            if name not in known:
                raise InputError(f'there is no setting `{name}`.{closest(name, known)} There are: {", ".join(known)}.')
        return cls(**values)

    @classmethod
    def from_evaluation(cls, evaluation: Mapping[str, Any] | None, guided: bool) -> Generation:
        """Return what a run's `model.evaluation` says.

        Args:
            evaluation: see `dtbox.training.mllm_evaluation.Settings`.
            guided: whether the model has learnt to draw without a prompt; without that, the scale is 1.
        """
        values = dict(evaluation or {})
        own = {name: values[name] for name in ('max_tokens', 'question', 'batch') if name in values}
        scales = values.get('scales') or (1.0,)
        return cls(scale=scales[0] if guided else 1.0, **values.get('sampling', {}), **own)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return asdict(self)

    def choose(self, **given: Any) -> Generation:
        """Return the settings with those of a caller that are not None."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    @property
    def rule(self) -> SamplingRule:
        """How codes are drawn."""
        return SamplingRule(self.temperature, self.top_k, self.top_p)
