"""What the ranks do. Every job runs alike in one process: `rank` and `world` say which part of the data is its own.

Imported by fresh processes, so nothing of pytest here.
"""
from dataclasses import replace

import torch

from dtbox.errors import Diverged
from dtbox.evaluation import SetEvaluator
from dtbox.losses.adversarial import AdversarialLoss
from dtbox.registry import MODELS, QUANTIZERS
from dtbox.structures import Batch, TeacherOutput, TokenizerOutput, take
from dtbox.training.muon import MuonAdamW
from dtbox.training.optim import build_optim_wrappers
from dtbox.training.parallel import DDP, FSDP2, gather_shards

BOOK = dict(type='EMACodebook', decay=0.9)
QUANTIZED = {
    'VQ': dict(type='VQ', size=16, dim=4, codebook=BOOK), 'RQ': dict(type='RQ', size=16, dim=4, depth=3, codebook=BOOK),
    'RQ unshared': dict(type='RQ', size=16, dim=4, depth=2, shared=False, codebook=BOOK),
    'RQ with more codes than vectors': dict(type='RQ', size=300, dim=4, depth=2, codebook=BOOK)}
OFFICIAL = {v: dict(type='RQ', size=16, dim=4, depth=3, official=True, variant=v) for v in ('rq', 'rq_ema')}
SPLITS = ((4, 8), (3, 8), (8, 8))
"""Of eight images, where the part of rank 0 and that of rank 1 end; in the last step rank 1 gets nothing."""


def part(values, ends, rank, world):
    """Return the rank's own of `values`; all of it in one process."""
    return values if world == 1 else values[0 if rank == 0 else ends[0]:ends[rank]]


def codebooks(rank, world):
    """Three commits of each quantizer: uneven parts, micro-batches, and a rank that collects nothing. Returns name ->
    states."""
    found = {}
    for name, cfg in QUANTIZED.items():
        torch.manual_seed(1)
        quantizer = QUANTIZERS.build(cfg).train()
        found[name] = []
        for step, ends in enumerate(SPLITS):
            z = part(torch.randn(8, 9, 4, generator=torch.Generator().manual_seed(step)), ends, rank, world)
            for micro in z.split(2):
                quantizer(micro)
            quantizer.commit()
            found[name].append({k: v.clone() for k, v in quantizer.state_dict().items()})
        quantizer.commit()  # no rank has anything
        found[name].append(quantizer.state_dict())
    return found


def official(rank, world):
    """Two training forwards of the published variants, with and without restart. Returns name -> state."""
    found = {}
    for variant, cfg in OFFICIAL.items():
        for restart in (1.0, 0.0):
            torch.manual_seed(1)
            quantizer = QUANTIZERS.build(dict(cfg, codebook=dict(BOOK, restart=restart))).train()
            torch.manual_seed(rank)  # the published restart draws on its own on every rank; rank 0's draw counts
            for step in range(2):
                quantizer(part(torch.randn(8, 9, 4, generator=torch.Generator().manual_seed(step)), (3, 8), rank,
                               world))
                quantizer.commit()
            found[f'{variant} {restart}'] = quantizer.state_dict()
    return found


METRICS = [dict(type=t) for t in ('PSNR', 'SSIM', 'L1', 'TokenCosine', 'CodeUsage', 'Retrieval')]


def metrics(rank, world):
    """Evaluate 11 samples of two sets, of which rank 0 has three. Returns the results."""
    from dtbox.evaluation import EvalContext
    g = torch.Generator().manual_seed(0)
    images = torch.rand(11, 3, 12, 12, generator=g) * 2 - 1
    text = torch.randn(11, 5, generator=g)
    tokens = torch.randn(11, 4, 6, generator=g)
    batch = Batch(images=images, texts=[f'text {i}' for i in range(11)], sets=['concepts'] * 5 + ['variants'] * 6,
                  keys=list(map(str, range(11))))
    outputs = TokenizerOutput(
        images=images, reconstructions=images + 0.2 * torch.randn(11, 3, 12, 12, generator=g), text_pooled=text,
        codes=dict(pixel=torch.randint(0, 16, (11, 4, 2), generator=g),
                   large=torch.randint(0, 1 << 21, (11, 4, 2), generator=g)),
        features=dict(semantic=tokens + torch.randn(11, 4, 6, generator=g)),
        pooled=text + torch.randn(11, 5, generator=g),
        teacher=TeacherOutput(tokens=tokens, pooled=text + torch.randn(11, 5, generator=g)))
    evaluator = SetEvaluator(METRICS)
    evaluator.setup(EvalContext(vocabularies=dict(pixel=(2, [16, 16]), large=(2, [1 << 21] * 2))))
    for index in torch.tensor(part(list(range(11)), (3, 11), rank, world)).split(4):
        evaluator.update(take(batch, index, 11), take(outputs, index, 11))
    return evaluator.results()


