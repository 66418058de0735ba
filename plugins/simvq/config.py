"""DualToken with SimVQ: 4,096 frozen random codes through one learned matrix.

Paper: DualToken, arXiv 2503.14324; SimVQ, arXiv 2411.02038.
Command: python tools/train.py plugins/simvq/config.py
"""
_base_ = ['../../configs/dualtoken_rq.py']

plugins = ['plugins/simvq']
quantizer = dict(_delete_=True, type='SimVQ', size=4096, dim=16)
