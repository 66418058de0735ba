"""TokenFlow on one scale: a semantic and a pixel encoder, and one index for both, found by their joint distance.

Paper: TokenFlow, arXiv 2412.03069.
Faithful: two encoders; L2-normalised features; the index minimises the weighted sum of both squared distances; each
decoder reads its part; the semantic part is trained towards the frozen encoder it started from.
Deviations: 64 x 64 pixels; one scale instead of a pyramid of them (`tokenflow.py` has it); a table that follows by
moving averages; the semantic decoder is the post-projection and the trunk's last block; decoder, perceptual features
and discriminator of `dualtoken_rq.py`.
Command: python tools/train.py configs/tokenflow_single_scale.py
Two busy CPU cores, 6 minutes, 1.7 GB: PSNR 17.41 dB, SSIM 0.468, token cosine 0.945, 91.1 % of the teacher's R@1 on
`variants` kept.
"""
_base_ = ['./two_encoders.py']

quantizer = dict(
    type='JointVQ', size=1024, members=dict(semantic=32, pixel=8), weights=dict(semantic=1.0, pixel=1.0))
model = dict(tokenizer=dict(
    quantizers=dict(joint='${quantizer}'),
    vocabularies=dict(pixel=dict(quantizer='joint'), semantic=dict(quantizer='joint', reinject=7))))
