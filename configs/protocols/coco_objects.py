"""Reconstruction inside the masks of objects, by their size, beside the background's; zero-shot category of each.

Data: --data configs/_base_/datasets/coco_objects.py. Leaves a table and an image of the worst objects.
"""
protocol = dict(type='RegionScores', metrics=dict(
    region_error=dict(type='RegionError'),
    region_zeroshot=dict(type='RegionZeroShot', templates=['a photo of a {}'])))
