"""UniTok: multi-codebook quantization, one set of codes for pixels and semantics, the text tower trained along.

Paper: UniTok, arXiv 2502.20321.
Faithful: codes of the tokens after the trunk's norm; attention projections before and after the quantizer, non-causal;
chunks of 8 channels, each with a codebook of directions that learns by gradient, its terms weighed as in the published
code; the image embedding is the mean of the codes' features, a norm and a linear layer; softmax contrastive loss with
learned scale.
Deviations: 64 x 64 pixels; a plain ViT, from its text-aligned start (as the paper's second model), instead of ViTamin;
4 chunks of 1,024 codes instead of 8 of 4,096; weights of the pixel losses, decoder, perceptual features, discriminator
with its schedule and adaptive weight are ours, those of `dualtoken_rq.py`, so that the two compare
(`paper/unitok_256.py` has the release's). The text tower moves: retrieval and zero-shot
of `teacher` pair the frozen image encoder with it and mean little here.
Command: python tools/train.py configs/unitok.py
Two busy CPU cores, 5 minutes, 1.5 GB: PSNR 20.44 dB, SSIM 0.662, R@1 on `variants` 67.4 % (text to image) and 63.6 %.
"""
_base_ = ['./_base_/unified.py']

quantizer = dict(type='MCQ', size=1024, dim=32, parts=4)
model = dict(
    tokenizer=dict(
        vocabularies=dict(unified=dict(
            taps='norm', quantizer='${quantizer}', projection=dict(type='AttentionProjection', causal=False))),
        head=dict(type='MeanPool', reads='unified', out_dim=128)),
    # release: 0.25 x commitment + codebook; MCQ's own terms are 4 x these
    losses=dict(quantizers=dict(weight=0.25), contrastive=dict(type='SoftmaxContrastiveLoss', weight=1.0)))

# the trunk's own pool is not used, nor is the bias of the sigmoid loss; the text tower learns along
optim_wrapper = dict(generator=dict(
    freeze=['encoders.trunk.trunk.attn_pool.*', 'text.logit_bias'],
    groups={'text.*': dict(lr_mult=0.3)}))
val_evaluator = dict(token_cosine=None)
