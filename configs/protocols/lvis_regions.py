"""As `coco_objects`, by the frequency of the categories too: rare, common and frequent ones of LVIS.

Data: --data configs/_base_/datasets/lvis.py.
"""
_base_ = ['./coco_objects.py']
