"""DualToken with residual finite scalar quantization: 3 depths of 8 channels with 4 levels, 48 bits a token without a
table.

Paper: DualToken, arXiv 2503.14324; FSQ, arXiv 2309.15505.
Command: python tools/train.py plugins/residual_fsq/config.py
"""
_base_ = ['../../configs/dualtoken_rq.py']

plugins = ['plugins/residual_fsq']
quantizer = dict(type='ResidualFSQ', levels=[4, 4, 4, 4, 4, 4, 4, 4], depth=3)
