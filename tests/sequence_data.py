"""Batches of conversations with codes, and a small language model of text and codes, in float64.

Letters: B rows, T places, M images, N visual places of an image, Q codes of a place, H width.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from dtbox.conversations import ConversationBatch
from dtbox.sequence_batch import allowed_mask


def put_together(*conversations, images=3, places=2, size=5, seed=0, epoch=0):
    """Return (ConversationBatch, codes of two streams [M, N, 2]) of conversations that count the batch's images."""
    batch = ConversationBatch(torch.zeros(images, 3, 2, 2, dtype=torch.uint8), list(conversations),
                              [c.key for c in conversations], [''] * len(conversations),
                              [(epoch, i) for i in range(len(conversations))], seed)
    generator = torch.Generator().manual_seed(4)
    return batch, {name: torch.randint(size, (images, places, 2), generator=generator)
                   for name in ('pixel', 'semantic')}


class TinyLM(nn.Module):
    """Two blocks of attention with rotary positions over text ids and sums of code rows; heads of text and codes."""

    def __init__(self, vocab, size=5, width=8):
        super().__init__()
        self.words, self.size = nn.Embedding(vocab, width), size
        self.codes = nn.ModuleDict({name: nn.Embedding(size * 2, width) for name in ('pixel', 'semantic')})
        self.blocks = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.mlps = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.text_head = nn.Linear(width, vocab)
        self.code_heads = nn.ModuleDict({name: nn.Linear(width, size * 2) for name in ('pixel', 'semantic')})
        self.double()

    def forward(self, batch, mask=None):
        """Return states [B, T, H]."""
        x = self.words(batch.ids)
        shown = batch.visual >= 0
        for name, codes in batch.codes.items():
            rows = self.codes[name](codes + torch.tensor([0, self.size])).sum(2).flatten(0, 1)
            x = torch.where(shown[..., None], x + rows[batch.visual.clamp(min=0)], x)
        mask = allowed_mask(batch) if mask is None else mask
        for block, mlp in zip(self.blocks, self.mlps):
            q, k, v = block(F.layer_norm(x, x.shape[-1:])).chunk(3, -1)
            q, k = (rotate(t, batch.position) for t in (q, k))
            x = x + F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            x = x + mlp(F.gelu(x))
        return x

    def losses(self, batch, mask=None):
        """Return (summed loss of text, summed loss of codes): the state of a place predicts the next one."""
        before = self(batch, mask)[:, :-1]
        text = F.cross_entropy(self.text_head(before).flatten(0, 1), batch.text_target[:, 1:].flatten(),
                               reduction='sum')
        drawn, at = batch.visual_target[:, 1:], batch.visual[:, 1:]
        codes = sum(F.cross_entropy(head(before[drawn]).unflatten(-1, (2, -1)).flatten(0, 1),
                                    batch.codes[name].flatten(0, 1)[at[drawn]].flatten(), reduction='sum')
                    for name, head in self.code_heads.items())
        return text, codes


def rotate(x, position):
    """Rotary positions for the pairs of channels of x [B, T, H]."""
    angle = position[..., None] * torch.tensor([1.0, 0.3, 0.1, 0.03], dtype=x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


def measure(model, batches):
    """Return (loss of text, loss of codes, gradients) summed over batches."""
    model.zero_grad()
    losses = [torch.stack(model.losses(batch)) for batch in batches]
    sum(losses).sum().backward()
    return sum(losses).detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
