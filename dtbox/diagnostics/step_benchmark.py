"""One training step of DualToken against a direct implementation of its specification: time and peak memory, each in a process of its own, in turn.

The baseline takes the same networks with the same weights (tokenizer, discriminator, LPIPS) and trains them as the published code does: a separate
teacher, run whole in every step; the text tower kept in memory; distances to all codes as one matrix; codebook statistics by a dense one-hot matrix
[K, vectors]; the adaptive weight by two more backward passes through LPIPS and discriminator; PyTorch's optimizers and the system's allocator as
they come; nothing shared, nothing recomputed.

`baseline_kept` is the same, but keeps freed memory as the Runner does (`dtbox.memory.keep_freed_memory`), which is one line for anybody.
"""
import json
import os
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

from dtbox.errors import InputError
from dtbox.losses.adversarial import adaptive_weight, generator_term, leaky_hinge
from dtbox.memory import Peak, keep_freed_memory
from dtbox.registry import MODELS, TEXTS
from dtbox.structures import Batch
from dtbox.training.optim import build_optim_wrappers

CONTENDERS = ('baseline', 'baseline_kept', 'dtbox', 'cached')
VISION = 'google/siglip2-base-patch16-256'


def recipe(stage, lpips, cache=None, net='vgg', size=256, codes=16384, vision=None):
    """Return (model config, optimizer config) of DualToken at base size, or smaller.

    Args:
        stage: 0 or 1.
        lpips: file of the weights of LPIPS's network `net`.
        cache: folder of the teacher's cache, or None.
        size: pixels.
        codes: of a codebook.
        vision: entries of SigLIP's vision config that differ.
    """
    encoder = dict(type='SigLIP', name=VISION, vision=vision)
    rq = dict(type='RQ', size=codes, dim=32, depth=4)
    teacher = dict(encoder=encoder, layer=11, **(dict(cache=cache) if cache else {}))
    model = dict(
        type='TokenizerTask', teacher=teacher,
        tokenizer=dict(image_size=size, encoders=dict(trunk=encoder), head=dict(type='TrunkPool'),
                       vocabularies=dict(pixel=dict(taps={3: 1.0, 2: 0.6}, quantizer=rq), semantic=dict(taps=11, quantizer=rq, reinject=11)),
                       decoder=dict(type='CNNDecoder', reads=['pixel'], channels=64, multipliers=(1, 1, 2, 2, 4), blocks=2, latent_channels=256,
                                    attention_resolutions=(16,))),
        losses=dict(semantic=dict(type='SemanticLoss', weight=5.0) if stage else None, pooled=dict(type='PooledLoss', weight=1.0 if stage else 5.0),
                    quantizers=dict(type='QuantizerLoss', weight=5.0), pixels=dict(type='L2Loss', weight=5.0),
                    perceptual=dict(type='LPIPSLoss', net=net, weights=lpips)),
        discriminator=dict(type='PatchDiscriminator', width=64) if stage else None,
        adversarial=dict(type='AdversarialLoss', against=('l2', 'lpips')) if stage else None)
    blocks = ['encoders.trunk.trunk.patch_embed.*', 'encoders.trunk.trunk.pos_embed', 'encoders.trunk.trunk.blocks.[0-9].*',
              'encoders.trunk.trunk.blocks.10.*']
    optim = dict(generator=dict(optimizer=dict(type='AdamW', lr=7.2e-5, betas=(0.5, 0.9), weight_decay=1e-4), freeze=[] if stage else blocks))
    if stage:
        optim['discriminator'] = dict(optimizer=dict(type='Adam', lr=7.2e-5, betas=(0.5, 0.9)))
    return model, optim


