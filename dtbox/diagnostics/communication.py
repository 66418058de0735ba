"""What the processes of a training step send each other, and how long that takes: `KINDS` is the list, `Network.seconds` the time.

Times are those of rings (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", JPDC 69(2), 2009): an
all-reduce of S bytes over W processes takes 2 (W - 1) steps, in each of which every process sends S / W bytes; gathering and scattering take half of
the steps. The factor 2 (W - 1) / W is that between `algbw` and `busbw` in NVIDIA's nccl-tests (doc/PERFORMANCE.md). Across nodes the ring has two
levels: scatter inside the nodes, reduce between them what each GPU holds, gather inside.

Legend: W processes, S bytes, K codes, C code width.
"""
from dataclasses import dataclass, field
from typing import Callable, Tuple

from dtbox.errors import InputError
from dtbox.quantizers.codebooks.base import Codebook
from dtbox.registry import LOSSES

MIB = 2 ** 20
BUCKET, FIRST = 25 * MIB, MIB
"""Bytes of a bucket of DistributedDataParallel (`bucket_cap_mb`), and of the first one."""
PASSES = dict(all_reduce=2, all_gather=1, broadcast=1, unshard=1, reduce_scatter=1)
"""Operation -> rounds through the ring. (`unshard` is an all-gather, too, of tensors that are cut in W parts.)"""


@dataclass(frozen=True)
class Network:
    """What connects the GPUs.

    Attributes:
        node: GPUs of a node.
        inside: bytes a second that a GPU sends inside its node (bus bandwidth).
        between: bytes a second that a GPU sends out of its node, while the others of the node do, too.
        latency: seconds of a hop.
    """
    node: int = 8
    inside: float = 300e9
    between: float = 25e9
    latency: float = 5e-6

    def __post_init__(self):
        if self.node < 1 or not (self.inside > 0 and self.between > 0 and self.latency >= 0):
            raise InputError(f'the network has {self.node} GPUs a node, {self.inside:g} and {self.between:g} bytes a second and {self.latency:g} '
                             'seconds a hop; expected at least 1 GPU, bandwidths above 0 and a latency of 0 or more.')

    def levels(self, world):
        """Return (GPUs of a node, nodes) of `world` GPUs; `InputError` where the last node would not be full."""
        if world < 1 or (world > self.node and world % self.node):
            raise InputError(f'{world} GPUs do not fill nodes of {self.node}. Give a multiple of it (or fewer, for a part of one node), or set '
                             '--gpus-per-node.')
        inside = min(world, self.node)
        return inside, world // inside

    def seconds(self, operation, size, world):
        """Return the seconds of one collective.

        Args:
            operation: one of `PASSES`.
            size: bytes S; of a process's own with `all_gather`, of the whole with `unshard` and `reduce_scatter`.
            world: processes W.
        """
        gpus, nodes = self.levels(world)
        size = size * world if operation == 'all_gather' else size
        a_node = (gpus - 1) * (size / gpus / self.inside + self.latency)
        across = (nodes - 1) * (size / gpus / nodes / self.between + self.latency)
        return PASSES[operation] * (a_node + across)


@dataclass
class Facts:
    """What decides how much a step of a config sends.

    Attributes:
        tokenizer, discriminator: trained parameters.
        whole: parameters of the tokenizer, frozen ones included (what full sharding gathers).
        last_layer: numbers of the decoder's last weight.
        adaptive: whether the adaptive weight compares gradients of all processes.
        gathers: codebooks that tell each other what they have collected.
        updates, restarts: (K, C) of each update of a table after the step, and of each of those that restart unused codes.
        official, broadcasts: the same of the published variants, which do it in the forward pass, from rows of rank 0.
    """
    tokenizer: int = 0
    discriminator: int = 0
    whole: int = 0
    last_layer: int = 0
    adaptive: bool = False
    gathers: int = 0
    updates: list = field(default_factory=list)
    restarts: list = field(default_factory=list)
    official: list = field(default_factory=list)
    broadcasts: list = field(default_factory=list)


