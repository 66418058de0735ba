"""DualToken with UniTok's multi-codebook quantization: 4 chunks of 8 channels, 1,024 codes each.

Paper: DualToken, arXiv 2503.14324; MCQ: UniTok, arXiv 2502.20321.
Command: python tools/train.py plugins/mcq/config.py
"""
_base_ = ['../../configs/dualtoken_rq.py']

plugins = ['plugins/mcq']
quantizer = dict(_delete_=True, type='MCQ', size=1024, dim=32, parts=4)
