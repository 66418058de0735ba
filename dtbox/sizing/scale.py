"""The cost of scale: seconds of a training step on many GPUs, from counted FLOPs (`describe`) and counted bytes (`communication`).

A step takes what it computes, and what is sent while nothing is computed. Gradients travel in buckets while the backward pass goes on
(DistributedDataParallel, arXiv 2006.15704, section 3.2.3): of them remains what takes longer than that pass, and at least a whole bucket.
"""
import csv
import io
from dataclasses import dataclass, replace

from dtbox.errors import InputError
from dtbox.sizing.communication import Network, facts, kinds
from dtbox.sizing.describe import ADAM, GB, describe, without_memory

COUNTS = (8, 16, 32, 64, 128, 256, 512, 1024)
OUTSIDE = ('teacher', 'lpips', 'discriminator')


@dataclass(frozen=True)
class Setting:
    """What is asked.

    Attributes:
        batch: pictures a GPU, or `whole` of all GPUs together; one of them is None.
        counts: numbers of GPUs.
        network: Network.
        parallel: 'ddp' or 'fsdp'.
        peak, utilisation: FLOPs a second of a GPU, and the share of it that training reaches.
        memory: bytes of a GPU.
        samples: pictures of the whole run, or None.
    """
    batch: int = None
    whole: int = None
    counts: tuple = COUNTS
    network: Network = Network()
    parallel: str = 'ddp'
    peak: float = 312e12
    utilisation: float = 0.4
    memory: float = 80e9
    samples: int = None

    def __post_init__(self):
        if (self.batch is None) == (self.whole is None) or (self.whole if self.batch is None else self.batch) < 1:
            raise InputError(f'there are {self.batch} pictures a GPU and {self.whole} in all; expected one of the two, at least 1.')
        if not self.counts or self.peak <= 0 or not 0 < self.utilisation <= 1 or self.memory <= 0:
            raise InputError(f'counts {self.counts}, peak {self.peak:g}, utilisation {self.utilisation:g}, memory {self.memory:g}; expected at least '
                             'one number of GPUs, peak and memory above 0 and a utilisation in (0, 1].')

    def share(self, gpus):
        """Return the pictures a GPU of `gpus`; `InputError` where they cannot be shared out evenly."""
        if self.batch is not None:
            return self.batch
        if self.whole % gpus:
            raise InputError(f'{self.whole} pictures in all cannot be shared out evenly over {gpus} GPUs. Give a multiple of the largest number of '
                             'GPUs, or other numbers of GPUs.')
        return self.whole // gpus


@dataclass(frozen=True)
class Sent:
    """One Kind of message on so many GPUs: bytes of a process, calls, seconds."""
    bytes: int
    calls: int
    seconds: float


