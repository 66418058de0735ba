"""Messages of a training step (`list_kinds`), and how long they take (`Network.seconds`).

Times are those of rings (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations",
JPDC 69(2), 2009): an all-reduce of S bytes over W ranks takes 2 (W - 1) steps, in each of which every rank sends
S / W bytes; gathering and scattering take half of the steps. The factor 2 (W - 1) / W is that between `algbw` and
`busbw` in NVIDIA's nccl-tests (doc/PERFORMANCE.md). Across nodes the ring has two levels: scatter inside the nodes,
reduce between them what each GPU holds, gather inside.

Legend: W ranks, S bytes, K codes, C code width.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Callable

from torch import nn

from dtbox.errors import InputError
from dtbox.quantizers.codebooks import ClusteringCodebook, Codebook
from dtbox.registry import LOSSES
from dtbox.training.parallel import find_blocks
from dtbox.training.tokenizer_setup import choose_vocabularies

MIB = 2 ** 20
FIRST_BUCKET, BUCKET = MIB, 25 * MIB
"""Bytes of the first bucket of DistributedDataParallel, and of the others (see `training.parallel.DDP`)."""
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

    def __post_init__(self) -> None:
        if self.node < 1 or not (self.inside > 0 and self.between > 0 and self.latency >= 0):
            raise InputError(f'the network has {self.node} GPUs a node, {self.inside:g} and {self.between:g} bytes a '
                             f'second and {self.latency:g} seconds a hop; expected at least 1 GPU, bandwidths above 0 '
                             'and a latency of 0 or more.')

    def levels(self, world: int) -> tuple[int, int]:
        """Return (GPUs of a node, nodes) of `world` GPUs; `InputError` where the last node would not be full."""
        if world < 1 or (world > self.node and world % self.node):
            raise InputError(f'{world} GPUs do not fill nodes of {self.node}. Give a multiple of it (or fewer, for a '
                             'part of one node), or set --gpus-per-node.')
        inside = min(world, self.node)
        return inside, world // inside

    def seconds(self, operation: str, size: float, world: int) -> float:
        """Return the seconds of one collective.

        Args:
            operation: one of `PASSES`.
            size: bytes S; of a rank's own with `all_gather`, of the whole with `unshard` and `reduce_scatter`.
            world: ranks W.
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
        blocks, rest: (parameters, trained ones) of each part of the tokenizer that FSDP2 gathers by itself: blocks,
            which are gathered again for the backward pass, and the decoder and all else, which are not.
        whole_discriminator: parameters of the discriminator, frozen ones included.
        last_layer: numbers of the decoder's last weight.
        adaptive: whether the adaptive weight compares gradients of all ranks.
        gathers: codebooks that tell each other what they have collected.
        updates, restarts: (K, C) of each update of a table after the step, and of each of those that restart unused
            codes.
        clusters: (K, C) of tables whose unused rows move towards features.
        pairs: values of an image that each contrastive loss compares over ranks (image and text).
        batch, world: images of a rank, and ranks.
        official, broadcasts: the same of the published variants, which do it in the forward pass, from rows of rank 0.
    """
    tokenizer: int = 0
    discriminator: int = 0
    blocks: list = field(default_factory=list)
    rest: list = field(default_factory=list)
    whole_discriminator: int = 0
    last_layer: int = 0
    adaptive: bool = False
    gathers: int = 0
    updates: list = field(default_factory=list)
    restarts: list = field(default_factory=list)
    clusters: list = field(default_factory=list)
    pairs: list = field(default_factory=list)
    batch: int = 1
    world: int = 1
    official: list = field(default_factory=list)
    broadcasts: list = field(default_factory=list)


def read_facts(model: nn.Module, adversarial: dict | None = None) -> Facts:
    """Read the Facts of a model, on whatever device.

    Args:
        model: TokenizerTask, frozen as in training.
        adversarial: config of the adversarial loss, or None; it counts as active.

    Returns:
        Facts.
    """
    tokenizer, discriminator = model.tokenizer, model.discriminator
    facts = Facts(_count(tokenizer)[1], _count(discriminator)[1] if discriminator is not None else 0)
    facts.whole_discriminator = _count(discriminator)[0] if discriminator is not None else 0
    facts.blocks, facts.rest = _shards(tokenizer)
    if model.criterion is not None:
        facts.pairs = [2 * tokenizer.text.pooled_dim for loss in model.criterion.losses.values()
                       if 'logit_scale' in loss.requires]
    if adversarial:
        loss = LOSSES.build(dict(adversarial), where='model.gan.adversarial')
        facts.adaptive = loss.adaptive is not None and not loss.per_rank
        facts.last_layer = tokenizer.decoder.last_layer.numel()
    running = list(tokenizer.vocabularies)
    if model.criterion is not None:
        running = choose_vocabularies(tokenizer, model.criterion.requires)
    streams = {tokenizer.find_stream(name).name for name in running}
    for name, stream in tokenizer.streams.items():
        for book in (m for m in stream.quantizer.modules() if isinstance(m, Codebook) and m.collects):
            facts.gathers += 1
            if name in streams:
                variant = getattr(stream.quantizer, 'variant', None)
                _book(facts, (book.size, book.dim), book.restart > 0, variant, stream)
                facts.clusters += [(book.size, book.dim)] * isinstance(book, ClusteringCodebook)
    return facts


def _shards(tokenizer):
    """Return (parameters, trained ones) of the blocks, and of the decoder and all else, as FSDP2 divides them."""
    trunks = [*tokenizer.encoders.values(), *([tokenizer.text] if tokenizer.text is not None else [])]
    parts = [block for trunk in trunks for block in find_blocks(trunk)]
    whole, sizes = _count(tokenizer), [_count(part) for part in parts]
    decoder = _count(tokenizer.decoder) if tokenizer.decoder is not None else (0, 0)
    return sizes, [decoder, tuple(whole[i] - sum(s[i] for s in sizes) - decoder[i] for i in (0, 1))]


def _count(module):  # all parameters, and trained ones
    return tuple(sum(p.numel() for p in module.parameters() if p.requires_grad or not trained) for trained in (0, 1))


def _book(facts, table, restarts, variant, stream):
    times = len(stream.sizes) if variant == 'rq' else 1
    updates, rows = (facts.updates, facts.restarts) if variant is None else (facts.official, facts.broadcasts)
    updates += [table] * times
    rows += [table] * times if restarts else []


def cut_into_buckets(size: int) -> list[int]:
    """Return the sizes of DistributedDataParallel's messages for `size` bytes; about, since a tensor is never cut."""
    first = min(size, FIRST_BUCKET)
    whole, rest = divmod(size - first, BUCKET)
    return ([first] if first else []) + [BUCKET] * whole + ([rest] if rest else [])


