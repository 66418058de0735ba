"""What recipes that reconstruct images share: the GAN, its optimizer, and the metrics of reconstructions.

`gan=None` (or `--cfg-options gan=none`) trains without: discriminator, adversarial loss, optimizer, schedule and hook
are all left out.
"""
gan = dict(
    discriminator=dict(type='PatchDiscriminator', width=32),
    # in so short a run the discriminator learns faster than the decoder: it comes late, acts gently, and is never
    # stronger than the
    # reconstruction losses
    adversarial=dict(type='AdversarialLoss', start=540, weight=0.1, adaptive=(0.0, 1.0),
                     against=('l2', 'feature_perceptual')))
model = dict(type='TokenizerTask', gan='${gan}')
optim_wrapper = dict(discriminator=dict(optimizer=dict(type='Adam', lr=1e-4, betas=(0.5, 0.9))))

val_evaluator = dict(psnr=dict(type='PSNR'), ssim=dict(type='SSIM'), l1=dict(type='L1'),
                     frechet=dict(type='FrechetDistance'))
tiny = dict(gan=dict(adversarial=dict(start=1)))