def facts(model, adversarial=None):
    """Read the Facts of a model, on whatever device.

    Args:
        model: TokenizerTraining, frozen as in training.
        adversarial: config of the adversarial loss, or None; it counts as active.

    Returns:
        Facts.
    """
    tokenizer, critic = model.tokenizer, model.discriminator
    found = Facts(_trained(tokenizer), _trained(critic) if critic is not None else 0, sum(p.numel() for p in tokenizer.parameters()))
    if adversarial:
        loss = LOSSES.build(dict(adversarial), where='model.adversarial')
        found.adaptive = loss.adaptive is not None and not loss.per_rank
        found.last_layer = tokenizer.decoder.last_layer.numel()
    running = model._running(model.criterion.requires) if model.criterion is not None else list(tokenizer.vocabularies)
    streams = {tokenizer.stream_of(name).name for name in running}
    for name, stream in tokenizer.streams.items():
        for book in (m for m in stream.quantizer.modules() if isinstance(m, Codebook) and m.collects):
            found.gathers += 1
            if name in streams:
                _book(found, (book.size, book.dim), book.restart > 0, getattr(stream.quantizer, 'variant', None), stream)
    return found


def _trained(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _book(found, table, restarts, variant, stream):
    times = len(stream.sizes) if variant == 'rq' else 1
    updates, rows = (found.updates, found.restarts) if variant is None else (found.official, found.broadcasts)
    updates += [table] * times
    rows += [table] * times if restarts else []


def buckets(size):
    """Return the sizes of the messages into which DistributedDataParallel cuts `size` bytes: a small first one, then `BUCKET` each."""
    sizes = [min(size, FIRST)] if size else []
    rest = size - sum(sizes)
    return sizes + [BUCKET] * (rest // BUCKET) + ([rest % BUCKET] if rest % BUCKET else [])


@dataclass(frozen=True)
class Kind:
    """One kind of message.

    Attributes:
        name: what it carries.
        operation: one of `PASSES`.
        sizes: Facts -> bytes of each call of a step, float32 and int64.
        behind: what is computed meanwhile ('forward', 'backward', 'discriminator'), or None where everybody waits.
        sender: (module, function) of dtbox that calls the collective; None for those of PyTorch's wrappers.
        most: whether `sizes` is an upper bound.
    """
    name: str
    operation: str
    sizes: Callable
    behind: str = None
    sender: Tuple[str, str] = None
    most: bool = False


def tables(shapes):
    """(K, C) of updates -> bytes of their counts [K] and sums [K, C]."""
    return [4 * n for k, c in shapes for n in (k, k * c)]


def rows(shapes):
    """(K, C) of tables -> bytes of new rows for all of their codes."""
    return [4 * k * c for k, c in shapes]


BOOKS, OFFICIAL = 'dtbox.quantizers.codebooks.base', 'dtbox.quantizers.rq_official'
STEP = (
    Kind('gradients of the discriminator', 'all_reduce', lambda f: buckets(4 * f.discriminator), 'discriminator'),
    Kind('last-layer gradients', 'all_reduce', lambda f: [8 * f.last_layer] if f.adaptive else [], sender=('dtbox.losses.adversarial', 'balance')),
    Kind('agreement: all finite', 'all_reduce', lambda f: [4], sender=('dtbox.training.model', 'any_rank')),
    Kind('agreement: what codebooks hold', 'all_gather', lambda f: [24] * f.gathers, sender=(BOOKS, '_gathered_pending')),
    Kind('codebook statistics', 'all_reduce', lambda f: tables(f.updates), sender=(BOOKS, 'commit')),
    Kind('restart rows', 'all_reduce', lambda f: rows(f.restarts), sender=(BOOKS, 'take_rows'), most=True),
    Kind('published codebook statistics', 'all_reduce', lambda f: tables(f.official), sender=(OFFICIAL, '_update')),
    Kind('published restart rows', 'broadcast', lambda f: rows(f.broadcasts), sender=(OFFICIAL, '_restart')))
"""What a step sends however the tokenizer is kept. A new collective of the training step is a line here; `dtbox.diagnostics.scale_check` finds those
that are missing."""
PARALLEL = dict(
    ddp=(Kind('gradients of the tokenizer', 'all_reduce', lambda f: buckets(4 * f.tokenizer), 'backward'),),
    fsdp=(Kind('weights, forward', 'unshard', lambda f: buckets(4 * f.whole), 'forward'),
          Kind('weights, backward', 'unshard', lambda f: buckets(4 * f.whole), 'backward'),
          Kind('gradients of the tokenizer', 'reduce_scatter', lambda f: buckets(4 * f.tokenizer), 'backward')))
"""How the tokenizer is kept: by DistributedDataParallel, or sharded as a whole (FSDP, ZeRO stage 3). The discriminator is kept by the former."""


def kinds(parallel='ddp'):
    """Return the Kinds of a step; `InputError` for an unknown way to keep the tokenizer."""
    if parallel not in PARALLEL:
        raise InputError(f'`parallel` is {parallel!r}; expected one of: {", ".join(PARALLEL)}.')
    return (*PARALLEL[parallel], *STEP)
