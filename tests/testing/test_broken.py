"""The suite finds what it looks for: for every check a quantizer with one fault, which fails that check and no other.
"""
import pytest
import torch
import torch.distributed as dist
import torch.nn as nn

from dtbox.quantizers.base import in_backward
from dtbox.quantizers.vq import VQ
from dtbox.structures import QuantizerOutput
from dtbox.testing import CONTRACTS, run_checks

ARGS = dict(size=16, dim=4, codebook=dict(type='EMACodebook', decay=0.9))
BROKEN = {}
"""Name of a check -> the quantizer that fails it."""


def breaks(check):
    """Put a class into `BROKEN`."""
    return lambda cls: BROKEN.setdefault(check, cls)


def changed(out, features=None, codes=None, losses=None):
    return QuantizerOutput(out.features if features is None else features, out.codes if codes is None else codes,
                           losses or out.losses)


@breaks('sizes')
class FloatSizes(VQ):
    def __init__(self, **args):
        super().__init__(**args)
        self.codebook_sizes = [float(n) for n in self.codebook_sizes]


@breaks('shapes')
class ShortCodes(VQ):
    def forward(self, z):
        out = super().forward(z)
        return changed(out, codes=out.codes.int())


@breaks('dtypes')
class AlwaysFloat32(VQ):
    def forward(self, z):
        out = super().forward(z)
        return changed(out, out.features.float())


@breaks('decode_equals_forward')
class OtherDecoder(VQ):
    def decode(self, codes):
        return super().decode(codes) + 1e-3


@breaks('code_range')
class CodeForTooLarge(VQ):
    """Far features get the code behind the last one."""

    def codes(self, z, codes):
        return torch.where(z.abs().amax(-1, keepdim=True) > 100, self.codebook_sizes[0], codes)

    def forward(self, z):
        out = super().forward(z)
        return changed(out, codes=self.codes(z, out.codes))

    @torch.no_grad()
    def encode(self, z):
        return self.codes(z, super().encode(z))


@breaks('codes_stand_alone')
class SeesNeighbours(VQ):
    def smooth(self, z):
        return z.float() + 0.3 * z.float().mean(1, keepdim=True)

    def forward(self, z):
        out = super().forward(self.smooth(z))
        return changed(out, out.features.to(z.dtype))

    def encode(self, z):
        return super().encode(self.smooth(z))


@breaks('autocast')
class SearchesInHalf(VQ):
    def forward(self, z):
        return super().forward(z.bfloat16().float() if torch.is_autocast_enabled('cpu') else z)


@breaks('losses')
class MeanOfNothing(VQ):
    def forward(self, z):
        out = super().forward(z)
        return changed(out, losses=dict(commitment=(z - out.features.detach()).float().pow(2).mean()))


@breaks('copies')
class KeepsTheLastOutput(VQ):
    def forward(self, z):
        self.last = super().forward(z)
        return self.last


@breaks('settles')
class OtherInTraining(VQ):
    def forward(self, z):
        out = super().forward(z)
        return changed(out, out.features + 0.01 * self.training)


@breaks('empty_batches')
class LooksAtTheLargestCode(VQ):
    def decode(self, codes):
        self.check_codes(codes)
        self.largest = int(codes.max())
        return super().decode(codes)


@breaks('refuses_non_finite')
class TakesAnything(VQ):
    def check(self, z):
        super().check(torch.zeros_like(z))


@breaks('refuses_wrong_shapes')
class LeavesShapesToTorch(VQ):
    def check(self, z):
        super().check(z.reshape(1, -1, 1).expand(-1, -1, self.dim))


@breaks('refuses_wrong_codes')
class TakesAnyCode(VQ):
    def check_codes(self, codes):
        pass


@breaks('gradient_reaches_input')
class Cut(VQ):
    smooth = None

    def forward(self, z):
        out = super().forward(z)
        return changed(out, out.features.detach())


