"""The contract of visual heads (see `dtbox.visual_heads.base`).

Legend: M images, S steps of an image, P target steps, Q codes per place, K codebook size, H width of the language
model, R rows that are drawn.
"""
from __future__ import annotations

import math

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.code_tables import EMPTY
from dtbox.counts import format_count
from dtbox.registry import VISUAL_HEADS
from dtbox.sampling import Guidance, SamplingRule
from dtbox.testing.contract import Contract, index_by_name
from dtbox.testing.subject import (
    Subject,
    copy_state,
    list_idle_parameters,
    make_generator,
    require,
    require_gradient,
    require_refused,
    require_same,
    require_state,
)
from dtbox.testing.visual_subject import WIDTH, make_codes, make_tables
from dtbox.visual_heads.base import VisualHead

GREEDY, PLAIN = SamplingRule(temperature=0), SamplingRule()


class VisualHeadSubject(Subject):
    """A visual head under test."""
    registry, base = VISUAL_HEADS, VisualHead
    tables = make_tables()
    defaults = dict(tables=tables, width=WIDTH)

    def steps(self, head: VisualHead, m: int = 2, seed: int = 0) -> dict[str, Tensor]:
        """Return the codes of all steps of m images, stream -> [mS,Q]."""
        steps = head.expand(make_codes(self.tables, m, self.tables.places, seed=seed))
        return {name: value.flatten(0, 1) for name, value in steps.items()}

    def hidden(self, rows: int, seed: int = 0) -> Tensor:
        """Return states [rows,H] as a final norm gives them."""
        return torch.randn(rows, WIDTH, generator=make_generator(50 + seed))


def make_generators(rows: int) -> list[torch.Generator]:
    """Return a generator for each row."""
    return [make_generator(row) for row in range(rows)]


def sharpen(head: VisualHead, factor: float = 6.0) -> VisualHead:
    """Return the head with larger matrices, so that its logits differ clearly, in evaluation."""
    with torch.no_grad():
        for p in head.parameters():
            p.mul_(factor if p.ndim > 1 else 1)
    return head.eval()


def expands(subject: VisualHeadSubject) -> None:
    """`collapse` undoes `expand`, which gives `count_steps` steps that hold every code once."""
    head, codes = subject.build(), make_codes(subject.tables, 3, subject.tables.places)
    steps = head.expand({name: codes[name] for name in head.names})
    back = head.collapse(steps)
    for name in head.names:
        want = (3, head.count_steps(), codes[name].shape[2])
        require(steps[name].shape == want, f'steps of {name} are {list(steps[name].shape)}; expected {list(want)}.')
        held = int((steps[name] != EMPTY).sum())
        require(held == codes[name].numel(), f'the steps hold {format_count(held, "code")} of {name} of '
                                             f'{codes[name].numel()}.')
        require_same(back[name], codes[name], f'codes of {name} after `expand` and `collapse`')


def losses(subject: VisualHeadSubject) -> None:
    """The losses are the summed -log softmax of `logits` at the codes, for each stream and depth, float32."""
    head = sharpen(subject.build(), 2)
    codes = subject.steps(head)
    hidden = subject.hidden(len(codes[head.names[0]]))
    found, logits = head.losses(hidden, codes), head.logits(hidden, codes)
    require(list(found.sums) == list(found.counts) == list(logits) == head.names,
            f'there are losses of {list(found.sums)} and logits of {list(logits)}; expected {head.names}.')
    for name in head.names:
        live = codes[name] >= 0
        require_same(found.counts[name], live.sum(0), f'counts of {name}')
        for depth, size in enumerate(subject.tables.sizes[name]):
            one = logits[name][depth]
            require(one.dtype == torch.float32 and one.shape == (len(hidden), size),
                    f'logits of {name} at depth {depth} are {one.dtype} {list(one.shape)}; expected float32 '
                    f'{[len(hidden), size]}.')
            rows = live[:, depth]
            want = nn.functional.cross_entropy(one[rows], codes[name][rows, depth], reduction='sum')
            require_same(found.sums[name][depth], want, f'the loss of {name} at depth {depth}', 1e-4 * len(hidden))


