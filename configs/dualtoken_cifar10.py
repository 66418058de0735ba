"""DualToken on photographs: CIFAR-10, one ViT, two vocabularies, as in `dualtoken_rq.py` but without a discriminator.

Paper: DualToken, arXiv 2503.14324 (stage 1, scaled to 32 x 32 pixels and one CPU core). Start and teacher:
`siglip_tiny_cifar10.py`.
Command: python tools/train.py configs/dualtoken_cifar10.py --cfg-options data_root=PATH
One CPU core, 4 minutes, 1.4 GB: PSNR 26.01 dB, SSIM 0.869, token cosine 0.979, zero-shot top-1 54.6 % (teacher 56.1 %).
"""
_base_ = ['./dualtoken_rq.py']

data_root = None
download = False
image_size = 32
max_iters = 350
encoder = dict(model_args=dict(patch_size=4), weights='dtbox://siglip-tiny-cifar10')
gan = None
model = dict(tokenizer=dict(text=dict(
    weights='dtbox://siglip-tiny-cifar10', tokenizer=dict(file='dtbox://siglip-tiny-cifar10/tokenizer.json'))))

train_dataloader = dict(dataset=dict(
    type='CIFAR10', data_root='${data_root}', split='train', download='${download}',
    pipeline=[dict(type='RandomResizedCrop', size='${image_size}', scale=(0.8, 1.0)), dict(type='RandomFlip'),
              dict(type='PackImage')]))
# the first 200 of each class: enough for scores to a percent, and a fifth of the time
val_dataloader = dict(dataset=dict(
    type='CIFAR10', data_root='${data_root}', split='heldout', download='${download}', limit=2000,
    pipeline=[dict(type='ResizeCrop', size='${image_size}'), dict(type='PackImage')]))
val_evaluator = dict(
    l1=None, frechet=None, retrieval=None, zeroshot=dict(templates=['a photo of a {}'], ks=(1,)))
