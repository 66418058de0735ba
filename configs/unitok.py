"""UniTok: multi-codebook quantization, one set of codes for pixels and semantics, the text tower trained along.

Paper: UniTok, arXiv 2502.20321, and its published code ("the release" below).
Faithful: codes of the tokens after the trunk's norm; attention projections before and after the quantizer, non-causal;
chunks of 8 channels, each with a codebook of directions that learns by gradient; the image embedding is the mean of the
codes' features, a norm and a linear layer; softmax contrastive loss with learned scale; weights of all losses; a
discriminator on frozen features with DiffAug, a fading blur and consistency, its start at 37.5 % of the run, its ramp
and adaptive weight; both optimizers and schedules.
Deviations: 64 x 64 pixels; a plain ViT, from its text-aligned start (as the paper's second model), instead of ViTamin,
and a light decoder; 4 chunks of 1,024 codes instead of 8 of 4,096; features of the small frozen encoder instead of
LPIPS, and for the discriminator instead of DINOv2's. The text tower moves: retrieval and zero-shot of `teacher` pair
the frozen image encoder with it and mean little here. `paper/unitok_256.py` has the published sizes.
Command: python tools/train.py configs/unitok.py
"""
_base_ = ['./_base_/unified.py']

quantizer = dict(type='MCQ', size=1024, dim=32, parts=4)
model = dict(
    tokenizer=dict(
        vocabularies=dict(unified=dict(
            taps='norm', quantizer='${quantizer}', projection=dict(type='AttentionProjection', causal=False))),
        head=dict(type='MeanPool', reads='unified', out_dim=128)),
    losses=dict(
        l1=dict(type='L1Loss', weight=0.2), pixels=dict(weight=1.0), perceptual=dict(weight=1.0),
        # release: 0.25 x commitment + codebook; MCQ's own terms are 4 x these
        quantizers=dict(weight=0.25), contrastive=dict(type='SoftmaxContrastiveLoss', weight=1.0)))
gan = dict(
    discriminator=dict(
        type='FeatureDiscriminator', name='vit_base_patch16_siglip_224', image_size='${image_size}',
        weights='dtbox://siglip-tiny-twemoji', prefix='encoders.trunk.trunk.', layers=(1, 2, 4, 6, 8),
        model_args=dict(embed_dim=128, depth=8, num_heads=4, patch_size=8, act_layer='gelu_tanh')),
    # release: from 0.375 epochs on, a ramp of 0.03, a blur that fades over 0.06; the hinge without the factor 1/2
    adversarial=dict(
        kind='hinge', discriminator_weight=2.0, start=225, ramp=18, weight=0.4, adaptive=(0.015, 1e4), eps=1e-6,
        against=dict(l1=0.2, l2=1.0, feature_perceptual=1.0), augment=dict(type='DiffAug', blur=36),
        consistency=4.0, consistency_augment=dict(type='DiffAug')))

optim_wrapper = dict(
    # the trunk's own pool is not used, nor is the bias of the sigmoid loss; the text tower learns along
    generator=dict(
        optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.95), eps=1e-6, weight_decay=0.02),
        clip_grad=dict(max_norm=10.0), groups={'encoders.trunk.*': None},
        freeze=['encoders.trunk.trunk.attn_pool.*', 'text.logit_bias']),
    discriminator=dict(
        optimizer=dict(type='AdamW', lr=2e-5, betas=(0.5, 0.9), weight_decay=0.2), clip_grad=dict(max_norm=10.0)))
param_scheduler = dict(
    generator=dict(warmup=0.01, floor=0.1, zero=True),
    discriminator=dict(type='WarmupCosineLR', total=375, warmup=18, floor=0.1, zero=True))  # in its own steps
val_evaluator = dict(token_cosine=None)
