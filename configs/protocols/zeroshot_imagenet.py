"""Zero-shot top-1 and top-5 with the 80 templates of CLIP (arXiv 2103.00020): tokens beside teacher; the classes are those of the data."""
protocol = dict(type='Scores', metrics=dict(zeroshot=dict(type='ZeroShot', templates='imagenet80', ks=(1, 5))))
