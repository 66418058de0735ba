"""Published families of tokenizers at equal bits: about 2,560 and 5,120 an image, or as near as a family comes.

64 x 64 pixels, so 0.63 and 1.25 bits a pixel. Every family has the parts, losses and quantizer of its recipe, at one
length, without discriminator: what differs is the layout of the codes, the quantizer and what else is trained. A
codebook that one code a token cannot bring to 40 bits gets more places (VQGAN, IBQ, MAGVIT2, VAR) or several codes a
token (groups of UniTok and TiTok, depths of RQ). KL and RAE are continuous: ceilings. Three seeds for six families, one
for the rest, whose differences say nothing of other seeds.
"""
title = 'Families of tokenizers at equal bits'
overrides = {'max_iters': 320, 'batch_size': 16, 'gan': None, 'hooks.checkpoint.interval': 80,
             'hooks.images.interval': 0}
_TOKENIZER = 'model.tokenizer'
_CNN = f'{_TOKENIZER}.encoders.cnn'
# a CNN that halves the image twice, not three times: 256 places
_FINE = {f'{_CNN}.multipliers': [1, 2], f'{_CNN}.attention_resolutions': [16],
         f'{_TOKENIZER}.vocabularies.pixel.taps': 3}


def _magvit2(bits):
    return {'base': '../magvit2.py', 'quantizer.dim': bits, f'{_CNN}.latent_channels': bits,
            f'{_CNN}.multipliers': [1, 1, 2], f'{_TOKENIZER}.vocabularies.pixel.taps': 4,
            f'{_TOKENIZER}.decoder.multipliers': [1, 1, 2]}


def _var(size):
    return {'base': '../var_tokenizer.py', **_FINE, 'quantizer.scales': [1, 2, 4, 8, 16],  # 341 places
            'quantizer.quantizer.size': size}


def _titok(groups):
    vq = dict(type='VQ', size=1024, dim=16, codebook=dict(type='ClusteringCodebook', start=dict(type='KMeansStart')))
    return {'base': '../titok.py', 'quantizer': dict(type='Product', groups=groups, quantizer=vq),
            f'{_TOKENIZER}.vocabularies.pixel.out_dim': 16 * groups}


axes = dict(family=dict(variants={
    'KL (continuous)': {'base': '../kl.py'},
    'RAE (continuous)': {'base': '../rae.py'},
    'DualToken 2560': {'base': '../dualtoken_rq.py', 'quantizer.depth': 2},
    'DualToken 5120': {'base': '../dualtoken_rq.py'},
    'UniTok 2560': {'base': '../unitok.py'},
    'UniTok 5120': {'base': '../unitok.py', 'quantizer.parts': 8, 'quantizer.dim': 64},
    'QLIP 2560': {'base': '../qlip.py', 'quantizer.dim': 40, 'quantizer.group': 8},
    'QLIP 5120': {'base': '../qlip.py', 'quantizer': dict(
        type='Product', groups=2, quantizer=dict(type='BSQ', dim=40, group=8, entropy_weight=0.01))},
    'VILA-U 2560': {'base': '../vila_u.py'},
    'VILA-U 5120': {'base': '../vila_u.py', 'quantizer.depth': 8},
    'TokenFlow 2550': {'base': '../tokenflow.py', 'quantizer.scales': [1, 2, 3, 4, 5, 6, 7, 8],  # 204 places
                       'quantizer.quantizer.size': 5793},
    'VAR 2558': _var(181),
    'VAR 5115': _var(32768),
    'TiTok 2560': _titok(4),
    'TiTok 5120': _titok(8),
    'RQ-VAE 2560': {'base': '../rqvae.py'},
    'RQ-VAE 5120': {'base': '../rqvae.py', 'quantizer.depth': 8},
    'VQGAN 2560': {'base': '../vqgan.py', **_FINE},
    'IBQ 2560': {'base': '../ibq.py', **_FINE},
    'MAGVIT2 2560': _magvit2(10),
    'MAGVIT2 5120': _magvit2(20),
    'FSQ 2560': {'base': '../vqgan.py', 'quantizer': dict(type='FSQ', levels=[4] * 20)},
    'FSQ 5120': {'base': '../vqgan.py', 'quantizer': dict(
        type='Product', groups=2, quantizer=dict(type='FSQ', levels=[4] * 20))}}))
seeds = [0, 1, 2]
exclude = dict(seed=[1, 2], family=[
    'KL (continuous)', 'RAE (continuous)', 'VILA-U 2560', 'VILA-U 5120', 'TokenFlow 2550', 'VQGAN 2560', 'IBQ 2560',
    'MAGVIT2 2560', 'MAGVIT2 5120', 'FSQ 2560', 'FSQ 5120'])
seeds_first = True
reference = dict(family='DualToken 5120')
metrics = ['all/psnr', 'all/ssim', 'all/frechet_teacher', 'all/token_cosine', 'all/pooled_cosine',
           'variants/t2i_r1/tokens']
