"""VAR's tokenizer: a CNN whose map is quantized scale by scale, coarse to fine, for a model that predicts whole scales.

Paper: VAR, arXiv 2404.02905.
Faithful: multi-scale residual quantization with one table for all scales, area means down, bicubic up, 4 shared 3 x 3
convolutions after it; losses over the partial sums; 3 x 3 convolutions before and after the quantizer; encoder (but for
the stride of its first convolution), adaptive GAN weight.
Deviations: 64 x 64 pixels and 6 scales; a light decoder; features of the small frozen encoder instead of LPIPS; a table
that follows by moving averages, where VAR's learns by gradient.
Command: python tools/train.py configs/var_tokenizer.py
"""
_base_ = ['./vqgan.py']

quantizer = dict(
    type='MultiScaleRQ', scales=[1, 2, 3, 4, 6, 8], convs=4,
    quantizer=dict(type='VQ', size=1024, dim=32, codebook=dict(type='EMACodebook', start=dict(type='KMeansStart'))))
convolution = dict(type='ConvProjection')
