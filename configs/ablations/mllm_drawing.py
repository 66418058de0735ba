"""What should a language model write: both vocabularies, pixel codes alone, or one vocabulary with the bits of both?

Drawings alone, no questions. `both` writes and reads pixel and semantic codes of DualToken, 40 + 40 bits a place, of
which the decoder sees the pixel codes; `pixel` writes and reads pixel codes alone; `one` writes one vocabulary of 80
bits, of a tokenizer of its own. Every seed has its own tokenizers: run `mllm_tokenizers` first. Nats compare `both`
with `pixel` within a seed; drawings compare across tokenizers as fractions of what reconstructions score, too.
"""
base = '_base_/mllm_drawing.py'
title = 'What a language model writes'
overrides = {'tokenizer': 'trial://mllm_tokenizers/two__seed{seed}'}
_HEAD, _EMBEDDING = 'model.visual_head', 'model.visual_embedding'
axes = dict(writes=dict(variants=dict(
    both={},
    pixel={_HEAD: dict(type='DepthHead', inner=128, blocks=2, heads=4, streams=['pixel']),
           _EMBEDDING: dict(type='CodesEmbedding', streams=['pixel'])},
    one={'tokenizer': 'trial://mllm_tokenizers/one__seed{seed}'})))
seeds = [0, 1, 2]
seeds_first = True
reference = dict(writes='both')
metrics = ['variants_draw/drawing_t2i_r1/s=2', 'variants_draw/drawing_t2i_r5/s=2', 'variants_draw/drawing_cosine/s=2',
           'variants_draw/drawing_frechet/s=2']
