"""Frechet distance in the space of an open_clip tower: drawings, or reconstructions, and the real images. Not an FID.

Weights: as `clip_score`.
"""
tower = 'ViT-L-14-quickgelu'
tower_weights = None
protocol = dict(type='Scores', metrics=dict(frechet=dict(
    type='TowerFrechet', tower='${tower}', weights='${tower_weights}')))
