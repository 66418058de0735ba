"""The contract of language models (see `dtbox.lms.base`).

Legend: B rows, T places that come in, S places that they may see, H width, V text ids.
"""
from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import torch

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.testing.contract import Contract, index_by_name
from dtbox.testing.lm_subject import LanguageModelSubject, T, make_causal
from dtbox.testing.subject import (
    copy_state,
    fail,
    list_idle_parameters,
    make_generator,
    require,
    require_floats,
    require_gradient,
    require_refused,
    require_same,
    require_state,
)

TOLERANCE = 1e-4
"""Largest difference between sums of one kind in another order: rows alone and in a batch, steps and a whole pass."""


def shapes(subject: LanguageModelSubject) -> None:
    """Embeddings and hidden states are finite float32 [B,T,H], logits [B,T,V]; `width`, `vocab_size` and
    `context_length` are numbers above 0."""
    lm = subject.build()
    sizes = (lm.width, lm.vocab_size, lm.context_length)
    require(all(type(size) is int and size > 0 for size in sizes),
            f'`width`, `vocab_size` and `context_length` are {sizes}; expected three numbers above 0.')
    require(lm.context_length > T, f'`context_length` is {lm.context_length}; the checks need {T + 1} places.')
    for b, t in ((1, 1), (3, T)):
        hidden = subject.run(lm, subject.ids(b, t))
        require_floats(lm.embed(subject.ids(b, t)), (b, t, lm.width), 'embeddings')
        require_floats(hidden, (b, t, lm.width), 'hidden states')
        require_floats(lm.text_logits(hidden), (b, t, lm.vocab_size), 'logits')


def causal(subject: LanguageModelSubject) -> None:
    """A place sees itself and what is before it: a later id changes no earlier state, each id changes its own and the
    last; the causal mask changes nothing."""
    lm, ids = subject.build().eval(), subject.ids()
    out = subject.run(lm, ids)
    for t in (0, 4, T - 1):
        other = ids.clone()
        other[:, t] = (other[:, t] + 1) % subject.size
        changed = subject.run(lm, other)
        require_same(changed[:, :t], out[:, :t], f'states before place {t}, whose id changes')
        require(not torch.equal(changed[:, t], out[:, t]) and not torch.equal(changed[:, -1], out[:, -1]),
                f'the id of place {t} does not change the states of that place and of the last one.')
    require_same(subject.run(lm, ids, mask=make_causal(3, T)), out, 'with the causal mask and without', TOLERANCE)


def positions_count(subject: LanguageModelSubject) -> None:
    """Positions are those that come, not those of the row: a gap changes the states after it."""
    lm, ids = subject.build().eval(), subject.ids()
    positions = torch.arange(T).expand(3, T).clone()
    out = lm(lm.embed(ids), positions)
    positions[:, 5:] += 3
    moved = lm(lm.embed(ids), positions)
    require_same(moved[:, :5], out[:, :5], 'states before a gap of positions', TOLERANCE)
    require(not torch.equal(moved[:, -1], out[:, -1]), 'a gap of positions changes nothing after it.')


def masks(subject: LanguageModelSubject) -> None:
    """Two samples in one row, with a mask of blocks and positions that restart, are what they are apart."""
    lm, ids = subject.build().eval(), subject.ids()
    first, second = ids[:, :5], ids[:, 5:]
    mask = make_causal(3, T)
    mask[:, 5:, :5] = False
    positions = torch.cat([torch.arange(5), torch.arange(T - 5)]).expand(3, T)
    packed = lm(lm.embed(ids), positions, mask)
    require_same(packed[:, :5], subject.run(lm, first), 'the first of two packed samples', TOLERANCE)
    require_same(packed[:, 5:], subject.run(lm, second), 'the second of two packed samples', TOLERANCE)


def padding(subject: LanguageModelSubject) -> None:
    """Padding on the left that is masked and not counted changes no state, and gives no NaN to states or gradients."""
    lm, ids = subject.build().eval(), subject.ids(t=6)
    wide = torch.cat([subject.ids(t=3, seed=1), ids], 1)
    mask = make_causal(3, T)
    mask[:, :, :3] = False
    positions = (torch.arange(T) - 3).clamp(min=0).expand(3, T)
    x = lm.embed(wide).detach().requires_grad_()
    out = lm(x, positions, mask)
    require(out.isfinite().all(), 'places of padding, which may see nothing, have NaN or infinite states.')
    require_same(out[:, 3:], subject.run(lm, ids), 'states after padding on the left', TOLERANCE)
    out[:, 3:].sum().backward()
    require_gradient(x.grad, 'places after padding')


def cached_steps(subject: LanguageModelSubject) -> None:
    """A prompt and then single steps with a cache give the states of one pass, also after rows were taken and
    repeated; what a cache has no room for is an `InputError`."""
    lm, ids = subject.build().eval(), subject.ids()
    whole = subject.run(lm, ids)
    cache = lm.make_cache(3, T)
    states = [subject.run(lm, ids[:, :4], cache=cache)]
    states += [subject.run(lm, ids[:, t:t + 1], t, cache=cache) for t in range(4, T)]
    require_same(torch.cat(states, 1), whole, 'steps with a cache and one pass', TOLERANCE)
    require_refused(lambda _: subject.run(lm, ids[:, :1], T, cache=cache), None, 'places past the end of a cache')
    cache = lm.make_cache(1, T)
    subject.run(lm, ids[:1, :4], cache=cache)
    cache.expand(3)
    rows = torch.cat([ids[:1, :4].expand(3, 4), ids[:, 4:6]], 1)
    require_same(subject.run(lm, rows[:, 4:], 4, cache=cache), subject.run(lm, rows)[:, 4:],
                 'a prompt for three rows', TOLERANCE)


