"""A direct implementation of DualToken's training step, and the recipe that it is compared on.

It takes the same networks with the same weights (tokenizer, discriminator, LPIPS) and trains them as the published code
does: a separate teacher, run whole in every step; the text tower kept in memory; distances to all codes as one matrix;
codebook statistics by a dense one-hot matrix [K, vectors]; the adaptive weight by two more backward passes through
LPIPS and discriminator; PyTorch's optimizers and the system's allocator as they come; nothing shared, nothing
recomputed.
"""
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from dtbox.losses.adversarial import adaptive_weight, generator_term, leaky_hinge
from dtbox.registry import TEXTS

VISION = 'google/siglip2-base-patch16-256'


def build_recipe(stage: int, lpips: str, cache: str | None = None, net: str = 'vgg', size: int = 256,
                 codes: int = 16384, vision: dict | None = None) -> tuple[dict, dict]:
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
    decoder = dict(type='CNNDecoder', reads=['pixel'], channels=64, multipliers=(1, 1, 2, 2, 4), blocks=2,
                   latent_channels=256, attention_resolutions=(16,))
    vocabularies = dict(pixel=dict(taps={3: 1.0, 2: 0.6}, quantizer=rq),
                        semantic=dict(taps=11, quantizer=rq, reinject=11))
    losses = dict(semantic=dict(type='SemanticLoss', weight=5.0) if stage else None,
                  pooled=dict(type='PooledLoss', weight=1.0 if stage else 5.0),
                  quantizers=dict(type='QuantizerLoss', weight=5.0), pixels=dict(type='L2Loss', weight=5.0),
                  perceptual=dict(type='LPIPSLoss', net=net, weights=lpips))
    model = dict(
        type='TokenizerTask', teacher=teacher, losses=losses,
        tokenizer=dict(image_size=size, encoders=dict(trunk=encoder), head=dict(type='TrunkPool'),
                       vocabularies=vocabularies, decoder=decoder),
        gan=dict(discriminator=dict(type='PatchDiscriminator', width=64),
                 adversarial=dict(type='AdversarialLoss', against=('l2', 'lpips'))) if stage else None)
    blocks = ['encoders.trunk.trunk.patch_embed.*', 'encoders.trunk.trunk.pos_embed',
              'encoders.trunk.trunk.blocks.[0-9].*', 'encoders.trunk.trunk.blocks.10.*']
    adam = dict(type='AdamW', lr=7.2e-5, betas=(0.5, 0.9), weight_decay=1e-4)
    optim = dict(generator=dict(optimizer=adam, freeze=[] if stage else blocks))
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
        half: autocast of networks and losses to bfloat16; the search stays in float32, as dtbox's.
    """

    def __init__(self, model: torch.nn.Module, optim: Any, stage: int, text: bool = True,
                 half: bool = False) -> None:
        self.model, self.optim = model, optim
        self.stage, self.half = stage, half
        self.text = TEXTS.build(dict(type='SigLIPText', name=VISION)).requires_grad_(False) if text else None

    def quantize(self, quantizer: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Residual quantization of x [B,N,C] by a shared table, statistics by one-hot: (features, commitment)."""
        with torch.autocast(x.device.type, enabled=False):
            return self._quantize(quantizer, x.float())

    def _quantize(self, quantizer: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        book = quantizer.codebooks[0]
        table, residual = book.weight, x.detach().clone()
        total, loss = torch.zeros_like(x), 0.0
        pairs = []
        for _ in range(len(quantizer.codebook_sizes)):
            flat = residual.reshape(-1, x.shape[-1])
            distances = flat.square().sum(1, keepdim=True) + table.square().sum(1) - 2 * flat @ table.T
            codes = distances.argmin(1)
            nearest = F.embedding(codes, table).view_as(x)
            pairs.append((flat.clone(), codes))
            residual, total = residual - nearest, total + nearest
            loss = loss + (x - total.detach()).square().mean()
        self.update(book, torch.cat([v for v, _ in pairs]), torch.cat([c for _, c in pairs]))
        return x + (total - x).detach(), loss / len(quantizer.codebook_sizes)

    @torch.no_grad()
    def update(self, book: torch.nn.Module, vectors: torch.Tensor, codes: torch.Tensor) -> None:
        """One update of the averages and of the table (RQ-VAE, arXiv 2203.01941; restart of unused codes)."""
        hot = torch.zeros(book.size, len(codes), device=codes.device).scatter_(0, codes[None], 1.0)
        book.cluster_size.mul_(book.decay).add_(hot.sum(1), alpha=1 - book.decay)
        book.embed_sum.mul_(book.decay).add_(hot @ vectors, alpha=1 - book.decay)
        copies = -(-book.size // len(vectors))
        rows = vectors.repeat(copies, 1)
        order = torch.randperm(len(rows), device=rows.device)[:book.size]
        rows = (rows + torch.rand_like(rows) * 0.01 / rows.shape[1] ** 0.5)[order]
        kept = (book.cluster_size >= 1).float()[:, None]
        book.embed_sum.mul_(kept).add_(rows * (1 - kept))
        book.cluster_size.mul_(kept[:, 0]).add_(1 - kept[:, 0])
        n = book.cluster_size.sum()
        book.weight.copy_(book.embed_sum / (n * (book.cluster_size + 1e-5) / (n + book.size * 1e-5))[:, None])

    def step(self, images: torch.Tensor) -> dict[str, float]:
        """Run one step on images [B,3,H,W] in [-1,1]; return dict term -> float."""
        with self.autocast(images):
            reconstructions, terms = self.compute_objective(images)
        self.update_weights('generator', terms['total'])
        if self.stage:
            discriminator = self.model.discriminator
            with self.autocast(images):
                loss = leaky_hinge(discriminator(images), discriminator(reconstructions.detach()))
            self.update_weights('discriminator', loss)
        return {name: float(term.detach()) for name, term in terms.items()}

    def autocast(self, images: torch.Tensor) -> torch.autocast:
        """Return the autocast context of a step, on the device of its images."""
        return torch.autocast(images.device.type, torch.bfloat16, enabled=self.half)

    def compute_objective(self, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return (reconstructions [B,3,H,W], dict term -> scalar); `total` is what is minimised."""
        reconstructions, z_semantic, pooled, commitment = self.reconstruct(images)
        t11, t_pool = self.teach(images)
        l2 = F.mse_loss(reconstructions, images)
        lpips = self.model.criterion.losses['perceptual'].network(reconstructions, images).mean()
        s_pool = distil(pooled, t_pool)
        total = (5 * distil(z_semantic, t11) + s_pool if self.stage else 5 * s_pool) + 5 * commitment + 5 * l2 + lpips
        if self.stage:
            discriminator, last = self.model.discriminator, self.model.tokenizer.decoder.last_layer
            discriminator.requires_grad_(False)
            term = generator_term(discriminator(reconstructions))
            discriminator.requires_grad_(True)
            sides = [torch.autograd.grad(t, last, retain_graph=True)[0] for t in (l2 + lpips, term)]
            total = total + adaptive_weight(*sides) * 0.75 * term
        return reconstructions, dict(l2=l2, lpips=lpips, semantic_pooled=s_pool, total=total)

    def reconstruct(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return reconstructions, semantic features, pooled embedding and commitment."""
        tokenizer = self.model.tokenizer
        trunk, vocabularies = tokenizer.encoders['trunk'], tokenizer.vocabularies
        pixel, semantic = vocabularies['pixel'], vocabularies['semantic']
        tokens, hidden = trunk.embed(images), {}
        for layer in range(1, 12):
            tokens = trunk.step(tokens, layer)
            hidden[layer] = tokens
        pre = {v: list(v.projections) for v in (pixel, semantic)}
        z_pixel, loss_pixel = self.quantize(pixel.quantizer, pre[pixel][0](hidden[3]) + 0.6 * pre[pixel][1](hidden[2]))
        z_semantic, loss_semantic = self.quantize(semantic.quantizer, pre[semantic][0](hidden[11]))
        z_semantic = semantic.post_projection(z_semantic)
        pooled = trunk.pool(trunk.step(z_semantic, 12))
        return tokenizer.decoder(pixel.post_projection(z_pixel)), z_semantic, pooled, loss_pixel + loss_semantic

    @torch.no_grad()
    def teach(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the teacher's tokens after layer 11 and its pooled embedding."""
        encoder = self.model.teacher.encoder
        tokens, t11 = encoder.embed(images), None
        for layer in range(1, 13):
            tokens = encoder.step(tokens, layer)
            t11 = tokens if layer == 11 else t11
        return t11, encoder.pool(tokens)

    def update_weights(self, name: str, loss: torch.Tensor) -> None:
        """Run the backward pass of a loss and one step of an optimizer."""
        optimizer = self.optim[name].optimizer
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def distil(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return mean squared error minus mean cosine of features [...,C]."""
    return F.mse_loss(a, b) - F.cosine_similarity(a, b, dim=-1).mean()
