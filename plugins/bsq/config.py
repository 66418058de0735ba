"""DualToken with binary spherical quantization: 16 bits a token, 65,536 codes without a table.

Paper: DualToken, arXiv 2503.14324; BSQ, arXiv 2406.07548.
Command: python tools/train.py plugins/bsq/config.py
"""
_base_ = ['../../configs/dualtoken_rq.py']

plugins = ['plugins/bsq']
quantizer = dict(_delete_=True, type='BSQ', dim=16)