def starts_at_chance(subject: VisualHeadSubject) -> None:
    """The loss of an untrained head is ln K within 2 % at every depth."""
    head = subject.build().eval()
    codes = subject.steps(head, m=-(-3000 // head.count_steps()))
    with torch.no_grad():
        found = head.losses(subject.hidden(len(codes[head.names[0]])), codes)
    for name in head.names:
        for depth, size in enumerate(subject.tables.sizes[name]):
            loss = float(found.sums[name][depth] / found.counts[name][depth])
            require(abs(loss / math.log(size) - 1) < 0.02, f'the untrained loss of {name} at depth {depth} is '
                    f'{loss:.3f}; expected ln {size} = {math.log(size):.3f}.')


def no_steps(subject: VisualHeadSubject) -> None:
    """Without any step the sums are 0, and every parameter still gets a gradient, of zeros."""
    head = subject.build()
    found = head.losses(subject.hidden(0), {name: value[:0] for name, value in subject.steps(head).items()})
    total = sum(value.sum() for value in found.sums.values())
    require(not total.detach().any(), f'the losses of no step are {found.sums}.')
    total.backward()
    idle = [name for name, p in head.named_parameters() if p.requires_grad and p.grad is None]
    require(not idle, f'without any step no gradient comes to {", ".join(idle)}; ranks would wait for one another.')


def empty_cells(subject: VisualHeadSubject) -> None:
    """A cell that is `EMPTY` has no loss and counts nothing."""
    head = subject.build().eval()
    codes = subject.steps(head)
    hidden = subject.hidden(len(codes[head.names[0]]))
    first, last = head.names[0], head.names[-1]
    emptied = codes[last].clone()
    emptied[:, -1] = EMPTY
    with torch.no_grad():
        found, whole = head.losses(hidden, {**codes, last: emptied}), head.losses(hidden, codes)
    require(float(found.sums[last][-1]) == 0 and int(found.counts[last][-1]) == 0,
            f'empty cells have the loss {float(found.sums[last][-1])} and count {int(found.counts[last][-1])}.')
    require_same(found.counts[first][:1], whole.counts[first][:1], 'counts of the other cells')


def keeps_some(subject: VisualHeadSubject) -> None:
    """With `keep_share` the counts stay, and one step in two carries gradients to the states."""
    head = subject.build()
    codes = subject.steps(head)
    hidden = subject.hidden(len(codes[head.names[0]])).requires_grad_(True)
    found, whole = head.losses(hidden, codes, 0.5, make_generator(0)), head.losses(hidden, codes)
    for name in head.names:
        require_same(found.counts[name], whole.counts[name], f'counts of {name} with keep_share=0.5')
    sum(value.sum() for value in found.sums.values()).backward()
    kept = int(hidden.grad.any(1).sum())
    require(kept == len(hidden) // 2, f'with keep_share=0.5 {kept} of {format_count(len(hidden), "step")} carry '
                                      'gradients.')


def samples_as_logits(subject: VisualHeadSubject) -> None:
    """Greedy sampling gives the codes whose teacher-forced logits are the largest, and `EMPTY` where a step holds
    none."""
    head = sharpen(subject.build())
    hidden, expanded = subject.hidden(9), head.expand(make_codes(subject.tables, 1, subject.tables.places))
    for step in range(head.count_steps()):
        codes = head.sample(hidden, GREEDY, None, make_generators(9), step)
        logits = head.logits(hidden, codes)
        for name in head.names:
            for depth, one in enumerate(logits[name]):
                drawn = codes[name][:, depth]
                want = one.argmax(1) if expanded[name][0, step, depth] != EMPTY else torch.full_like(drawn, EMPTY)
                require_same(drawn, want, f'codes of {name} at depth {depth} of step {step}')


def rows_alone(subject: VisualHeadSubject) -> None:
    """A row draws the same codes alone, in a batch, and in another order, each with its own generator."""
    head, hidden = sharpen(subject.build(), 3), subject.hidden(7)
    step = head.count_steps() // 2
    codes = head.sample(hidden, PLAIN, None, make_generators(7), step)
    alone = head.sample(hidden[4:5], PLAIN, None, make_generators(7)[4:5], step)
    turned = head.sample(hidden.flip(0), PLAIN, None, make_generators(7)[::-1], step)
    for name in head.names:
        require_same(alone[name], codes[name][4:5], f'codes of {name} alone and in a batch')
        require_same(turned[name].flip(0), codes[name], f'codes of {name} in another order')


def guides(subject: VisualHeadSubject) -> None:
    """Guidance of scale 1 draws what the conditional rows draw alone, of scale 0 what the unconditional rows do."""
    head = sharpen(subject.build(), 3)
    given, none = subject.hidden(5), subject.hidden(5, seed=1)
    step = head.count_steps() // 2
    for scale, rows in ((1, given), (0, none)):
        guided = head.sample(torch.cat([given, none]), PLAIN, Guidance(scale), make_generators(5), step)
        plain = head.sample(rows, PLAIN, None, make_generators(5), step)
        for name in head.names:
            require_same(guided[name], plain[name], f'codes of {name} with the guidance {scale}')


def gradients(subject: VisualHeadSubject) -> None:
    """Finite gradients, not just zeros, reach the states and every trainable parameter."""
    head = subject.build()
    codes = subject.steps(head)
    hidden = subject.hidden(len(codes[head.names[0]])).requires_grad_(True)
    sum(value.sum() for value in head.losses(hidden, codes).sums.values()).backward()
    require_gradient(hidden.grad, 'the states')
    idle = list_idle_parameters(head)
    require(not idle, f'no gradient, zeros, or NaN at {", ".join(idle)}.')


def state_dict(subject: VisualHeadSubject) -> None:
    """The state dict holds what is learned and none of the tokenizer's tables; a pass leaves it alone."""
    head, twin = subject.build(), subject.build(seed=99)
    codes = subject.steps(head)
    hidden, before = subject.hidden(len(codes[head.names[0]])), copy_state(head)
    require(set(before) == {name for name, _ in head.named_parameters()},
            f'the state holds {sorted(before)[:3]}; expected the parameters and nothing else.')
    want = head.eval().losses(hidden, codes)
    require_state(head, before, 'a pass in evaluation')
    twin.load_state_dict(before, strict=True)
    found = twin.eval().losses(hidden, codes)
    for name in head.names:
        require_same(found.sums[name], want.sums[name], 'losses after loading', 1e-4)


def wrong_states(subject: VisualHeadSubject) -> None:
    """States of another width, fewer codes than states, and fewer generators than rows are refused with an
    InputError."""
    head = subject.build()
    codes = subject.steps(head)
    count = len(codes[head.names[0]])
    require_refused(lambda h: head.losses(h, codes), subject.hidden(count)[:, 1:], 'states that are too narrow')
    require_refused(lambda h: head.losses(h, codes), subject.hidden(count)[1:], 'more codes than states')
    require_refused(lambda h: head.sample(h, PLAIN, None, make_generators(2)), subject.hidden(3),
                    'two generators for three rows')


def autocast(subject: VisualHeadSubject) -> None:
    """Under bfloat16 autocast the losses are those without: heads run in float32."""
    head = sharpen(subject.build(), 3)
    codes = subject.steps(head)
    hidden = subject.hidden(len(codes[head.names[0]]))
    want = head.losses(hidden, codes)
    with torch.autocast('cpu', torch.bfloat16):
        found = head.losses(hidden, codes)
    for name in head.names:
        require_same(found.sums[name], want.sums[name], f'losses of {name} under autocast', 1e-6 * len(hidden))


VISUAL_HEAD = Contract('visual_head', 'visual_heads', VisualHeadSubject, index_by_name(
    expands, losses, starts_at_chance, no_steps, empty_cells, keeps_some, samples_as_logits, rows_alone, guides,
    gradients, state_dict, wrong_states, autocast))
