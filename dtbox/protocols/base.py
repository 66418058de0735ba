"""What protocols share: their config, their hash, and the pass over the held-out images that most of them need."""
from __future__ import annotations

import os
from collections.abc import Sequence

from dtbox.apis.opening import TOKENIZER
from dtbox.config import load_config, resolve
from dtbox.errors import InputError
from dtbox.evaluation import MetricInfo, Results, SetEvaluator
from dtbox.evaluation.evaluate import list_metrics
from dtbox.evaluation.stamps import compute_digest, to_json_value
from dtbox.protocols.subject import Subject
from dtbox.registry import PROTOCOLS


class Protocol:
    """A way to measure.

    Args:
        metrics: configs of METRICS by name, or a list of them, that are measured in the common pass.

    Attributes:
        name: of the protocol, from its file.
        hash: of its config, resolved; files count by their content.
        info: list of MetricInfo of the values that `finish` adds.
        needs_training: whether a metric learns from the training images.
        use: what it measures, see `dtbox.apis.opening.find_use`.
        unhashed: settings on which no value depends, and which the hash leaves out.
    """
    name, hash = '', ''
    use = TOKENIZER
    unhashed: tuple[str, ...] = ()
    info: list[MetricInfo] = []

    def __init__(self, metrics: Sequence | dict = ()) -> None:
        self.metrics = metrics

    def infos(self) -> list[MetricInfo]:
        """Return the infos of the values that `finish` adds to the results."""
        return list(self.info)

    @property
    def needs_training(self) -> bool:
        """Whether a metric learns from the training images (see EvalContext.bank)."""
        return any('context.bank' in m.requires for m in self.evaluator().prototypes)

    def evaluator(self) -> SetEvaluator:
        """Return a new SetEvaluator of its metrics."""
        evaluator = SetEvaluator(self.metrics)
        evaluator.hash = self.hash
        return evaluator

    def finish(self, subject: Subject, evaluator: SetEvaluator, results: Results, folder: str) -> list[str]:
        """Do what comes after the common pass: add to the sets of `results`, leave files in `folder`.

        Args:
            subject: model and data.
            evaluator: the SetEvaluator of the pass.
            results: of this protocol.
            folder: for files; it is made when something is written.

        Returns:
            list of lines for the screen.
        """
        return []


@PROTOCOLS.register_module()
class Scores(Protocol):
    """Metrics in one pass over the held-out images, and nothing else."""


def load_protocol(path: str | os.PathLike, options: dict | None = None) -> Protocol:
    """Return the Protocol of a config file.

    Args:
        path: a config with `protocol`, the config of a PROTOCOLS part.
        options: dict of dotted key -> value to override.

    Raises:
        InputError: no such file, no such key, or a part that cannot be built.
    """
    cfg = resolve(load_config(path, options))._cfg_dict.to_dict()
    if not isinstance(cfg.get('protocol'), dict):
        raise InputError(f'{path} is not a protocol: expected `protocol = dict(type=...)`, '
                         f'it has {", ".join(cfg) or "nothing"}.')
    protocol = PROTOCOLS.build(cfg['protocol'], where='protocol')
    protocol.name = os.path.splitext(os.path.basename(str(path)))[0]
    settings = {name: value for name, value in cfg['protocol'].items() if name not in protocol.unhashed}
    if 'metrics' in settings:  # by name or as a list: the same metrics have the same hash
        settings['metrics'] = [metric for _, metric in list_metrics(settings['metrics'])]
    protocol.hash = compute_digest(to_json_value(settings))
    return protocol
