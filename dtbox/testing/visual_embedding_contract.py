"""The contract of visual embeddings (see `dtbox.visual_embeddings.base`).

Legend: M images, N places, Q codes per place, H width of the language model.
"""
from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dtbox.counts import format_count
from dtbox.registry import VISUAL_EMBEDDINGS
from dtbox.testing.contract import Contract, index_by_name
from dtbox.testing.subject import (
    Subject,
    copy_state,
    list_idle_parameters,
    make_generator,
    require,
    require_floats,
    require_refused,
    require_same,
    require_state,
)
from dtbox.testing.visual_subject import WIDTH, change, make_codes, make_tables
from dtbox.visual_embeddings.base import VisualEmbedding

TOLERANCE = 1e-5
"""Largest difference between an image alone and in a batch, and between steps and a pass."""


def read_features(codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Features of a tokenizer whose projection is causal: the mean over the places so far of a table's rows."""
    found = {}
    for name, value in codes.items():
        rows = torch.randn(10, 8, generator=make_generator(len(name)))[value].sum(-2)
        found[name] = rows.cumsum(1) / torch.arange(1, value.shape[1] + 1)[:, None]
    return found


class VisualEmbeddingSubject(Subject):
    """A visual embedding under test."""
    registry, base = VISUAL_EMBEDDINGS, VisualEmbedding
    tables = make_tables()
    defaults = dict(tables=tables, width=WIDTH, features=read_features)

    def codes(self, m: int = 2, seed: int = 0) -> dict[str, Tensor]:
        """Return codes of m images, stream -> [m,N,Q]."""
        return make_codes(self.tables, m, self.tables.places, seed=seed)


def shape(subject: VisualEmbeddingSubject) -> None:
    """The output is a finite float32 [M, N, H], in training and in evaluation, for no images as well."""
    for training in (True, False):
        embedding = subject.build().train(training)
        for m in (0, 1, 3):
            require_floats(embedding(subject.codes(m)), (m, subject.tables.places, WIDTH),
                           f'inputs of {format_count(m, "image")}')


def stands_alone(subject: VisualEmbeddingSubject) -> None:
    """In evaluation the inputs of an image do not depend on the rest of the batch."""
    embedding, codes = subject.build().eval(), subject.codes(4)
    out = embedding(codes)
    require_same(embedding({name: value[2:3] for name, value in codes.items()}), out[2:3],
                 'an image alone and in a batch', TOLERANCE)


def token_local(subject: VisualEmbeddingSubject) -> None:
    """Where `token_local` is set, a code changes its own place and no other one; else no earlier place, or
    `check_causal` refuses."""
    embedding, codes = subject.build().eval(), subject.codes()
    out = embedding(codes)
    if not embedding.token_local:
        embedding.check_causal()
    for name in embedding.names:
        for depth, size in enumerate(subject.tables.sizes[name]):
            other = embedding(change(codes, name, (1, 3, depth), size))
            moved = (out != other).any(-1)
            require(moved[1, 3], f'another code of {name} at depth {depth} changes nothing at its place.')
            stays = moved[:, :3] if not embedding.token_local else moved[:, [0, 1, 2, 4, 5]]
            require(not moved[0].any() and not stays.any(),
                    f'another code of {name} at depth {depth} of place 3 changes the places '
                    f'{moved.nonzero().tolist()} (image, place).')


def steps(subject: VisualEmbeddingSubject) -> None:
    """`step`, place after place, gives what `forward` gives for all places at once."""
    embedding, codes = subject.build().eval(), subject.codes(3)
    want, cache = embedding(codes), embedding.make_cache(3)
    for place in range(subject.tables.places):
        one = {name: value[:, place:place + 1] for name, value in codes.items()}
        require_same(embedding.step(one, cache), want[:, place:place + 1], f'place {place} by `step` and by `forward`',
                     TOLERANCE)


def gradients(subject: VisualEmbeddingSubject) -> None:
    """Finite gradients, not just zeros, reach every trainable parameter."""
    embedding = subject.build()
    out = embedding(subject.codes(4))
    (out * torch.randn(out.shape, generator=make_generator(1))).sum().backward()
    idle = list_idle_parameters(embedding)
    require(not idle, f'no gradient, zeros, or NaN at {", ".join(idle)}.')


def state_dict(subject: VisualEmbeddingSubject) -> None:
    """The state dict holds what is learned and none of the tokenizer's tables; a pass leaves it alone."""
    embedding, twin = subject.build(), subject.build(seed=99)
    codes = subject.codes()
    before = copy_state(embedding)
    names = {name for name, _ in embedding.named_parameters()}
    require(not {name for name in before if name.startswith('tables.')},
            'the state holds the tables, which belong to the tokenizer.')
    require(names <= set(before), f'the state lacks {sorted(names - set(before))[:3]}.')
    want = embedding.eval()(codes)
    require_state(embedding, before, 'a pass in evaluation')
    twin.load_state_dict(before, strict=True)
    require_same(twin.eval()(codes), want, 'inputs after loading', 1e-6)


def wrong_codes(subject: VisualEmbeddingSubject) -> None:
    """Codes without a stream that is read, and of another number of depths, are refused with an InputError."""
    embedding, codes = subject.build(), subject.codes()
    name = embedding.names[-1]
    require_refused(embedding, {k: v for k, v in codes.items() if k != name}, f'codes without {name}')
    require_refused(embedding, {**codes, name: codes[name][..., 1:]}, f'codes of {name} with one depth too few')


def autocast(subject: VisualEmbeddingSubject) -> None:
    """Under bfloat16 autocast the output is finite and has the same shape."""
    with torch.autocast('cpu', torch.bfloat16):
        out = subject.build()(subject.codes())
    want = (2, subject.tables.places, WIDTH)
    require(out.shape == want and out.isfinite().all(),
            f'under autocast the output is {list(out.shape)}; expected {list(want)}, all finite.')


VISUAL_EMBEDDING = Contract('visual_embedding', 'visual_embeddings', VisualEmbeddingSubject, index_by_name(
    shape, stands_alone, token_local, steps, gradients, state_dict, wrong_codes, autocast))
