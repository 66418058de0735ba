"""DualToken with product residual quantization: 2 groups of 8 channels, 2 depths, 1,024 codes: four codes a token as in
`dualtoken_rq.py`.

Paper: DualToken, arXiv 2503.14324; GRVQ: HiFi-Codec, arXiv 2305.02765.
Command: python tools/train.py plugins/product_rq/config.py
"""
_base_ = ['../../configs/dualtoken_rq.py']

plugins = ['plugins/product_rq']
quantizer = dict(type='ProductRQ', size=1024, dim=16, groups=2, depth=2)
