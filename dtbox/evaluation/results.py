"""Results: the one form in which scores travel, and the only reader and writer of metrics.json and protocols.json.

The JSON holds one object for each set (`all` merges them) and, beside the sets, the keys of `KEYS`:

    {"val": {"psnr": 21.5, "psnr/stderr": 0.1}, "all": {...}, "skipped": {"FID": "why"}, "counts": {"val": 8, "all": 8},
     "missing": ["sentence"], "left_out": ["sentence"], "protocols": {"recipe": {"hash": "...", "data": "..."}},
     "iteration": 300, "evaluation": {...}, "infos": [{"name": "psnr", "label": "PSNR", "unit": "dB", ...}]}
"""
from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from dtbox.errors import InputError
from dtbox.evaluation.info import Infos, MetricInfo
from dtbox.evaluation.json_files import read_json, to_json
from dtbox.evaluation.names import ALL, add_protocol, split_protocol

RECIPE = 'recipe'
"""Name of the protocol that a config has in its `val_evaluator`."""
KEYS = ('skipped', 'counts', 'missing', 'left_out', 'protocols', 'iteration', 'evaluation', 'infos')
"""Keys of the JSON that do not name a set."""
RESERVED = (ALL, *KEYS)
"""Names that a held-out set cannot have."""
AGAIN = 'Evaluate the run again: dtbox test RUN'


def add_tokenizer(stamp: str, tokenizer: str | None) -> str:
    """Return the stamp of a value that compares within one tokenizer alone."""
    return f'{stamp}-{tokenizer}' if tokenizer else stamp


