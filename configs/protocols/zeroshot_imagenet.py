"""Zero-shot top-1 and top-5 with the 80 templates of CLIP: tokens beside teacher.

Templates: arXiv 2103.00020. The classes are those of the data."""
protocol = dict(type='Scores', metrics=dict(zeroshot=dict(type='ZeroShot', templates='imagenet80', ks=(1, 5))))