@dataclass(frozen=True)
class Kind:
    """One kind of message.

    Attributes:
        name: what it carries.
        operation: one of `PASSES`.
        sizes: Facts -> bytes of each call of a step, float32 and int64.
        overlaps: what is computed meanwhile ('forward', 'backward', 'discriminator'), or None where everybody waits.
        sender: (module, function) of dtbox that calls the collective; None for those of PyTorch's wrappers.
        most: whether `sizes` is an upper bound.
    """
    name: str
    operation: str
    sizes: Callable
    overlaps: str | None = None
    sender: tuple[str, str] | None = None
    most: bool = False


def count_table_bytes(shapes: Sequence[tuple[int, int]]) -> list[int]:
    """(K, C) of updates -> bytes of their counts [K] and sums [K, C]."""
    return [4 * n for k, c in shapes for n in (k, k * c)]


def count_row_bytes(shapes: Sequence[tuple[int, int]]) -> list[int]:
    """(K, C) of tables -> bytes of new rows for all of their codes."""
    return [4 * k * c for k, c in shapes]


AGREEMENT, GATHER = 'dtbox.distributed', 'dtbox.losses.gather_embeddings'
BOOKS, OFFICIAL = 'dtbox.quantizers.codebooks.base', 'dtbox.quantizers.rq_official'
ROWS, CLUSTERS = 'dtbox.quantizers.codebooks.vectors', 'dtbox.quantizers.codebooks.clustering'
STEP = (
    Kind('last-layer gradients', 'all_reduce', lambda f: [8 * f.last_layer] if f.adaptive else [],
         sender=('dtbox.losses.adversarial', 'balance')),
    Kind('agreement: samples, signals', 'all_reduce', lambda f: [16], sender=(AGREEMENT, 'count_samples')),
    Kind('agreement: all finite', 'all_reduce', lambda f: [8] * (4 if f.discriminator else 3),
         sender=(AGREEMENT, 'is_set_anywhere')),
    Kind('texts (bytes not counted)', 'all_gather', lambda f: [0 for _ in f.pairs],
         sender=(GATHER, 'gather_embeddings')),
    Kind('embeddings', 'all_gather', lambda f: [4 * f.batch * n for n in f.pairs], sender=(GATHER, 'forward')),
    Kind('gradients of embeddings', 'all_reduce', lambda f: [4 * f.world * f.batch * n for n in f.pairs],
         sender=(GATHER, 'backward')),
    Kind('agreement: what codebooks hold', 'all_gather', lambda f: [24] * f.gathers,
         sender=(BOOKS, '_gather_pending')),
    Kind('codebook statistics', 'all_reduce', lambda f: count_table_bytes(f.updates), sender=(BOOKS, 'commit')),
    Kind('restart rows', 'all_reduce', lambda f: count_row_bytes(f.restarts), sender=(ROWS, 'take_rows'), most=True),
    Kind('distances to rows', 'all_gather', lambda f: [4 * k for k, _ in f.clusters], sender=(CLUSTERS, 'is_least')),
    Kind('rows that move', 'all_reduce', lambda f: count_row_bytes(f.clusters), sender=(CLUSTERS, 'share_rows')),
    Kind('published codebook statistics', 'all_reduce', lambda f: count_table_bytes(f.official),
         sender=(OFFICIAL, '_update')),
    Kind('published restart rows', 'broadcast', lambda f: count_row_bytes(f.broadcasts), sender=(OFFICIAL, '_restart')))