def protocol_metrics(rank, world):
    """Evaluate 11 frames of two clips by the metrics of protocols: captions, classes, masks; rank 0 has three of them.
    Returns the results."""
    from dtbox.evaluation import Bank, EvalContext
    from dtbox.structures import Regions
    from tools.benchmarks import evaluation  # noqa: F401  registers a FID without Inception
    g = torch.Generator().manual_seed(0)
    images, pooled = torch.rand(11, 3, 12, 12, generator=g) * 2 - 1, torch.randn(11, 5, generator=g)
    masks = torch.rand(11, 2, 12, 12, generator=g) > 0.5
    batch = Batch(
        images=images, texts=[f'text {i}' for i in range(11)],
        captions=[[f'text {i}', f'words {i}'][:1 + i % 2] for i in range(11)],
        keys=[f'{"ab"[i // 6]}/{i:06d}' for i in range(11)], labels=torch.arange(11) % 3,
        regions=[Regions([i % 3, 0], ['small', 'large'], ['', ''], ['0', '1'], masks[i]) for i in range(11)])
    made = images + 0.2 * torch.randn(11, 3, 12, 12, generator=g)
    outputs = TokenizerOutput(images=images, reconstructions=made, pooled=pooled, last=pooled[:, None],
                              codes=dict(pixel=torch.randint(0, 16, (11, 4, 2), generator=g)),
                              teacher=TeacherOutput(pooled=2 * pooled))

    def embed(texts):
        return torch.stack([torch.randn(5, generator=torch.Generator().manual_seed(sum(t.encode()))) for t in texts])
    evaluator = SetEvaluator([dict(type='_StandInFID', width=16), dict(type='Retrieval'), dict(type='KNN', k=3),
                              dict(type='RegionError'), dict(type='RegionZeroShot'), dict(type='FrameChange')])
    bank = Bank(dict(tokens=pooled + 0.1, teacher=pooled), torch.arange(11) % 3)
    evaluator.setup(EvalContext(classes=['x', 'y', 'z'], embed_text=embed, bank=lambda: bank,
                                pool_regions=dict(tokens=lambda last,
                                                  m: [last[i].expand(len(m[i]), -1) for i in range(len(m))])))
    for index in torch.tensor(part(list(range(11)), (3, 11), rank, world)).split(4):
        evaluator.update(take(batch, index, 11), take(outputs, index, 11))
    evaluator.lose([f'lost on rank {rank}'] if rank == world - 1 else [])
    return replace(evaluator.results(), missing=[]), len(evaluator.results().missing), evaluator.samples()['video_psnr']


def small_model(parts=None, **rest):
    """A DualToken of 16 pixels with its teacher; `parts` of the tokenizer and `rest` of the training are added."""
    encoder = dict(type='TimmViT', name='vit_base_patch16_siglip_224',
                   model_args=dict(embed_dim=32, depth=3, num_heads=2, patch_size=4))
    rq = dict(type='RQ', size=16, dim=8, depth=2, codebook=BOOK)
    torch.manual_seed(2)
    return MODELS.build(dict(
        type='TokenizerTask', teacher=dict(encoder=encoder, layer=2), **rest,
        tokenizer=dict(image_size=16, encoders=dict(trunk=encoder), head=dict(type='TrunkPool'),
                       decoder=dict(type='LightCNNDecoder', reads=['pixel'], width=32), **(parts or {}),
                       vocabularies=dict(pixel=dict(taps={1: 1.0, 0: 0.6}, quantizer=rq),
                                         semantic=dict(taps=2, reinject=2, quantizer=rq)))))


