"""DualToken with plain vector quantization: `dualtoken_rq.py` with one line changed, one code of 1,024 per token.

Paper: DualToken, arXiv 2503.14324; VQ-VAE, arXiv 1711.00937.
Command: python tools/train.py configs/dualtoken_vq.py
Two busy CPU cores, 5 minutes, 1.6 GB: PSNR 20.29 dB, SSIM 0.666, token cosine 0.952, 90.0 % of the teacher's R@1 on
`variants` kept; a token has 10 bits where the residual quantizer has 40.
"""
_base_ = ['./dualtoken_rq.py']

quantizer = dict(type='VQ', size=1024, dim=16)
