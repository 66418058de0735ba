"""Names of the published TiToks: their state dict as that of the VisualTokenizer which `titok.py` describes."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dtbox.weights.renaming import Renaming

ENCODER, VOCABULARY = 'trunk', 'pixel'
"""Names of the parts of the tokenizer."""


def _as_linear(kernel: Tensor) -> Tensor:
    """Kernel of a 1 x 1 convolution [O,I,1,1] -> weight of a linear layer [O,I]."""
    return kernel.flatten(1)


def _copy_convolution(rules: Renaming, target: str, source: str) -> None:
    """Copy a 1 x 1 convolution as a linear layer."""
    rules.copy(f'{target}.weight', f'{source}.weight', _as_linear)
    rules.copy(f'{target}.bias', f'{source}.bias')


def _copy_blocks(rules: Renaming, target: str, source: str, depth: int) -> None:
    """Copy transformer blocks and the norms before and after them."""
    for i in rules.count(depth):
        ours, theirs = f'{target}.blocks.{i}', f'{source}.transformer.{i}'
        rules.both(f'{ours}.norm1', f'{theirs}.ln_1')
        for part in ('weight', 'bias'):
            rules.copy(f'{ours}.attn.qkv.{part}', f'{theirs}.attn.in_proj_{part}')
        rules.both(f'{ours}.attn.proj', f'{theirs}.attn.out_proj')
        rules.both(f'{ours}.norm2', f'{theirs}.ln_2')
        rules.both(f'{ours}.mlp.fc1', f'{theirs}.mlp.c_fc')
        rules.both(f'{ours}.mlp.fc2', f'{theirs}.mlp.c_proj')
    rules.both(f'{target}.norm_pre', f'{source}.ln_pre')
    rules.both(f'{target}.norm', f'{source}.ln_post')
    for ours, theirs in (('class_token', 'class_embedding'), ('positions', 'positional_embedding'),
                         ('latent_positions', 'latent_token_positional_embedding')):
        rules.copy(f'{target}.{ours}', f'{source}.{theirs}')


def _map_codebook(rules: Renaming, clustering: bool) -> None:
    """Copy the codebook; what only its training counts starts anew where the file does not have it."""
    target, size = f'vocabularies.{VOCABULARY}.quantizer.codebook', len(rules.state['quantize.embedding.weight'])
    rules.copy(f'{target}.weight', 'quantize.embedding.weight')
    rules.target.update({f'{target}.cluster_size': torch.ones(size),
                         f'{target}.updates': torch.zeros((), dtype=torch.int64)})
    if clustering:
        rules.target[f'{target}.usage'] = torch.zeros(size)
        if 'quantize.embed_prob' in rules.state:
            rules.copy(f'{target}.usage', 'quantize.embed_prob')


def map_state(state: Mapping[str, Tensor], config: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """Map a published state dict to a VisualTokenizer's.

    Args:
        state: published name -> tensor.
        config: of the VisualTokenizer, as `build_tokenizer_config` made it.
        source: what to call the weights in messages.

    Raises:
        InputError: keys that are missing or left over, all of them.
    """
    rules = Renaming(state, source)
    encoder, decoder = config['encoders'][ENCODER], config['decoder']
    target = f'encoders.{ENCODER}'
    rules.both(f'{target}.patch_embed', 'encoder.patch_embed')
    rules.copy(f'{target}.latents', 'latent_tokens')
    _copy_blocks(rules, target, 'encoder', encoder['depth'])
    _copy_convolution(rules, f'vocabularies.{VOCABULARY}.projections.0.fc', 'encoder.conv_out')
    quantizer = config['vocabularies'][VOCABULARY]['quantizer']
    if 'codebook' in quantizer:
        _map_codebook(rules, quantizer['codebook']['type'] == 'ClusteringCodebook')
    rules.both('decoder.tokens.embed', 'decoder.decoder_embed')
    rules.copy('decoder.tokens.mask_token', 'decoder.mask_token', lambda t: t.flatten(0, 1))
    _copy_blocks(rules, 'decoder.tokens', 'decoder', decoder['depth'])
    if decoder['type'] == 'MaskTokenDecoder':
        _copy_convolution(rules, 'decoder.to_pixels', 'decoder.ffn.0')
        rules.both('decoder.conv_out', 'decoder.conv_out')
    else:
        _copy_convolution(rules, 'decoder.hidden', 'decoder.ffn.0')
        _copy_convolution(rules, 'decoder.to_logits', 'decoder.ffn.2')
    if decoder.get('pixels'):
        rules.copy('decoder.table', 'pixel_quantize.embedding.weight')
        rules.tree('decoder.pixels.decoder.', 'pixel_decoder.')
    if decoder.get('guidance'):
        rules.both('decoder.tokens.text_embed', 'decoder.text_guidance_proj')
        rules.copy('decoder.tokens.text_positions', 'decoder.text_guidance_positional_embedding')
    return rules.finish(ignore=('quantize.embed_prob',))