@dataclass(frozen=True)
class Results:
    """Scores of one evaluation.

    Attributes:
        sets: set -> value -> number, `all` among the sets; None is a number that was not finite.
        counts: set -> number of images; a set without images is not in it.
        skipped: metric -> why values are missing or images were left out.
        missing: sentences that name samples which could not be read: the scores are those of an incomplete set.
        protocols: protocol -> dict(hash, data), and `tokenizer`, its hash, of a language model, by which
            numbers compare (see `dtbox.evaluation.stamps`), and `counts` where several protocols were joined.
        iteration: of the checkpoint, or None.
        evaluation: when, how and on what was evaluated; {} for an evaluation during training.
        infos: what the values are; () for results of a dtbox that did not write them.
        left_out: sentences on what lies with the data and is not used (files of other kinds, and the like), with
            counts and reasons.
    """
    sets: dict[str, dict[str, float | None]]
    counts: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    protocols: dict[str, dict[str, Any]] = field(default_factory=dict)
    iteration: int | None = None
    evaluation: dict[str, Any] = field(default_factory=dict)
    infos: tuple[MetricInfo, ...] = ()
    left_out: list[str] = field(default_factory=list)

    @cached_property
    def described(self) -> Infos:
        """What describes its values."""
        return Infos(self.infos)

    @property
    def held_out(self) -> list[str]:
        """Names of the sets, `all` apart."""
        return [name for name in self.sets if name != ALL]

    def flat(self) -> dict[str, float]:
        """Return SET/METRIC -> number of every value that is finite."""
        return {f'{part}/{name}': float(value) for part, values in self.sets.items() for name, value in values.items()
                if value is not None and math.isfinite(value)}

    def stamp(self, name: str = '') -> str:
        """Return 'SETTINGS-DATA', the two hashes by which a value compares with others of its name, of nats of codes
        'SETTINGS-DATA-TOKENIZER'; '' where they are not known.

        Args:
            name: METRIC or METRIC@PROTOCOL, without set.
        """
        stamp = self.protocols.get(split_protocol(name)[1] or RECIPE)
        if not isinstance(stamp, dict) or not {'hash', 'data'} <= set(stamp):
            return ''
        of_codes = bool(name) and self.described.describe(name, has_set=False).info.of_codes
        return add_tokenizer(f'{stamp["hash"]}-{stamp["data"]}', stamp.get('tokenizer') if of_codes else None)

    def row(self) -> dict[str, Any]:
        """Return the columns of a row of results.csv: SET/METRIC -> number, and `protocol`, the stamp of the recipe's
        own metrics, with `tokenizer_hash` of a language model."""
        tokenizer = (self.protocols.get(RECIPE) or {}).get('tokenizer')
        return {**({'protocol': self.stamp()} if self.stamp() else {}),
                **({'tokenizer_hash': tokenizer} if tokenizer else {}), **self.flat()}

    def of_protocol(self, name: str) -> Results:
        """Return the results of one protocol of joined ones, its values by their plain names."""
        sets = {}
        for part, values in self.sets.items():
            parts = ((*split_protocol(k), v) for k, v in values.items())
            sets[part] = {plain: v for plain, protocol, v in parts if protocol == name}
        skipped = {k[:-len(name) - 1]: why for k, why in self.skipped.items() if k.endswith(f'@{name}')}
        own = [info for info in self.infos if split_protocol(info.name)[1] == name]
        own = [replace(info, name=split_protocol(info.name)[0]) for info in own]
        counts = self.protocols[name].get('counts', self.counts)
        return replace(self, sets=sets, skipped=skipped, counts=counts, infos=(*own, *self.infos))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it; what is empty is left out, `skipped` and `counts` excepted."""
        beside = dict(missing=self.missing, left_out=self.left_out, protocols=self.protocols, iteration=self.iteration,
                      evaluation=self.evaluation, infos=[info.to_dict() for info in self.infos])
        beside = {key: value for key, value in beside.items() if value or value == 0}
        return {**self.sets, 'skipped': self.skipped, 'counts': self.counts, **beside}

    def write(self, path: str | os.PathLike) -> None:
        """Write it as JSON in one step; NaN and infinity become null.

        Raises:
            InputError: the path is a folder or cannot be written.
        """
        to_json(self.to_dict(), path)

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = 'the results') -> Results:
        """Undo `to_dict`; of an older dtbox, which wrote no infos, too.

        Args:
            values: the JSON object.
            source: what it was read from, for messages.

        Raises:
            InputError: a set that does not hold numbers, or infos that are not those of metrics.
        """
        kinds = dict(skipped=dict, counts=dict, missing=list, left_out=list, protocols=dict, evaluation=dict,
                     infos=list)
        for key, kind in kinds.items():
            if not isinstance(values.get(key, kind()), kind):
                raise InputError(f'{source}: `{key}` is {values[key]!r}; expected what dtbox writes there. {AGAIN}')
        sets = {key: scores for key, scores in values.items() if key not in KEYS}
        for part, scores in sets.items():
            odd = [v for v in scores.values() if not _is_number(v)] if isinstance(scores, dict) else [scores]
            if odd:
                raise InputError(f'{source}: the set `{part}` holds {odd[0]!r}; expected names of metrics and numbers. '
                                 f'{AGAIN}')
        try:
            infos = tuple(MetricInfo.from_dict(info) for info in values.get('infos', ()))
        except (KeyError, TypeError) as e:
            raise InputError(f'{source}: `infos` cannot be read ({type(e).__name__}: {e}). {AGAIN}') from e
        rest = {key: values[key] for key in KEYS if key in values and key != 'infos'}
        return cls(sets, **rest, infos=infos)

    @classmethod
    def read(cls, path: str | os.PathLike) -> Results | None:
        """Return the results of a JSON file, or None where the file does not exist.

        Raises:
            InputError: see `from_dict`; a file that cannot be read.
        """
        return cls.from_dict(read_json(path), str(path)) if os.path.isfile(path) else None

    @classmethod
    def join(cls, parts: dict[str, Results]) -> Results:
        """Return the results of several protocols as one: protocol -> Results becomes set -> METRIC@PROTOCOL ->
        number."""
        sets = {}
        skipped = {}
        protocols = {}
        missing = set()
        left_out = {}
        infos = {}
        for name, part in parts.items():
            for own, stamp in part.protocols.items():
                protocols[own] = dict(stamp, counts=part.counts)  # a protocol may see fewer images than another
            missing |= set(part.missing)
            left_out.update(dict.fromkeys(part.left_out))
            skipped.update({f'{label}@{name}': why for label, why in part.skipped.items()})
            for key, values in part.sets.items():
                sets.setdefault(key, {}).update({add_protocol(metric, name): value for metric, value in values.items()})
            for info in part.infos:
                if infos.setdefault(info.name, info) != info:  # two protocols mean different things by one name
                    infos[add_protocol(info.name, name)] = replace(info, name=add_protocol(info.name, name))
        counts = max((part.counts for part in parts.values()), key=lambda c: (len(c), c.get(ALL, 0)), default={})
        return cls(sets, counts, skipped, sorted(missing), protocols, infos=tuple(infos.values()),
                   left_out=list(left_out))


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, (int, float)) and not isinstance(value, bool)
