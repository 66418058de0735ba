"""Retrieval R@1, 5 and 10, both ways: tokens beside teacher.

At most five captions an image (Karpathy's test split of COCO or Flickr30k)."""
protocol = dict(type='Scores', metrics=dict(retrieval=dict(type='Retrieval', ks=(1, 5, 10), most=5)))
