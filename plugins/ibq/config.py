"""DualToken with index backpropagation quantization: 4,096 codes, all of which learn at every step.

Paper: DualToken, arXiv 2503.14324; IBQ, arXiv 2412.02692.
Command: python tools/train.py plugins/ibq/config.py
"""
_base_ = ['../../configs/dualtoken_rq.py']

plugins = ['plugins/ibq']
quantizer = dict(_delete_=True, type='IBQ', size=4096, dim=16)