"""Messages of a step for any way to divide the model. A new collective of the training step is a line here;
`dtbox.sizing.scale_check` finds those that are missing."""
PARALLEL = dict(
    ddp=(Kind('gradients of the tokenizer', 'all_reduce', lambda f: cut_into_buckets(4 * f.tokenizer), 'backward'),
         Kind('gradients of the discriminator', 'all_reduce', lambda f: cut_into_buckets(4 * f.discriminator),
              'discriminator')),
    fsdp=(Kind('weights, forward', 'unshard', lambda f: [4 * n for n, _ in (*f.blocks, *f.rest) if n], 'forward'),
          Kind('weights of blocks, backward', 'unshard', lambda f: [4 * n for n, _ in f.blocks if n], 'backward'),
          Kind('gradients of the tokenizer', 'reduce_scatter', lambda f: [4 * n for _, n in (*f.blocks, *f.rest) if n],
               'backward'),
          Kind('weights of the discriminator', 'unshard', lambda f: [4 * f.whole_discriminator] * 2
               if f.whole_discriminator else [], most=True),
          Kind('gradients of the discriminator', 'reduce_scatter', lambda f: [4 * f.discriminator] if f.discriminator
               else [])))
"""How several ranks divide the model: `dtbox.training.parallel.DDP`, or `FSDP2`, which gathers blocks one at a time
and all else as two."""


def list_kinds(parallel: str = 'ddp') -> tuple[Kind, ...]:
    """Return the Kinds of a step; `InputError` for an unknown way to divide the model."""
    if parallel not in PARALLEL:
        raise InputError(f'`parallel` is {parallel!r}; expected one of: {", ".join(PARALLEL)}.')
    return (*PARALLEL[parallel], *STEP)
