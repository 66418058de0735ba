"""Quantizers: checks of the state: what changes it, and when.

Legend: B batch, N tokens.
"""
from __future__ import annotations

import gc

import torch
from torch import Tensor

from dtbox.extend import load_plugins
from dtbox.quantizers.base import Quantizer
from dtbox.testing.quantizer_subject import QuantizerSubject, train_step
from dtbox.testing.rank_group import RankError
from dtbox.testing.subject import copy_state, is_same, require, require_same, require_state


def evaluation_leaves_state(subject: QuantizerSubject) -> None:
    """Forward in evaluation, and encode and decode in either mode, change nothing, nor do they leave anything for
    `commit`."""
    quantizer, z = subject.trained(), subject.z(seed=7)
    before = copy_state(quantizer)
    quantizer.decode(quantizer.encode(z))
    require_state(quantizer, before, 'encode and decode in training')
    quantizer.eval()(z)
    quantizer.decode(quantizer.encode(z))
    require_state(quantizer, before, 'forward, encode and decode in evaluation')
    quantizer.train().commit()
    require_state(quantizer, before, 'commit after evaluation alone')


def forward_leaves_state(subject: QuantizerSubject) -> None:
    """A training forward and its backward change nothing before `commit`."""
    subject.collects_only()
    quantizer, z = subject.trained(), subject.z(seed=7).requires_grad_(True)
    before = copy_state(quantizer)
    out = quantizer(z)
    require_state(quantizer, before, 'a training forward')
    if out.features.requires_grad:
        out.features.sum().backward()
    require_state(quantizer, before, 'a backward pass')


def skipped_step(subject: QuantizerSubject) -> None:
    """After `discard` the step has not been: the state is untouched, and the next step is as if it were the first."""
    subject.collects_only()
    skipping, want = subject.trained(), subject.trained()
    before = copy_state(skipping)
    skipping(subject.z(seed=7))
    skipping.discard()
    require_state(skipping, before, 'discard')
    skipping.commit()
    require_state(skipping, before, 'commit after discard')
    for quantizer in (skipping, want):
        train_step(quantizer, subject.z(seed=8), 8)
    require_state(skipping, copy_state(want), 'the step after a skipped one')


def reproducible(subject: QuantizerSubject) -> None:
    """Under one seed, two instances train alike: the same outputs and the same state after five steps."""
    outs, states = [], []
    for _ in range(2):
        quantizer = subject.build()
        outs.append([train_step(quantizer, subject.z(seed=s), s) for s in range(5)])
        states.append(copy_state(quantizer))
    for a, b in zip(*outs):
        if not subject.continuous:
            require_same(a.codes, b.codes, 'codes of two instances of one seed')
        require_same(a.features, b.features, 'features of two instances of one seed')
    require_state(quantizer, states[0], 'two instances of one seed')


def state_dict(subject: QuantizerSubject) -> None:
    """The state dict holds all there is: an instance of another seed that loads it gives the same codes and trains on
    alike."""
    quantizer = subject.trained()
    twin = subject.build(seed=99)
    z = subject.z(seed=7)
    twin.load_state_dict(copy_state(quantizer), strict=True)
    outs = [q.eval()(z) for q in (quantizer, twin)]
    if not subject.continuous:
        require_same(outs[0].codes, outs[1].codes, 'codes after loading')
    require_same(outs[0].features, outs[1].features, 'features after loading')
    for seed in (8, 9):
        for q in (quantizer, twin):
            train_step(q.train(), subject.z(seed=seed), seed)
    require_state(twin, copy_state(quantizer), 'training on after loading')


def accumulation(subject: QuantizerSubject) -> None:
    """Micro-batches collected one after the other, then one `commit`, make the state of the whole batch, within 1e-5.
    """
    subject.collects_only()
    for parts in ((1, 4, 1), (2, 0, 4), (1, 1, 1, 1, 1, 1)):
        one, many = subject.build(), subject.build()
        for seed in range(3):
            z = subject.z(6, 9, seed)
            for quantizer, batches in ((one, [z]), (many, z.split(parts))):
                torch.manual_seed(seed)
                for batch in batches:
                    quantizer(batch)
                quantizer.commit()
        require_state(many, copy_state(one), f'micro-batches of {", ".join(map(str, parts))} images', 1e-5)


def count_live_bytes() -> int:
    """Return the bytes of all storages that tensors made since `gc.freeze` hold, those kept for a backward pass among
    them."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor):
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def memory(subject: QuantizerSubject) -> None:
    """Steps keep nothing: 40 of them hold no more tensors than 20, whether they end in `commit` or in
    `discard`."""
    def steps(quantizer: Quantizer, end: str, count: int) -> None:
        for seed in range(count):
            z = subject.z(seed=seed).requires_grad_(True)
            # what a graph keeps is invisible to Python; boxed, it is not
            with torch.autograd.graph.saved_tensors_hooks(lambda t: [t.detach()], lambda box: box[0]):
                quantizer(z)
            getattr(quantizer, end)()
    already = gc.get_freeze_count()
    for end in ('commit', 'discard'):
        quantizer = subject.build()
        if not already:
            gc.freeze()  # looks at new objects only, which is much faster
        try:
            steps(quantizer, end, 20)
            before = count_live_bytes()
            steps(quantizer, end, 20)
            after = count_live_bytes()
        finally:
            if not already:
                gc.unfreeze()
        require(after <= before, f'with `{end}` after each step, tensors hold {before} bytes after 20 steps and '
                f'{after} after 40. '
                f'What a forward collects must be gone then: does `{end}` of the quantizer call that of its codebook?')


SPLITS = ((3, 8), (4, 8), (8, 8), (0, 8))
"""Of eight images, where the part of rank 0 and that of rank 1 end; in the last two steps one of them has none."""


def take_own_part(values: Tensor, ends: tuple[int, int], rank: int, world: int) -> Tensor:
    """Return what is a rank's own of `values`; all of it where there is one rank."""
    return values if world == 1 else values[0 if rank == 0 else ends[0]:ends[rank]]


def run_commits(rank: int, world: int, cfg: dict, plugins: list[str]) -> list[dict[str, Tensor]]:
    """Four commits on a rank's part of the data, in micro-batches, and one when no rank has any: list of states."""
    load_plugins(plugins)
    subject, states = QuantizerSubject(cfg), []
    quantizer = subject.build()
    for step, ends in enumerate(SPLITS):
        torch.manual_seed(step)
        for batch in take_own_part(subject.z(8, 9, step), ends, rank, world).split(2):
            quantizer(batch)
        quantizer.commit()
        states.append(copy_state(quantizer))
    quantizer.commit()
    return [*states, copy_state(quantizer)]


def two_ranks(subject: QuantizerSubject) -> None:
    """Two ranks with uneven parts of the data have the codebooks of one rank with all of it, within 1e-5."""
    subject.collects_only()
    alone = run_commits(0, 1, subject.cfg, subject.plugins)
    try:
        ranks = subject.ranks.run(run_commits, subject.cfg, subject.plugins)
    except RankError as e:
        require(False, f'the ranks failed: {e}')
    for rank, states in enumerate(ranks):
        for step, (state, want) in enumerate(zip(states, alone)):
            wrong = [f'`{n}` by {(state[n].double() - v.double()).abs().max().item():.3g}'
                     for n, v in want.items() if not is_same(state[n], v, 1e-5)]
            require(not wrong, f'after commit {step + 1}, rank {rank} differs from one rank with all data in '
                    f'{", ".join(wrong)}.')
