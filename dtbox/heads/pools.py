"""Heads: the trunk's own pool, or a mean over tokens with a norm and a linear layer."""
import torch.nn as nn

from dtbox.errors import InputError
from dtbox.layers.region_pooling import pool_regions
from dtbox.registry import HEADS


class Head(nn.Module):
    """Base class of heads.

    Attributes:
        reads: None where the head reads the trunk after its last block, or the name of the vocabulary it reads.
        pooled_dim: width E of what comes out.
        example: constructor arguments of a small instance, for the contract suite; None where there is none.
    """
    example = None
    reads = None
    pooled_dim = 0

    def forward(self, tokens, encoder):
        """tokens [B,P+N,D] (trunk) or features [B,N,D] (vocabulary) -> [B,E], not normalised."""
        raise NotImplementedError

    def pool_regions(self, tokens, masks, encoder, grid=None):
        """Pool single regions: what `forward` takes and B masks bool [M,H,W] -> list of B tensors [M,E].

        Args:
            tokens, encoder: as for `forward`.
            masks: of the size of the images.
            grid: (rows, columns) of the vocabulary's tokens, where the head reads one.
        """
        return encoder.pool_regions(tokens, masks)


@HEADS.register_module()
class TrunkPool(Head):
    """The trunk's own final norm and pool (SigLIP's attention pool, CLIP's class token, ...); it has no weights of its own.

    Args:
        encoder: name of the encoder whose pool it is; filled in where there is one encoder.
        pooled_dim: width that the encoder's pool gives; filled in by the tokenizer.
    """

    def __init__(self, encoder='trunk', pooled_dim=None):
        super().__init__()
        if not pooled_dim:
            raise InputError(f'TrunkPool reads the pool of encoder `{encoder}`, which has none. Choose MeanPool.')
        self.encoder, self.pooled_dim = encoder, pooled_dim

    def forward(self, tokens, encoder):
        """tokens [B,P+N,D] after the last block -> [B,E]."""
        return encoder.pool(tokens)


@HEADS.register_module()
class MeanPool(Head):
    """Mean over the patch tokens, LayerNorm, linear (UniTok's image head, arXiv 2502.20321).

    Args:
        in_dim: width D; filled in by the tokenizer.
        out_dim: width E of the joint space.
        reads: vocabulary whose features are pooled; None pools the trunk's patch tokens.
        encoder: name of the encoder; filled in where there is one.
    """
    example = dict(out_dim=8)

    def __init__(self, in_dim, out_dim, reads=None, encoder='trunk'):
        super().__init__()
        self.reads, self.encoder, self.pooled_dim = reads, encoder, out_dim
        self.norm = nn.LayerNorm(in_dim, eps=1e-6)
        self.fc = nn.Linear(in_dim, out_dim)

    def forward(self, tokens, encoder):
        """tokens -> [B,E]."""
        tokens = tokens if self.reads else encoder.patches(tokens)
        return self.fc(self.norm(tokens.mean(1)))

    def pool_regions(self, tokens, masks, encoder, grid=None):
        """See Head."""
        tokens = tokens if self.reads else encoder.patches(tokens)
        return pool_regions(tokens, masks, grid or encoder.grid(encoder.depth), lambda part: self.fc(self.norm(part.mean(1))))
