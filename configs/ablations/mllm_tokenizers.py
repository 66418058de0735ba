"""The tokenizers of the grids of language models, two for each seed: with two vocabularies of 40 bits or one of 80.

`two` is DualToken, a pixel codebook on layers 2 and 1 and a semantic one on layer 7; `one` is a single codebook of
depth 8 on layer 7, which the decoder reads and the teacher trains (`two_hierarchical` and `one_deep` of
`decoupling.py`). The other grids find the run of a seed by its name.
"""
base = '_base_/twemoji.py'
title = 'Tokenizers of the language models'

_V = 'model.tokenizer.vocabularies'
axes = dict(vocabularies=dict(variants=dict(
    two={},
    one={_V: dict(pixel=None, semantic=dict(quantizer=dict(type='RQ', size=1024, dim=16, depth=8))),
         'model.tokenizer.decoder.reads': ['semantic']})))
seeds = [0, 1, 2, 3, 4]
reference = dict(vocabularies='two')
metrics = ['all/psnr', 'all/token_cosine', 'all/pooled_cosine', 'all/ssim', 'variants/t2i_r1/tokens',
           'variants/i2t_r1/tokens']
