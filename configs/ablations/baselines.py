"""Every recipe of the toolbox, each at the length of the grids.

Recipes differ in bits, encoders and losses (the table has bits and parameters beside the scores): this compares
recipes, not single parts.
"""
title = 'Recipes side by side'
overrides = {'max_iters': 320, 'batch_size': 16}
axes = dict(recipe=dict(variants={_name: {'base': f'../{_name}.py'} for _name in (
    'dualtoken_rq', 'dualtoken_vq', 'dualtoken_fsq', 'dualtoken_single_layer', 'dualtoken_no_shortcut',
    'dualtoken_learned_split', 'vqgan', 'rqvae', 'siglip_rq', 'vila_u', 'vila_u_distill', 'unitok',
    'tokenflow_single_scale',
    'qlip', 'two_encoders')}))
seeds = [0]
metrics = ['all/psnr', 'all/token_cosine', 'all/pooled_cosine', 'all/ssim', 'variants/t2i_r1/tokens',
           'variants/i2t_r1/tokens']
