"""DualToken with plain vector quantization: `dualtoken_rq.py` with one line changed, one code of 1,024 per token.

Paper: DualToken, arXiv 2503.14324; VQ-VAE, arXiv 1711.00937.
Command: python tools/train.py configs/dualtoken_vq.py
"""
_base_ = ['./dualtoken_rq.py']

quantizer = dict(_delete_=True, type='VQ', size=1024, dim=16)