@breaks('straight_through')
class Doubled(VQ):
    def forward(self, z):
        out = super().forward(z)
        return changed(out, out.features + (z - z.detach()))


@breaks('parameters_get_gradient')
class Idle(VQ):
    def __init__(self, **args):
        super().__init__(**args)
        self.scale = nn.Parameter(torch.ones(4))


@breaks('encode_builds_no_graph')
class EncodesWithGradient(VQ):
    def encode(self, z):
        return super().encode(z + 0 * z.pow(2))


@breaks('checkpointing')
class CollectsTwice(VQ):
    def forward(self, z):
        out = super().forward(z)
        if in_backward():
            self.codebook.collect(z[None], out.codes[None, ..., 0])
        return out


class Counts(VQ):
    """Keeps one more number in its state."""

    def __init__(self, **args):
        super().__init__(**args)
        self.register_buffer('seen', torch.zeros(()))


@breaks('evaluation_leaves_state')
class CountsEvaluations(Counts):
    def forward(self, z):
        self.seen += not self.training
        return super().forward(z)


@breaks('forward_leaves_state')
class CountsAtOnce(Counts):
    def forward(self, z):
        self.seen.fill_(float(self.training))
        return super().forward(z)

    def commit(self):
        self.seen.zero_()
        super().commit()

    def discard(self):
        self.seen.zero_()
        super().discard()


@breaks('skipped_step')
class DiscardsAllButTheLast(VQ):
    def discard(self):
        self.codebook.pending = self.codebook.pending[-1:]


@breaks('reproducible')
class Dithers(VQ):
    def forward(self, z):
        out, generator = super().forward(z), torch.Generator()
        generator.seed()
        return changed(out, out.features + 1e-5 * self.training * torch.rand(z.shape, generator=generator).to(z.dtype))


@breaks('state_dict')
class CountsInPython(VQ):
    """The decay changes after four updates, and nothing of that is saved."""
    steps = 0

    def commit(self):
        self.steps += bool(self.codebook.pending)
        self.codebook.decay = 0.9 if self.steps <= 4 else 0.5
        super().commit()


@breaks('accumulation')
class KeepsFourMicroBatches(VQ):
    def commit(self):
        self.codebook.pending = self.codebook.pending[-4:]
        super().commit()


@breaks('memory')
class Hoards(VQ):
    def forward(self, z):
        self.hoard = [*getattr(self, 'hoard', []), z.detach().clone()]
        return super().forward(z)


@breaks('two_ranks')
class DrawsByRank(VQ):
    def commit(self):
        self.codebook.seed = dist.get_rank() if dist.is_initialized() else 0
        super().commit()


class HoardsGraphs(VQ):
    """A sum over all steps drags every step's graph along."""

    def forward(self, z):
        out = super().forward(z)
        self.total = getattr(self, 'total', 0) + (out.losses['commitment'] * out.features.mean()).pow(2)
        return out


@pytest.mark.parametrize('check', CONTRACTS['quantizer'].checks)
def test_one_fault_fails_one_check(check):
    slow = {'settles'} - {check}  # 200 steps, for the fault of its own only
    failed = {r.name: r.detail for r in run_checks(dict(type=BROKEN[check], **ARGS), skip=slow) if r.status == 'fails'}
    assert failed.keys() == {check}, failed
    assert not failed[check].startswith('raised') or check in ('copies', 'empty_batches'), failed


def test_nan_in_features_is_found():
    class Infected(VQ):
        def forward(self, z):
            out = super().forward(z)
            return changed(out, out.features * float('nan'))
    result, = run_checks(dict(type=Infected, **ARGS), only=['shapes'])
    assert result.status == 'fails' and 'NaN or infinite' in result.detail


def test_what_only_the_graph_holds_is_found():
    assert [r.status for r in run_checks(dict(type=HoardsGraphs, **ARGS), only=['memory'])] == ['fails']
