"""What an evaluation costs beside its model: memory over a long synthetic stream, and the metrics' fraction of the
time.

    python tools/benchmarks/evaluation.py [--images 50000] [--captions]
"""
from __future__ import annotations

import argparse
import time
from typing import Callable, Iterator

import torch

from dtbox.cli.guard import main_guard
from dtbox.errors import InputError
from dtbox.evaluation import EvalContext, SetEvaluator
from dtbox.evaluation.fid import FID
from dtbox.memory import Peak, measure_resident_megabytes
from dtbox.registry import METRICS, MODELS
from dtbox.structures import Batch, TeacherOutput, TokenizerOutput

METRICS_OF = [dict(type='PSNR'), dict(type='SSIM'), dict(type='L1'), dict(type='TokenCosine'), dict(type='CodeUsage'),
              dict(type='ZeroShot', templates=['a photo of a {}'], ks=(1, 5))]
WIDTH, CLASSES = 768, 1000
TOKENS, DEPTH = 256, 8
SIZE = 16384
"""Codes of a codebook."""


@METRICS.register_module()
class _StandInFID(FID):
    """FID whose network is one linear layer of `width` features: what is left is what the statistics cost."""

    def __init__(self, width: int = 2048, prefix: str = '') -> None:
        self.width = width
        super().__init__(prefix=prefix)

    def available(self, outputs: TokenizerOutput, batch: Batch) -> object:
        """Set up the network where there is none."""
        if 'network' not in self.shared:
            weights = torch.randn(192, self.width, generator=torch.Generator().manual_seed(0))

            def network(images: torch.Tensor) -> torch.Tensor:
                return torch.nn.functional.adaptive_avg_pool2d(images.float(), 8).flatten(1) @ weights
            self.shared.update(network=network, reference=None)
        return super(FID, self).available(outputs, batch)


def make_stream(images: int, size: int, batch_size: int, captions: bool, tokens: int = TOKENS,
                seed: int = 0) -> Iterator[tuple[Batch, TokenizerOutput]]:
    """Yield (Batch, TokenizerOutput) of random images, each batch derived from a few images that are kept."""
    rng = torch.Generator().manual_seed(seed)
    real = torch.rand(batch_size, 3, size, size, generator=rng) * 2 - 1
    for start in range(0, images, batch_size):
        n = min(batch_size, images - start)
        reconstructions = (real[:n] + 0.1 * torch.randn(n, 1, 1, 1, generator=rng)).clamp(-1, 1)
        features, pooled = torch.randn(n, tokens, WIDTH, generator=rng), torch.randn(n, WIDTH, generator=rng)
        codes = {name: torch.randint(0, SIZE, (n, tokens, DEPTH), generator=rng) for name in ('pixel', 'semantic')}
        keys = [f'image {start + i:08d}' for i in range(n)]
        texts = [f'caption {start + i}' for i in range(n)] if captions else None
        labels = torch.randint(0, CLASSES, (n,), generator=rng)
        text_pooled = torch.randn(n, WIDTH, generator=rng) if captions else None
        yield (Batch(images=real[:n], labels=labels, keys=keys, texts=texts, sets=['val'] * n),
               TokenizerOutput(images=real[:n], reconstructions=reconstructions, codes=codes,
                               features=dict(semantic=features), pooled=pooled, text_pooled=text_pooled,
                               teacher=TeacherOutput(tokens=features, pooled=pooled)))


def build_evaluator(captions: bool = False) -> SetEvaluator:
    """Return the metrics of ImageNet's protocols, with retrieval where there are captions."""
    evaluator = SetEvaluator([*METRICS_OF, dict(type='_StandInFID'), *([dict(type='Retrieval')] if captions else [])])
    vectors = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(1))
    evaluator.setup(EvalContext(
        classes=[str(i) for i in range(CLASSES)], embed_text=lambda texts: vectors[:len(texts)],
        vocabularies={name: (DEPTH, [SIZE] * DEPTH) for name in ('pixel', 'semantic')}))
    return evaluator


