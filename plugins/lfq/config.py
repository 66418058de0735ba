"""DualToken with lookup-free quantization: 16 bits a token, 65,536 codes without a table.

Paper: DualToken, arXiv 2503.14324; LFQ: MAGVIT-v2, arXiv 2310.05737.
Command: python tools/train.py plugins/lfq/config.py
"""
_base_ = ['../../configs/dualtoken_rq.py']

plugins = ['plugins/lfq']
quantizer = dict(_delete_=True, type='LFQ', dim=16)
