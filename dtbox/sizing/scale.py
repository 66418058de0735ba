"""The cost of scale: seconds of a training step on many GPUs, from counted FLOPs (`describe`) and counted bytes
(`communication`).

A step takes the time of computing, and the time of messages during which nothing is computed. Gradients travel in
buckets during the backward pass (DistributedDataParallel, arXiv 2006.15704, section 3.2.3): what takes longer than that
pass adds to the step, and at least a whole bucket.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmengine.config import Config

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.sizing.communication import Facts, Kind, Network, list_kinds, read_facts
from dtbox.sizing.describe import ADAM, GB, Description, build_without_memory, describe

COUNTS = (8, 16, 32, 64, 128, 256, 512, 1024)
OUTSIDE = ('teacher', 'lpips', 'discriminator')


@dataclass(frozen=True)
class Setting:
    """What is asked.

    Attributes:
        batch: images a GPU, or `whole` of all GPUs together; one of them is None.
        counts: numbers of GPUs.
        network: Network.
        parallel: 'ddp' or 'fsdp'.
        peak, utilisation: FLOPs a second of a GPU, and the fraction of it that training reaches.
        memory: bytes of a GPU.
        samples: images of the whole run, or None.
    """
    batch: int | None = None
    whole: int | None = None
    counts: tuple = COUNTS
    network: Network = Network()
    parallel: str = 'ddp'
    peak: float = 312e12
    utilisation: float = 0.4
    memory: float = 80e9
    samples: int | None = None

    def __post_init__(self) -> None:
        given = [images for images in (self.batch, self.whole) if images is not None]
        if len(given) != 1 or given[0] < 1:
            raise InputError(f'`batch` is {self.batch} and `whole` is {self.whole}; expected one of the two, '
                             'images a GPU or in all, at least 1.')
        if not self.counts or self.peak <= 0 or not 0 < self.utilisation <= 1 or self.memory <= 0:
            raise InputError(f'counts {self.counts}, peak {self.peak:g}, utilisation {self.utilisation:g}, memory '
                             f'{self.memory:g}; expected at least one number of GPUs, peak and memory above 0 and a '
                             'utilisation in (0, 1].')

    def divide_batch(self, gpus: int) -> int:
        """Return the images a GPU of `gpus`; `InputError` where they cannot be divided evenly."""
        if self.batch is not None:
            return self.batch
        assert self.whole is not None  # the one or the other is given
        if self.whole % gpus:
            raise InputError(f'{format_count(self.whole, "image")} in all cannot be divided evenly among {gpus} GPUs. '
                             'Give a multiple of the largest number of GPUs, or other numbers of GPUs.')
        return self.whole // gpus


@dataclass(frozen=True)
class Sent:
    """One Kind of message on so many GPUs: bytes of a rank, calls, seconds."""
    bytes: int
    calls: int
    seconds: float


@dataclass(frozen=True)
class Row:
    """What a step takes on so many GPUs.

    Attributes:
        gpus, batch: their number; images of each.
        memory: bytes of a GPU.
        fits: whether a GPU has them; the rest is counted all the same.
        compute: seconds of computing.
        sent: name of a Kind -> Sent.
        exposed: seconds in which things are sent and nothing is computed.
        days: of the whole run, or None.
    """
    gpus: int
    batch: int
    memory: float
    fits: bool
    compute: float
    sent: dict
    exposed: float
    samples: int | None = None

    @property
    def communication(self) -> float:
        """Seconds in which anything is sent."""
        return sum(s.seconds for s in self.sent.values())

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return self.compute + self.exposed

    @property
    def rate(self) -> float:
        """Images a second of all GPUs."""
        return self.gpus * self.batch / self.step

    @property
    def efficiency(self) -> float:
        """Images a second over those of as many GPUs that send nothing."""
        return self.compute / self.step

    @property
    def iterations(self) -> int | None:
        """Steps until `samples` images are seen, or None."""
        return None if self.samples is None else -(-self.samples // (self.gpus * self.batch))

    @property
    def days(self) -> float | None:
        """Days of them, or None."""
        iterations = self.iterations
        return None if iterations is None else iterations * self.step / 86400


def measure_windows(description: Description) -> dict[str, float]:
    """Return the FLOPs of an image during which messages travel.

    Returns:
        dict of `forward`, `backward` (the trained parts of the tokenizer; recomputed blocks included) and
        `discriminator` (the backward pass of its own step, two images).
    """
    parts = [p for name, p in description.parts.items() if name not in OUTSIDE and p.trained]
    discriminator = description.parts.get('discriminator')
    return dict(forward=sum(p.flops for p in parts), backward=sum(p.flops * (3 if p.recomputed else 2) for p in parts),
                discriminator=4 * discriminator.flops if discriminator else 0.0)


def predict_step(compute: float, fractions: dict[str, float], sends: Sequence[tuple[Kind, Sequence[int]]],
                 network: Network, world: int) -> tuple[dict[str, Sent], float]:
    """Predict what one step sends and how long nothing else is done.

    Args:
        compute: seconds that a rank computes.
        fractions: 'forward', 'backward', 'discriminator' -> fraction of `compute` during which messages travel; a
            missing one hides nothing.
        sends: list of (Kind, bytes of each call).
        network: Network.
        world: ranks.

    Returns:
        dict name -> Sent; exposed seconds.
    """
    sent, exposed = {}, 0.0
    overlapped = {}
    for kind, sizes in sends:
        times = [network.seconds(kind.operation, size, world) if world > 1 else 0.0 for size in sizes]
        sent[kind.name] = Sent(sum(sizes), len(sizes), sum(times))
        if kind.overlaps in fractions and times:
            total, last = overlapped.get(kind.overlaps, (0.0, 0.0))
            overlapped[kind.overlaps] = (total + sum(times), last + max(times))
        else:
            exposed += sum(times)
    return sent, exposed + sum(max(total - fractions[name] * compute, last)
                               for name, (total, last) in overlapped.items())


def predict_memory(description: Description, has: Facts, batch: int, gpus: int, parallel: str) -> float:
    """Return the bytes of a GPU.

    They are those of `Description.memory` (gradients live in their buckets). With fsdp, the state of tokenizer and
    discriminator is divided by `gpus`; weights and gradients of what is gathered as a whole stay for all of a step.
    """
    need = description.memory(batch)
    if gpus == 1 or parallel == 'ddp':
        return need
    state = 4 * (sum(n for n, _ in (*has.blocks, *has.rest)) + has.whole_discriminator
                 + (has.tokenizer + has.discriminator) * (1 + ADAM))
    return need - state + state / gpus + 4 * (sum(map(sum, has.rest)) + has.whole_discriminator + has.discriminator)


def scale(cfg: Config, setting: Setting) -> tuple[Description, Facts, list[Row]]:
    """Predict steps of a config on each number of GPUs.

    Args:
        cfg: resolved config of a recipe.
        setting: Setting.

    Returns:
        Description, Facts, list of Row.

    Raises:
        InputError: numbers of GPUs that do not fill nodes or divide the images; a model that fits on none of them.
    """
    for gpus in setting.counts:
        setting.network.levels(gpus), setting.divide_batch(gpus)
    adversarial = (cfg.model.get('gan') or {}).get('adversarial')
    has, description = read_facts(build_without_memory(cfg)[0], adversarial), describe(cfg)
    fractions = {name: flops / description.step_flops() for name, flops in measure_windows(description).items()}
    rows = []
    for gpus in setting.counts:
        batch = setting.divide_batch(gpus)
        there = replace(has, batch=batch, world=gpus)
        sends = [(kind, kind.sizes(there)) for kind in list_kinds(setting.parallel) if kind.sizes(there)]
        compute = batch * description.step_flops() / (setting.peak * setting.utilisation)
        need = predict_memory(description, has, batch, gpus, setting.parallel)
        rows.append(Row(gpus, batch, need, need <= setting.memory, compute,
                        *predict_step(compute, fractions, sends, setting.network, gpus), setting.samples))
    if not any(row.fits for row in rows):
        least = min(rows, key=lambda row: row.memory)
        raise InputError(f'{format_count(least.batch, "image")} a GPU need {least.memory / GB:,.1f} GB on '
                         f'{least.gpus:,} GPUs, and a '
                         f'GPU has {setting.memory / GB:,.1f} GB; none of the numbers of GPUs asked for has room. '
                         'Lower --batch, shard the state (--parallel fsdp), or recompute activations.')
    return description, has, rows
