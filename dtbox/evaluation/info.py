"""What a metric says of its values: name, label, unit, format, direction, group.

Tables, reports and grids know a value by its `MetricInfo` alone. A metric declares a list, and `Infos` finds the one of
a value. Results carry the infos of their metrics; `list_registered_infos` stands in for older results.
"""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Iterable

from mmengine.registry import Registry

from dtbox.evaluation.metric_info import DIRECTIONS, GROUPS, MetricInfo, find_fields
from dtbox.evaluation.names import ALL, MetricName, add_protocol, read_name
from dtbox.registry import METRICS, PROTOCOLS

__all__ = ['DIRECTIONS', 'GROUPS', 'Described', 'Infos', 'MetricInfo', 'choose_headlines', 'list_registered_infos']


@dataclass(frozen=True)
class Described:
    """A value by its name, and what describes it.

    Attributes:
        name: MetricName.
        info: MetricInfo; of an unknown value its label is the name, and it has no direction.
        fields: of the family.
    """
    name: MetricName
    info: MetricInfo
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Label with unit, fields, depth and side: 'PSNR [dB], tiles 256', 'codes in use, pixel depth 1', 'zero-shot
        top-1, tokens'."""
        used = find_fields(self.info.label)
        parts = [value for key, value in self.fields.items() if key not in used]
        parts += [f'depth {self.name.depth}'] if self.name.depth is not None else []
        return ', '.join(filter(None, (self.info.heading.format(**self.fields), ' '.join(parts), self.name.side)))

    @property
    def lower(self) -> bool | None:
        """Whether less is better; None where the value has no direction."""
        return {'lower': True, 'higher': False}.get(self.info.direction)

    @property
    def is_fraction(self) -> bool:
        """Whether it is shown in percent."""
        return self.info.format.endswith('%')

    @property
    def factor(self) -> float:
        """What the value is multiplied with to be shown."""
        return 100.0 if self.is_fraction else 1.0

    @property
    def sort_key(self) -> tuple:
        """Key by which values sort as people read them: by group, then by order; those of codes by vocabulary and depth
        first."""
        group = GROUPS.index(self.info.group)
        numbers = [int(v) for v in self.fields.values() if v.isdigit()]
        if self.info.group == 'codes':
            depth = -1 if self.name.depth is None else self.name.depth
            return group, 0, '/'.join(self.fields.values()), depth, self.info.order, self.name.plain
        return group, self.info.order, '', numbers[0] if numbers else 0, self.name.plain

    @property
    def samples(self) -> tuple[str, int | None]:
        """Name of the scores of single images in samples.npz, and the place below which they are hits; None where the
        scores are numbers."""
        scores, _, most = (self.info.samples or '').format(side=self.name.side, **self.fields).partition('<')
        return scores or self.name.plain, int(most) if most else None

    @property
    def beside(self) -> dict[str, str]:
        """Heading -> SET/METRIC of the values that it is compared with."""
        depth = '' if self.name.depth is None else f'/depth{self.name.depth}'
        names = {heading: value.format(**self.fields) + depth for heading, value in self.info.beside}
        return {heading: f'{self.name.set}/{add_protocol(name, self.name.protocol) if self.name.protocol else name}'
                for heading, name in names.items()}

    @property
    def headline(self) -> int:
        """Place among the values that are shown first; 0 is not among them."""
        name, first = self.name, all(v == '1' for v in self.fields.values() if v.isdigit())
        shown = first and name.depth is None and not name.is_stderr and name.side in ('', 'tokens')
        return self.info.headline if shown else 0


class Infos:
    """Infos of metrics, and what they say of a value.

    Args:
        infos: the first that fits a name counts; where none fits, those of registered metrics and protocols are asked.
    """

    def __init__(self, infos: Iterable[MetricInfo] = ()) -> None:
        self.infos = tuple(dict.fromkeys(infos))
        self._described: dict[tuple[str, bool], Described] = {}

    def describe(self, name: str, has_set: bool = True) -> Described:
        """Return what describes the value SET/METRIC, or METRIC where `has_set` is false."""
        if (name, has_set) not in self._described:
            self._described[name, has_set] = self._describe(read_name(name, has_set))
        return self._described[name, has_set]

    def knows(self, name: str) -> bool:
        """Whether one of its own infos describes the plain name of a value."""
        return _find(self.infos, read_name(name, has_set=False)) is not None

    def _describe(self, name: MetricName) -> Described:
        described = None
        if name.protocol:
            described = _find(self.infos, replace(name, value=add_protocol(name.value, name.protocol)))
        described = described or _find(self.infos, name)
        for registry in (METRICS, PROTOCOLS):  # asked, and its rooms imported, only where nothing before knows the name
            tail, prefix = name.value, []
            while described is None and tail:  # results without infos do not tell a metric's prefix from its name
                described = _find(list_registered_infos(registry), replace(name, value=tail), '/'.join(prefix))
                head, _, tail = tail.partition('/')
                prefix.append(head)
        if described is not None:
            return replace(described, name=name)
        return Described(name, MetricInfo(name.value, name.value.replace('{', '{{').replace('}', '}}')))


def choose_headlines(metrics: Iterable[str], infos: Infos, sets: int = 2) -> list[str]:
    """Return the values of a list of SET/METRIC that reports and grids show first, in order: those of `all`, or else of
    the first few sets; values of protocols are not among them.

    Args:
        metrics: that there are.
        infos: describe them.
        sets: number of sets of a value that is not there for `all`.
    """
    metrics = [m for m in metrics if not read_name(m).protocol]
    names = [read_name(m) for m in metrics]
    parts = list(dict.fromkeys(n.set for n in names if n.set != ALL))[:sets]
    merged = {n.plain for n in names if n.set == ALL}
    chosen = []
    for metric, name in zip(metrics, names):
        place = infos.describe(metric).headline
        if place and (name.set == ALL or name.set in parts and name.plain not in merged):
            chosen.append((place, parts.index(name.set) if name.set in parts else -1, metric))
    return [metric for *_, metric in sorted(chosen, key=lambda c: c[:2])]


def _find(infos: Iterable[MetricInfo], name: MetricName, prefix: str = '') -> Described | None:
    """Return the first info that fits a name; a single value counts before a family."""
    for info in sorted(infos, key=lambda info: bool(info.fields)):  # the sort is stable
        match = info.match(name.value)
        if match is not None:
            return Described(name, info.prefixed(prefix), match)
    return None


def list_registered_infos(*registries: Registry) -> tuple[MetricInfo, ...]:
    """Return the infos of registered parts, those of plugins among them; by default of metrics and protocols."""
    infos = []
    for registry in registries or (METRICS, PROTOCOLS):
        registry.import_from_location()
        infos += [info for kind in registry.module_dict.values() for info in getattr(kind, 'info', ())]
    return tuple(dict.fromkeys(infos))