class Baseline:
    """The direct implementation.

    Args:
        model: TokenizerTask, for its networks and their weights.
        optim: its optimizers.
        stage: 0 or 1.
        text: whether the text tower is in memory; it is never run, as in the published code.
    """

    def __init__(self, model, optim, stage, text=True):
        self.model, self.optim, self.stage = model, optim, stage
        self.text = TEXTS.build(dict(type='SigLIPText', name=VISION)).requires_grad_(False) if text else None

    def quantize(self, quantizer, x):
        """Residual quantization of x [B,N,C] by a shared table, statistics by one-hot: (features, commitment)."""
        book = quantizer.codebooks[0]
        table, residual, total, loss, pairs = book.weight, x.detach().clone(), torch.zeros_like(x), 0.0, []
        for _ in range(len(quantizer.codebook_sizes)):
            flat = residual.reshape(-1, x.shape[-1])
            distances = flat.square().sum(1, keepdim=True) + table.square().sum(1) - 2 * flat @ table.T
            codes = distances.argmin(1)
            found = F.embedding(codes, table).view_as(x)
            pairs.append((flat.clone(), codes))
            residual, total = residual - found, total + found
            loss = loss + (x - total.detach()).square().mean()
        self.update(book, torch.cat([v for v, _ in pairs]), torch.cat([c for _, c in pairs]))
        return x + (total - x).detach(), loss / len(quantizer.codebook_sizes)

    @torch.no_grad()
    def update(self, book, vectors, codes):
        """One update of the averages and of the table (RQ-VAE, arXiv 2203.01941; restart of unused codes)."""
        hot = torch.zeros(book.size, len(codes)).scatter_(0, codes[None], 1.0)
        book.cluster_size.mul_(book.decay).add_(hot.sum(1), alpha=1 - book.decay)
        book.embed_sum.mul_(book.decay).add_(hot @ vectors, alpha=1 - book.decay)
        copies = -(-book.size // len(vectors))
        rows = vectors.repeat(copies, 1)
        rows = (rows + torch.rand_like(rows) * 0.01 / rows.shape[1] ** 0.5)[torch.randperm(len(rows))[:book.size]]
        kept = (book.cluster_size >= 1).float()[:, None]
        book.embed_sum.mul_(kept).add_(rows * (1 - kept))
        book.cluster_size.mul_(kept[:, 0]).add_(1 - kept[:, 0])
        n = book.cluster_size.sum()
        book.weight.copy_(book.embed_sum / (n * (book.cluster_size + 1e-5) / (n + book.size * 1e-5))[:, None])

    def step(self, images):
        """One step on images [B,3,H,W] in [-1,1]; returns dict term -> float."""
        model, tokenizer = self.model, self.model.tokenizer
        trunk, pixel, semantic = tokenizer.encoders['trunk'], tokenizer.vocabularies['pixel'], tokenizer.vocabularies['semantic']
        tokens, hidden = trunk.embed(images), {}
        for layer in range(1, 12):
            tokens = trunk.step(tokens, layer)
            hidden[layer] = tokens
        pre = {v: list(v.projections) for v in (pixel, semantic)}
        z_pixel, loss_pixel = self.quantize(pixel.quantizer, pre[pixel][0](hidden[3]) + 0.6 * pre[pixel][1](hidden[2]))
        z_semantic, loss_semantic = self.quantize(semantic.quantizer, pre[semantic][0](hidden[11]))
        z_semantic = semantic.post_projection(z_semantic)
        pooled = trunk.pool(trunk.step(z_semantic, 12))
        made = tokenizer.decoder(pixel.post_projection(z_pixel))
        with torch.no_grad():
            encoder = model.teacher.encoder
            taught, t11 = encoder.embed(images), None
            for layer in range(1, 13):
                taught = encoder.step(taught, layer)
                t11 = taught if layer == 11 else t11
            t_pool = encoder.pool(taught)

        def distil(a, b):
            return F.mse_loss(a, b) - F.cosine_similarity(a, b, dim=-1).mean()
        l2, network = F.mse_loss(made, images), model.criterion.losses['perceptual']._network[0]
        lpips, commitment = network(made, images).mean(), loss_pixel + loss_semantic
        s_pool = distil(pooled, t_pool)
        total = (5 * distil(z_semantic, t11) + s_pool if self.stage else 5 * s_pool) + 5 * commitment + 5 * l2 + lpips
        if self.stage:
            critic, last = model.discriminator, tokenizer.decoder.last_layer
            critic.requires_grad_(False)
            term = generator_term(critic(made))
            critic.requires_grad_(True)
            sides = [torch.autograd.grad(t, last, retain_graph=True)[0] for t in (l2 + lpips, term)]
            total = total + adaptive_weight(*sides) * 0.75 * term
        self.optim['generator'].optimizer.zero_grad()
        total.backward()
        self.optim['generator'].optimizer.step()
        if self.stage:
            loss = leaky_hinge(critic(images), critic(made.detach()))
            self.optim['discriminator'].optimizer.zero_grad()
            loss.backward()
            self.optim['discriminator'].optimizer.step()
        return dict(l2=float(l2.detach()), lpips=float(lpips.detach()), semantic_pooled=float(s_pool.detach()), total=float(total.detach()))


def work(contender, stage, lpips, cache, steps, batch):
    """What a measuring process does: returns dict(seconds: list, megabytes, first: terms of the first step)."""
    torch.manual_seed(0)
    model_cfg, optim_cfg = recipe(stage, lpips, cache if contender == 'cached' else None)
    direct = contender.startswith('baseline')
    if contender != 'baseline':
        keep_freed_memory()
    for side in optim_cfg.values() if direct else ():
        side['optimizer']['fused'] = False
    model = MODELS.build(model_cfg)
    optim = build_optim_wrappers(model.parts, optim_cfg)
    model.teacher.encoder.load_state_dict(model.tokenizer.encoders['trunk'].state_dict())
    model.train()
    images = torch.randint(0, 256, (batch, 3, 256, 256), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    if direct:
        baseline = Baseline(model, optim, stage)
        def step(): return baseline.step(images.float().div_(127.5).sub_(1.0))
    else:
        def step(): return {k: float(v) for k, v in model.train_step(Batch(images=images), optim).items()}
    seconds, first = [], None
    with Peak() as peak:
        for i in range(steps + 1):
            begun = time.perf_counter()
            terms = step()
            first = first or terms
            seconds += [time.perf_counter() - begun] if i else []
    return dict(seconds=seconds, megabytes=peak.megabytes, first={k: first[k] for k in ('l2', 'lpips', 'semantic_pooled', 'total')})


def measure(folder, stage=1, rounds=3, steps=2, batch=2, say=print):
    """Measure all contenders, in turn.

    Args:
        folder: for the weights of VGG-16 (random: a time does not ask what they are) and the teacher's cache.
        stage: 0 or 1.
        rounds: processes of each contender.
        steps: timed steps of a process; one more warms up, and fills the cache where it is empty.
        batch: pictures.
        say: called with lines of progress.

    Returns:
        dict contender -> list of what `work` returns.
    """
    import torchvision
    lpips, cache = os.path.join(folder, 'vgg16.pth'), os.path.join(folder, 'teacher')
    torch.manual_seed(0)
    torch.save(torchvision.models.vgg16(weights=None).state_dict(), lpips)
    contenders = CONTENDERS if stage else CONTENDERS[:-1]
    found = {name: [] for name in contenders}
    for i in range(rounds):
        for name in contenders:
            args = json.dumps([name, stage, lpips, cache, steps, batch])
            code = f'import json; from dtbox.diagnostics.step_benchmark import work; print(json.dumps(work(*json.loads({args!r}))))'
            done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, check=False)
            if done.returncode:
                raise InputError(f'the measuring process of {name} ended with {done.returncode}: {done.stderr.strip()[-300:]}')
            found[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
            say(f'round {i + 1} of {rounds}, stage {stage}, {name}: {min(found[name][-1]["seconds"]):.2f} s, {found[name][-1]["megabytes"]:,.0f} MB')
    return found
