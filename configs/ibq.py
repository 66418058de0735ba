"""IBQ: index backpropagation through all codes, around VQGAN's encoder.

Paper: IBQ, arXiv 2412.02692; its published code SEED-Voken ("the release").
Faithful: the quantizer, its double quantization loss and its entropy term, with the weights of the release (codebook
0.25, entropy 0.05 at temperature 0.01); plain 1 x 1 convolutions around it; encoder (but for the stride of its first
convolution); a GAN after the reconstruction losses.
Deviations: 64 x 64 pixels; 1,024 codes of 32 channels instead of up to 262,144 of 256; a light decoder; L2 and features
of the small frozen encoder instead of L1 and LPIPS; discriminator, its schedule and adaptive weight are ours, those of
`vqgan.py`, so that the two compare (`paper/ibq_256.py` has the release's values).
Command: python tools/train.py configs/ibq.py
"""
_base_ = ['vqgan']

quantizer = dict(type='IBQ', size=1024, dim=32, codebook_weight=0.25, entropy_weight=0.05, temperature=0.01, floor=1e-5)