def stands_alone(subject: LanguageModelSubject) -> None:
    """In evaluation a row does not depend on the rest of the batch, and two passes give the same."""
    lm, ids = subject.build().eval(), subject.ids(4)
    out = subject.run(lm, ids)
    require_same(subject.run(lm, ids), out, 'two passes')
    require_same(subject.run(lm, ids[2:3]), out[2:3], 'a row alone and in a batch', TOLERANCE)


def special_rows(subject: LanguageModelSubject) -> None:
    """`resize` adds ids after the others, the mean of their rows to begin with; the others keep embeddings and logits.
    Rows are not taken away."""
    lm, ids = subject.build().eval(), subject.ids()
    embedded, logits = lm.embed(ids), lm.text_logits(subject.run(lm, ids))
    first = lm.resize(2)
    require((first, lm.vocab_size, lm.added) == (subject.size, subject.size + 2, 2),
            f'`resize(2)` of {format_count(subject.size, "id")} gives the first id {first}, `vocab_size` '
            f'{lm.vocab_size} and `added` {lm.added}.')
    require_same(lm.embed(ids), embedded, 'embeddings of ordinary ids after `resize`')
    require_same(lm.text_logits(subject.run(lm, ids))[..., :subject.size], logits,
                 'logits of ordinary ids after `resize`', TOLERANCE)
    mean = lm.embed(torch.arange(subject.size)[None]).mean(1)
    require_same(lm.embed(torch.tensor([[first, first + 1]]))[0], mean.expand(2, -1), 'new rows and the mean of the '
                 'others', TOLERANCE)
    require(lm.resize(2) == first and lm.vocab_size == subject.size + 2, '`resize` to the rows that there are changes '
            'the model.')
    require_refused(lm.resize, 1, 'fewer special rows than there are')


def gradients(subject: LanguageModelSubject) -> None:
    """Logits carry finite gradients, not just zeros, to the places and to every trainable parameter, special rows
    included."""
    lm = subject.build()
    first = lm.resize(2)
    x = lm.embed(torch.cat([torch.tensor([[first, first + 1]] * 3), subject.ids()], 1))
    x.retain_grad()
    logits = lm.text_logits(lm(x, torch.arange(T + 2).expand(3, -1)))
    (logits * torch.randn(logits.shape, generator=make_generator(1))).sum().backward()
    require_gradient(x.grad, 'the places')
    fixed = set(lm.frozen_names())
    require(fixed <= dict(lm.named_parameters()).keys(), '`frozen_names` names what is no parameter.')
    idle = [name for name in list_idle_parameters(lm) if name not in fixed]
    require(not idle, f'no gradient, zeros, or NaN at {", ".join(idle)}.')


def state_dict(subject: LanguageModelSubject) -> None:
    """The state dict holds all there is, a pass leaves it alone, and one seed gives one model."""
    lm, twin = subject.build().eval(), subject.build(seed=99).eval()
    ids = subject.ids()
    for one in (lm, twin):
        one.resize(2)
    before = copy_state(lm)
    want = lm.text_logits(subject.run(lm, ids))
    require_state(lm, before, 'a pass in evaluation')
    twin.load_state_dict(before, strict=True)
    require_same(twin.text_logits(subject.run(twin, ids)), want, 'logits after loading', 1e-6)
    require_state(subject.build(seed=5), copy_state(subject.build(seed=5)), 'two instances of one seed')


def autocast(subject: LanguageModelSubject) -> None:
    """Under bfloat16 autocast hidden states and logits are finite, with a mask and without."""
    lm = subject.build()
    for mask in (None, make_causal(3, T)):
        with torch.autocast('cpu', torch.bfloat16):
            hidden = subject.run(lm, subject.ids(), mask=mask)
            logits = lm.text_logits(hidden)
        require(hidden.isfinite().all() and logits.isfinite().all(), 'under autocast states have NaN or infinite '
                'values.')


def odd_places(subject: LanguageModelSubject) -> None:
    """Places of another width, positions or masks of another shape are an `InputError`."""
    lm, positions = subject.build(), torch.arange(4).expand(2, 4)
    x = torch.zeros(2, 4, lm.width)
    for args, what in (((x[..., :-1], positions), 'places of another width'),
                       ((x, positions[:, :3]), 'positions of fewer places'),
                       ((x, positions, make_causal(2, 5)), 'a mask of other places'),
                       ((x, positions, make_causal(2, 4).float()), 'a mask of floats')):
        require_refused(lambda given: lm(*given), args, what)


def written_folder(subject: LanguageModelSubject) -> None:
    """`save_pretrained` writes a new folder, leaves the model as it is, and refuses a folder that holds something."""
    lm = subject.build()
    before = copy.deepcopy(copy_state(lm))
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / 'lm'
        lm.save_pretrained(path)
        names = {file.name: file.read_bytes() for file in path.iterdir()}
        require(names, '`save_pretrained` writes no file.')
        try:
            lm.save_pretrained(path)
        except InputError:
            pass
        else:
            fail('`save_pretrained` writes into a folder that holds files.')
        require({file.name: file.read_bytes() for file in path.iterdir()} == names, 'a refused folder is changed.')
    require_state(lm, before, '`save_pretrained`')


LM = Contract('lm', 'lms', LanguageModelSubject, index_by_name(
    shapes, causal, positions_count, masks, padding, cached_steps, stands_alone, special_rows, gradients, state_dict,
    autocast, odd_places, written_folder))
