"""TokenFlow: a semantic and a pixel encoder, one index for both on several scales, a semantic and a pixel decoder.

Paper: TokenFlow, arXiv 2412.03069.
Faithful: two encoders; multi-scale residual quantization (MSVQ) whose index minimises the sum of both squared distances
of normalised features; rows of length 1 against a residual that is not normalised; a scale dropped in one of ten steps;
beta 0.25; the semantic encoder's layer before its last; a semantic decoder of 3 BEiT blocks and a head, trained towards
the frozen encoder by cosine alone; a CNN as pixel encoder.
Deviations: 64 x 64 pixels; tables that follow by moving averages; the trunk's last block reads the semantic decoder's
output, so that zero-shot and retrieval can be measured; decoder, perceptual features and discriminator of
`dualtoken_rq.py`.
Command: python tools/train.py configs/tokenflow.py
"""
_base_ = ['./two_encoders.py']

quantizer = dict(
    type='ScaleWiseRQ', scales=[1, 2, 3, 4, 6, 8], drop=0.1,
    quantizer=dict(type='JointVQ', size=1024, members=dict(semantic=32, pixel=8)))
model = dict(
    tokenizer=dict(
        quantizers=dict(joint='${quantizer}'),
        vocabularies=dict(
            pixel=dict(quantizer='joint'),
            semantic=dict(
                quantizer='joint', reinject=7, projection=dict(type='TanhProjection'),
                post_projection=dict(type='BEiTProjection', width=128, depth=3, heads=4)))),
    losses=dict(
        semantic=dict(mse=0.0),
        quantizers=dict(weight=1.25)))  # 0.25 beside the weight 5 of the pixels