@dataclass(frozen=True)
class Row:
    """What a step takes on so many GPUs.

    Attributes:
        gpus, batch: their number; pictures of each.
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
    samples: int = None

    @property
    def communication(self):
        """Seconds in which anything is sent."""
        return sum(s.seconds for s in self.sent.values())

    @property
    def step(self):
        """Seconds of a step."""
        return self.compute + self.exposed

    @property
    def rate(self):
        """Pictures a second of all GPUs."""
        return self.gpus * self.batch / self.step

    @property
    def efficiency(self):
        """Pictures a second over those of as many GPUs that send nothing."""
        return self.compute / self.step

    @property
    def iterations(self):
        """Steps until `samples` pictures are seen, or None."""
        return None if self.samples is None else -(-self.samples // (self.gpus * self.batch))

    @property
    def days(self):
        """Days of them, or None."""
        return None if self.samples is None else self.iterations * self.step / 86400


def windows(found):
    """Return the FLOPs of a picture behind which things are sent: dict of `forward`, `backward` (the trained parts of the tokenizer; blocks that are
    recomputed included) and `discriminator` (the backward pass of its own step, two pictures)."""
    parts = [p for name, p in found.parts.items() if name not in OUTSIDE and p.trained]
    critic = found.parts.get('discriminator')
    return dict(forward=sum(p.flops for p in parts), backward=sum(p.flops * (3 if p.recomputed else 2) for p in parts),
                discriminator=4 * critic.flops if critic else 0.0)


def step(compute, shares, sends, network, world):
    """Predict what one step sends and how long nothing else is done.

    Args:
        compute: seconds that a process computes.
        shares: 'forward', 'backward', 'discriminator' -> share of `compute`, behind which things are sent; a missing one hides nothing.
        sends: list of (Kind, bytes of each call).
        network: Network.
        world: processes.

    Returns:
        dict name -> Sent; exposed seconds.
    """
    sent, exposed, behind = {}, 0.0, {}
    for kind, sizes in sends:
        times = [network.seconds(kind.operation, size, world) if world > 1 else 0.0 for size in sizes]
        sent[kind.name] = Sent(sum(sizes), len(sizes), sum(times))
        if kind.behind in shares and times:
            total, last = behind.get(kind.behind, (0.0, 0.0))
            behind[kind.behind] = (total + sum(times), last + max(times))
        else:
            exposed += sum(times)
    return sent, exposed + sum(max(total - shares[name] * compute, last) for name, (total, last) in behind.items())


PIECES = dict(ddp='buckets of 25 MiB (the first of 1)', fsdp='the parts of FSDP2')


def memory(found, has, batch, gpus, parallel):
    """Return the bytes of a GPU: as `Description.memory` (gradients live in their buckets); with fsdp the state of tokenizer and discriminator in
    `gpus` parts, and weights and gradients of what is gathered as a whole for all of a step."""
    need = found.memory(batch)
    if gpus == 1 or parallel == 'ddp':
        return need
    state = 4 * (sum(n for n, _ in (*has.blocks, *has.rest)) + has.critic + (has.tokenizer + has.discriminator) * (1 + ADAM))
    return need - state + state / gpus + 4 * (sum(map(sum, has.rest)) + has.critic + has.discriminator)


def scale(cfg, setting):
    """Predict steps of a config on each number of GPUs.

    Args:
        cfg: resolved config of a recipe.
        setting: Setting.

    Returns:
        Description, Facts, list of Row.

    Raises:
        InputError: numbers of GPUs that do not fill nodes or share out the pictures; a model that fits on none of them.
    """
    for gpus in setting.counts:
        setting.network.levels(gpus), setting.share(gpus)
    has, found = facts(without_memory(cfg)[0], (cfg.model.get('gan') or {}).get('adversarial')), describe(cfg)
    shares = {name: flops / found.step_flops() for name, flops in windows(found).items()}
    rows = []
    for gpus in setting.counts:
        batch = setting.share(gpus)
        there = replace(has, batch=batch, world=gpus)
        sends = [(kind, kind.sizes(there)) for kind in kinds(setting.parallel) if kind.sizes(there)]
        compute, need = batch * found.step_flops() / (setting.peak * setting.utilisation), memory(found, has, batch, gpus, setting.parallel)
        rows.append(Row(gpus, batch, need, need <= setting.memory, compute, *step(compute, shares, sends, setting.network, gpus), setting.samples))
    if not any(row.fits for row in rows):
        least = min(rows, key=lambda row: row.memory)
        raise InputError(f'{least.batch} pictures a GPU need {least.memory / GB:,.1f} GB on {least.gpus:,} GPUs, and a GPU has '
                         f'{setting.memory / GB:,.1f} GB; none of the numbers of GPUs asked for has room. Lower --batch, shard the state '
                         '(--parallel fsdp), or recompute activations.')
    return found, has, rows


def table(rows):
    """Return Rows as a list of lists of texts, the head first."""
    head = ['GPUs', 'pictures a GPU', 'compute [s]', 'sent [ms]', 'of it exposed [ms]', 'step [s]', 'pictures/s', 'efficiency', 'iterations', 'days',
            'memory [GB]']
    lines = [head]
    for row in rows:
        days = ['', ''] if row.days is None else [f'{row.iterations:,}', f'{row.days:,.3g}']
        values = [f'{row.compute:.3g}', f'{1e3 * row.communication:.3g}', f'{1e3 * row.exposed:.3g}', f'{row.step:.3g}', f'{row.rate:,.0f}',
                  f'{100 * row.efficiency:.1f} %', *days]
        lines.append([f'{row.gpus:,}', f'{row.batch:,}', *(values if row.fits else ['does not fit', *[''] * 7]), f'{row.memory / GB:.1f}'])
    return lines


def sent_table(rows, parallel):
    """Return what is sent by the smallest and the largest number of GPUs as a list of lists of texts, the head first."""
    first, last = rows[0], rows[-1]
    lines = [['what is sent in a step', 'operation', 'calls', 'bytes of a process', f'ms, {first.gpus:,} GPUs', f'ms, {last.gpus:,} GPUs', 'behind']]
    for kind in kinds(parallel):
        if kind.name in last.sent:
            sent = last.sent[kind.name]
            lines.append([kind.name, kind.operation, f'{sent.calls:,}', f'{"at most " if kind.most else ""}{sent.bytes:,}',
                          *(f'{1e3 * row.sent[kind.name].seconds:.3g}' for row in (first, last)), kind.behind or 'nothing'])
    return lines


def to_csv(rows):
    """Return Rows as CSV in seconds and bytes, those that do not fit included."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    names = list(rows[0].sent)
    writer.writerow(['gpus', 'pictures_a_gpu', 'fits', 'memory_bytes', 'compute_s', 'sent_s', 'exposed_s', 'step_s', 'pictures_per_s', 'efficiency',
                     'iterations', 'days', *(f'{name} [{unit}]' for name in names for unit in ('bytes', 's'))])
    for r in rows:
        writer.writerow([r.gpus, r.batch, int(r.fits), round(r.memory), *(f'{v:.6g}' for v in (r.compute, r.communication, r.exposed, r.step, r.rate,
                         r.efficiency)), r.iterations, r.days and f'{r.days:.6g}',
                         *(v for name in names for v in (r.sent[name].bytes, f'{r.sent[name].seconds:.6g}'))])
    return out.getvalue()


