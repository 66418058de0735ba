"""Retrieval R@1, 5 and 10, both ways, with at most five captions a picture (Karpathy's test split of COCO or Flickr30k): tokens beside teacher."""
protocol = dict(type='Scores', metrics=dict(retrieval=dict(type='Retrieval', ks=(1, 5, 10), most=5)))