def training(rank, world):
    """Four steps of a small DualToken without discriminator, as the Runner wraps it; before the last one, one with a
    broken picture on the last rank.

    Returns states before and after, the last terms, and why the broken step was refused.
    """
    model = small_model(losses=dict(pixels=dict(type='L2Loss'), absolute=dict(type='L1Loss'),
                                    commitment=dict(type='CommitmentLoss'), tokens=dict(type='SemanticLoss'),
                                    pooled=dict(type='PooledLoss')))
    optim = build_optim_wrappers(model.parts,
                                 dict(generator=dict(optimizer=dict(type='SGD', lr=0.5), clip_grad=dict(max_norm=1.0))))
    DDP().wrap(model, optim)
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for step in range(4):
        images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(step)) * 2 - 1
        if step == 3:
            refused = broken_step(model, optim, part(images, (4, 8), rank, world), rank == world - 1)
        logs = model.train_step(Batch(images=part(images, (4, 8), rank, world)), optim)
    return dict(before=before, state=dict(model.state_dict()), logs={k: float(v) for k, v in logs.items()},
                refused=refused)


def balances(rank, world):
    """Adaptive weights of gradients on a rank's part of a batch, parts of 3 and 5: global, and of each rank by
    itself."""
    torch.manual_seed(4)
    gradients = [part(torch.randn(8, 6), (3, 8), rank, world) for _ in range(2)]
    losses = [AdversarialLoss(adaptive=(0.0, 1e4), per_rank=alone) for alone in (False, True)]
    return [float(loss.balance(*(g.mean(0) for g in gradients), batch_weight=len(gradients[0]) * world / 8))
            for loss in losses]


GAN_SPLITS = {1: [(8,)] * 3, 2: [(4, 8), (3, 8), (8, 8)], 4: [(2, 4, 6, 8), (1, 3, 4, 8), (0, 1, 1, 8)]}
"""World -> of eight images, where the part of each rank ends, step by step; single ranks get nothing."""


def adversarial(rank, world, fsdp=False):
    """Three steps of a DualToken with discriminator, global adaptive weight, and texts that all ranks compare; parts
    are uneven, some empty.

    Before the second, one with a broken picture on the last rank. Returns the state before and after, the logs of each
    step with the weight of this rank's means, and why the broken step was refused.
    """
    text = dict(type='MeanPoolText', embed_dim=32, width=32, depth=1, heads=2,
                tokenizer=dict(type='FileTokenizer', file='dtbox://siglip-tiny-twemoji/tokenizer.json',
                               context_length=16))
    model = small_model(
        dict(text=text), gan=dict(discriminator=dict(type='PatchDiscriminator', width=32),
                                  adversarial=dict(type='AdversarialLoss', against=('l2',), adaptive=(0.0, 1e4))),
        losses=dict(pixels=dict(type='L2Loss', weight=5.0), commitment=dict(type='CommitmentLoss'),
                    tokens=dict(type='SemanticLoss'), pooled=dict(type='PooledLoss'),
                    sigmoid=dict(type='SigmoidContrastiveLoss', weight=0.3)))
    sgd = dict(optimizer=dict(type='SGD', lr=0.1), clip_grad=dict(max_norm=1.0))
    optim = build_optim_wrappers(model.parts, dict(generator=sgd, discriminator=sgd))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    (FSDP2() if fsdp else DDP()).wrap(model, optim)
    model.train()
    rows, texts = [], [f'a {w} face' for w in ('happy', 'sad', 'red', 'blue', 'happy', 'dog', 'cat', 'sun')]
    for step, ends in enumerate(GAN_SPLITS[world]):
        images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(step)) * 2 - 1
        own = slice(ends[rank - 1] if rank else 0, ends[rank])
        if step == 1:
            refused = broken_step(model, optim, images[own], rank == world - 1, texts[own])
        logs = model.train_step(Batch(images=images[own], texts=texts[own]), optim)
        rows.append((model.batch_weight, {k: float(v) for k, v in logs.items()}))
    return dict(before=before, state=gather_shards(model.state_dict()) if fsdp else dict(model.state_dict()),
                logs=rows, refused=refused)


def broken_step(model, optim, images, broken, texts=None):
    """A step whose pictures hold NaN where `broken`; returns why it was refused."""
    images = images.clone()
    if broken:
        images[0] = float('nan')
    try:
        model.train_step(Batch(images=images, texts=texts), optim)
    except Diverged as e:
        return str(e)
    return ''


def muon(rank, world):
    """Three steps of MuonAdamW on matrices of odd sizes, sharded where there are more ranks; returns the weights."""
    from torch.distributed.fsdp import fully_shard
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 3))
    images = torch.randn(4, 6)
    if world > 1:
        fully_shard(module)
    optimizer = MuonAdamW(module.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        module(images).square().sum().backward()
        optimizer.step()
    return gather_shards(dict(module.state_dict()))
