"""Quantizers side by side, both vocabularies with the same one, at 12 bits a token and at 40.

Features are projected by an MLP, since not every code width here divides the encoder's; everything else is as in
`dualtoken_rq.py`. Terms of the quantizers (commitment, codebook, entropy) keep the weights that they have among
themselves, times the recipe's 5; none was tuned.
"""
base = '_base_/twemoji.py'
title = 'Quantizers at 12 and 40 bits a token'
plugins = ['../../plugins/residual_fsq', '../../plugins/vector_quantize_pytorch']
overrides = {'max_iters': 224, 'model.tokenizer.vocabularies.pixel.projection': dict(type='MLPProjection'),
             'model.tokenizer.vocabularies.semantic.projection': dict(type='MLPProjection')}
axes = dict(quantizer=dict(key='quantizer', values={
    'VQ 12': dict(type='VQ', size=4096, dim=16),
    'RQ 12': dict(type='RQ', size=64, dim=16, depth=2),
    'FSQ 12': dict(type='FSQ', levels=[8, 8, 8, 8]),
    'LFQ 12': dict(type='LFQ', dim=12),
    'BSQ 12': dict(type='BSQ', dim=12),
    'SimVQ 12': dict(type='SimVQ', size=4096, dim=16),
    'IBQ 12': dict(type='IBQ', size=4096, dim=16),
    'MCQ 12': dict(type='MCQ', size=64, dim=16, parts=2),
    'ResidualFSQ 12': dict(type='ResidualFSQ', levels=[4, 4, 4], depth=2),
    'ProductRQ 12': dict(type='ProductRQ', size=64, dim=16, groups=2, depth=1),
    'VQP 12': dict(type='VQP', kind='VectorQuantize', dim=16, codebook_size=4096),
    'RQ 40': dict(type='RQ', size=1024, dim=16, depth=4),
    'FSQ 40': dict(type='FSQ', levels=[4] * 20),
    'LFQ 40': dict(type='LFQ', dim=40),
    'BSQ 40': dict(type='BSQ', dim=40),
    'MCQ 40': dict(type='MCQ', size=1024, dim=32, parts=4),
    'ResidualFSQ 40': dict(type='ResidualFSQ', levels=[4] * 5, depth=4),
    'ProductRQ 40': dict(type='ProductRQ', size=1024, dim=16, groups=2, depth=2),
    'VQP 40': dict(type='VQP', kind='ResidualVQ', dim=16, num_quantizers=4, codebook_size=1024)}))
seeds = [0, 1, 2]
metrics = ['all/psnr', 'all/token_cosine', 'all/pooled_cosine', 'all/ssim', 'all/usage/pixel', 'all/usage/semantic']