def measure_stream(images: int = 50000, size: int = 64, batch_size: int = 100, captions: bool = False,
                   tokens: int = TOKENS, say: Callable[[str], None] = print) -> dict:
    """Feed a synthetic stream to the metrics of ImageNet's protocols; with `captions` retrieval over all of them, too.

    Returns:
        dict: `images`, `megabytes` (peak resident memory above that before), `seconds` of the metrics.
    """
    evaluator = build_evaluator(captions)
    for batch, outputs in make_stream(2 * batch_size, size, batch_size, captions, tokens, seed=1):
        pass  # what the stream itself takes does not count
    before, seconds = measure_resident_megabytes(), 0.0
    with Peak() as peak:
        for i, (batch, outputs) in enumerate(make_stream(images, size, batch_size, captions, tokens)):
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


def measure_fraction(images: int = 16, size: int = 256, batch_size: int = 8) -> tuple[float, float]:
    """Return (seconds an image of the metrics, of the model).

    The metrics do not run the networks of FID and LPIPS; the model has base size and runs its teacher.
    """
    encoder = dict(type='TimmViT', name='vit_base_patch16_siglip_256')
    quantizer = dict(type='RQ', size=SIZE, dim=32, depth=DEPTH)
    vocabularies = dict(pixel=dict(taps=3, quantizer=quantizer),
                        semantic=dict(taps=11, quantizer=quantizer, reinject=11))
    tokenizer = dict(image_size=size, encoders=dict(trunk=encoder), vocabularies=vocabularies,
                     decoder=dict(type='CNNDecoder', reads=['pixel']), head=dict(type='TrunkPool'))
    model = MODELS.build(dict(type='TokenizerTask', tokenizer=tokenizer,
                              teacher=dict(encoder=encoder, layer=11))).eval()
    evaluator = build_evaluator()
    times = dict(model=0.0, metrics=0.0)
    rng = torch.Generator().manual_seed(0)
    for start in range(-batch_size, images, batch_size):
        batch = Batch(images=torch.rand(batch_size, 3, size, size, generator=rng) * 2 - 1,
                      labels=torch.randint(0, CLASSES, (batch_size,), generator=rng),
                      keys=[str(start + i) for i in range(batch_size)])
        begun = time.perf_counter()
        outputs = model.predict(batch)
        middle = time.perf_counter()
        evaluator.update(batch, outputs)
        if start >= 0:  # the first batch warms up
            times['model'] += middle - begun
            times['metrics'] += time.perf_counter() - middle
    return times['metrics'] / images, times['model'] / images


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description='Feed a synthetic stream to the metrics and print the memory that they hold; run a base model and '
                    'print '
                    "the metrics' fraction of its time. Use an idle machine.")
    parser.add_argument('--images', type=int, default=50000, metavar='N', help='images of the stream (default: 50000)')
    parser.add_argument('--size', type=int, default=64, metavar='N',
                        help='their side in pixels, which does not change what is kept (default: 64)')
    parser.add_argument('--tokens', type=int, default=256, metavar='N',
                        help='tokens an image, which are not kept either (default: 256)')
    parser.add_argument('--captions', action='store_true', help='retrieval over a caption for each image, too')
    parser.add_argument('--only', choices=['memory', 'share'], help='one of the two measurements')
    args = parser.parse_args(argv)
    if args.images < 2 or args.size < 11 or args.tokens < 1:
        raise InputError('--images must be at least 2, --size at least 11, --tokens at least 1.')
    if args.only != 'share':
        result = measure_stream(args.images, args.size, captions=args.captions, tokens=args.tokens)
        print(f'{result["images"]:,} images: the metrics held {result["megabytes"]:,.0f} MB at most and took '
              f'{result["seconds"]:,.0f} s')
    if args.only != 'memory':
        metrics, model = measure_fraction()
        print(f'at 256 pixels, base size: metrics {metrics:.3f} s, model and teacher {model:.3f} s an image: '
              f'{metrics / model:.1%}')


if __name__ == '__main__':
    main()
