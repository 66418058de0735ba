"""How likely the codes of held-out images are to a multimodal language model, with and without the prompt."""
from __future__ import annotations

from typing import Any

import torch

from dtbox.evaluation.base import Metric
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.means import Means
from dtbox.registry import METRICS
from dtbox.structures import Batch, take

GIVEN, WITHOUT = 'nats', 'nats_without'


def take_drawn(metric: Metric, outputs: Any) -> tuple[Any, torch.Tensor]:
    """Return what was drawn of a batch, and its rows [M]: where a set holds drawings and questions, those with a
    prompt. The metric counts the others as left out."""
    size = len(outputs.images)
    prompts = getattr(outputs, 'prompts', None) or ['?'] * size  # a TokenizerOutput has none
    index = torch.tensor([i for i, prompt in enumerate(prompts) if prompt], dtype=torch.int64)
    if len(index) == size:
        return outputs, index
    metric.leave_out('samples that are not drawn', size - len(index))
    metric.add('images', torch.tensor(len(index) - size))
    return take(outputs, index, size), index


@METRICS.register_module()
class CodeLikelihood(Means):
    """`nats/NAME`: -log p of the true codes of a stream given the prompt, in nats a code, mean over places, depths and
    images; `nats_without/NAME`: the same without the prompt; `prompt_gain/NAME`: the second less the first, what the
    prompt tells, 0 for one that tells nothing. Each also for single depths, as `.../NAME/depthI`.
    """
    info = [MetricInfo('nats/{stream}', 'nats a code', '', '.3f', 'lower', 'drawing', order=10,
                       beside=[('without prompt', 'nats_without/{stream}')], of_codes=True),
            MetricInfo('nats_without/{stream}', 'nats without prompt', '', '.3f', 'lower', 'drawing', order=11,
                       of_codes=True),
            MetricInfo('prompt_gain/{stream}', 'nats saved by prompt', '', '.3f', 'higher', 'drawing', order=12,
                       headline=14, of_codes=True)]
    requires = ('nats',)
    uses = ('nats_without',)

    def update(self, batch: Batch, outputs: Any) -> None:
        """See Metric."""
        outputs, index = take_drawn(self, outputs)
        kinds = {GIVEN: outputs.nats, WITHOUT: outputs.nats_without or {}}
        kinds['prompt_gain'] = {name: value.double() - outputs.nats[name].double()
                                for name, value in kinds[WITHOUT].items() if name in outputs.nats}
        for kind, streams in kinds.items():
            for name, nats in streams.items():  # [B,Q]
                self.note(f'{kind}/{name}', nats.double().mean(dim=1), index)
                self.add(f'{kind}/{name}|depths', torch.cat([nats.double().sum(dim=0), nats.new_tensor([len(nats)])]))

    def values(self) -> dict[str, float]:
        """See Metric."""
        values = self.means()
        for key, sums in self.state.items():
            name, _, what = key.partition('|')
            if what == 'depths':
                values.update({f'{name}/depth{d}': float(total / sums[-1]) for d, total in enumerate(sums[:-1])})
        return values