def assumptions(setting, found):
    """Return what was assumed, as sentences."""
    net = setting.network
    said = [f'Computing: {found.step_flops() / 1e12:,.4g} TFLOP a picture (matrix products, convolutions, attention; the discriminator takes part) '
            f'at {100 * setting.utilisation:g} % of {setting.peak / 1e12:g} TFLOPS, whatever the batch: a few pictures a GPU reach less.',
            f'Network: {net.node} GPUs a node, {net.inside / GB:g} GB/s a GPU inside (bus bandwidth), {net.between / GB:g} GB/s a GPU between nodes, '
            f'{1e6 * net.latency:g} us a hop; rings of two levels (Patarasuk and Yuan 2009; nccl-tests, PERFORMANCE.md), nobody else on the network. '
            'Trees, which NCCL takes for small messages on many nodes, need fewer hops.',
            f'Sent in float32: gradients in {PIECES[setting.parallel]} behind the '
            'backward pass of the tokenizer\'s trained parts; of these remains what takes longer than that pass, and at least the largest message. '
            'Nothing else is computed while the rest is sent. Sending slows no computing down.',
            'Restart rows are counted as if every code restarted in every step; a running codebook restarts few.',
            'Not counted: waiting for data or for the slowest GPU, validation, checkpoints, memory that recomputation and the allocator hold for a '
            'moment.']
    if setting.parallel == 'fsdp':
        said.append('fsdp: FSDP2 as dtbox.training.parallel has it, weights gathered in float32. Teacher, LPIPS and codebooks are whole on every '
                    'GPU; so are, in a step, weights and gradients of the decoder, the discriminator and all that is no block. The blocks that are '
                    'gathered at a moment are not counted in the memory, norms of gradients and learned scalars not in what is sent.')
    else:
        said.append('Memory: weights, gradients, Adam\'s moments, buffers and teacher on every GPU, and activations.')
    if setting.samples is not None:
        said.append(f'Days: until {setting.samples:,} pictures are seen, on any number of GPUs. Whether a larger global batch learns as much from '
                    'them, and at which learning rate, is another question.')
    return [*said, 'Predicted, not measured on GPUs.', *found.missing]
