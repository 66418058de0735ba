"""Does one codebook for both aims hurt both? The variants of `decoupling.py` on CIFAR-10, 32 x 32 pixels.

Semantics is scored by zero-shot top-1 over the ten classes too, with texts and teacher of `siglip-tiny-cifar10`, which
CIFAR-10 alone has trained. Give the data: --cfg-options data_root=PATH (see `../_base_/datasets/cifar10.py`).
"""
_base_ = ['./decoupling.py']

base = '_base_/cifar10.py'
title = 'One codebook or two, and on which layers? Photographs'
exclude = [dict(codebooks=['one_deep_40', 'one_shallow_40'])]
metrics = ['test/psnr', 'test/token_cosine', 'test/pooled_cosine', 'test/zeroshot_top1/tokens', 'test/ssim']
