"""What an evaluation costs beside its model: memory over a long synthetic stream, and the metrics' share of the time."""
import time

import torch

from dtbox.evaluation import EvalContext, SetEvaluator
from dtbox.evaluation.fid import FID
from dtbox.memory import Peak, resident_megabytes
from dtbox.registry import METRICS
from dtbox.structures import Batch, TeacherOutput, TokenizerOutput

METRICS_OF = [dict(type='PSNR'), dict(type='SSIM'), dict(type='L1'), dict(type='TokenCosine'), dict(type='CodeUsage'),
              dict(type='ZeroShot', templates=['a photo of a {}'], ks=(1, 5))]
WIDTH, CLASSES, TOKENS, DEPTH, SIZE = 768, 1000, 256, 8, 16384


@METRICS.register_module()
class _StandInFID(FID):
    """FID whose network is one linear layer of `width` features: what is left is what the statistics cost."""

    def __init__(self, width=2048, prefix=''):
        self.width = width
        super().__init__(prefix=prefix)

    def available(self, outputs, batch):
        if 'network' not in self.shared:
            weights = torch.randn(192, self.width, generator=torch.Generator().manual_seed(0))
            self.shared.update(network=lambda images: torch.nn.functional.adaptive_avg_pool2d(images.float(), 8).flatten(1) @ weights, reference=None)
        return super(FID, self).available(outputs, batch)


def stream(images, size, batch_size, captions, tokens=TOKENS, seed=0):
    """Yield (Batch, TokenizerOutput) of random pictures, one made anew for each batch from a few that are kept."""
    rng = torch.Generator().manual_seed(seed)
    real = torch.rand(batch_size, 3, size, size, generator=rng) * 2 - 1
    for start in range(0, images, batch_size):
        n = min(batch_size, images - start)
        made = (real[:n] + 0.1 * torch.randn(n, 1, 1, 1, generator=rng)).clamp(-1, 1)
        features, pooled = torch.randn(n, tokens, WIDTH, generator=rng), torch.randn(n, WIDTH, generator=rng)
        codes = {name: torch.randint(0, SIZE, (n, tokens, DEPTH), generator=rng) for name in ('pixel', 'semantic')}
        keys = [f'picture {start + i:08d}' for i in range(n)]
        texts = [f'caption {start + i}' for i in range(n)] if captions else None
        yield (Batch(images=real[:n], labels=torch.randint(0, CLASSES, (n,), generator=rng), keys=keys, texts=texts, sets=['val'] * n),
               TokenizerOutput(images=real[:n], reconstructions=made, codes=codes, features=dict(semantic=features), pooled=pooled,
                               text_pooled=torch.randn(n, WIDTH, generator=rng) if captions else None,
                               teacher=TeacherOutput(tokens=features, pooled=pooled)))


def measure_stream(images=50000, size=64, batch_size=100, captions=False, tokens=TOKENS, say=print):
    """Feed a synthetic stream to the metrics of ImageNet's protocols; with `captions` retrieval over all of them, too.

    Returns:
        dict: `images`, `megabytes` (peak resident memory above that of the process before), `seconds` of the metrics.
    """
    evaluator = SetEvaluator([*METRICS_OF, dict(type='_StandInFID'), *([dict(type='Retrieval')] if captions else [])])
    vectors = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(1))
    evaluator.setup(EvalContext(classes=[str(i) for i in range(CLASSES)], embed_text=lambda texts: vectors[:len(texts)],
                                vocabularies={name: (DEPTH, [SIZE] * DEPTH) for name in ('pixel', 'semantic')}))
    for batch, outputs in stream(2 * batch_size, size, batch_size, captions, tokens, seed=1):
        pass  # what making the stream takes is not the metrics'
    before, seconds = resident_megabytes(), 0.0
    with Peak() as peak:
        for i, (batch, outputs) in enumerate(stream(images, size, batch_size, captions, tokens)):
            begun = time.perf_counter()
            evaluator.update(batch, outputs)
            seconds += time.perf_counter() - begun
            if i % 100 == 99:
                say(f'{(i + 1) * batch_size:,} of {images:,}')
        begun = time.perf_counter()
        evaluator.results()
        evaluator.samples()
        seconds += time.perf_counter() - begun
    return dict(images=images, megabytes=round(peak.megabytes - before, 1), seconds=round(seconds, 1))


def measure_share(images=16, size=256, batch_size=8):
    """Return (seconds a picture of the metrics, of the model): metrics without FID's and LPIPS's networks, beside a base model and its teacher."""
    from dtbox.registry import MODELS
    encoder = dict(type='TimmViT', name='vit_base_patch16_siglip_256')
    quantizer = dict(type='RQ', size=SIZE, dim=32, depth=DEPTH)
    model = MODELS.build(dict(type='TokenizerTask', tokenizer=dict(
        image_size=size, encoders=dict(trunk=encoder),
        vocabularies=dict(pixel=dict(taps=3, quantizer=quantizer), semantic=dict(taps=11, quantizer=quantizer, reinject=11)),
        decoder=dict(type='CNNDecoder', reads=['pixel']), head=dict(type='TrunkPool')), teacher=dict(encoder=encoder, layer=11))).eval()
    evaluator = SetEvaluator([*METRICS_OF, dict(type='_StandInFID')])
    vectors = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(1))
    evaluator.setup(EvalContext(classes=[str(i) for i in range(CLASSES)], embed_text=lambda texts: vectors[:len(texts)],
                                vocabularies={name: (DEPTH, [SIZE] * DEPTH) for name in ('pixel', 'semantic')}))
    times = dict(model=0.0, metrics=0.0)
    rng = torch.Generator().manual_seed(0)
    for start in range(-batch_size, images, batch_size):
        batch = Batch(images=torch.rand(batch_size, 3, size, size, generator=rng) * 2 - 1,
                      labels=torch.randint(0, CLASSES, (batch_size,), generator=rng), keys=[str(start + i) for i in range(batch_size)])
        begun = time.perf_counter()
        outputs = model.predict(batch)
        middle = time.perf_counter()
        evaluator.update(batch, outputs)
        if start >= 0:  # the first batch warms up
            times['model'] += middle - begun
            times['metrics'] += time.perf_counter() - middle
    return times['metrics'] / images, times['model'] / images
