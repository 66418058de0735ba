"""DualToken with a quantizer of the package vector-quantize-pytorch: here its residual quantizer with the sizes of
`dualtoken_rq.py`.

Paper: DualToken, arXiv 2503.14324; RQ-VAE, arXiv 2203.01941.
Command: python tools/train.py plugins/vector_quantize_pytorch/config.py
Another: ... --cfg-options "quantizer=dict(type='VQP', kind='LFQ', dim=16)"
"""
_base_ = ['../../configs/dualtoken_rq.py']

plugins = ['plugins/vector_quantize_pytorch']
quantizer = dict(type='VQP', kind='ResidualVQ', dim=16, num_quantizers=4, codebook_size=1024)
