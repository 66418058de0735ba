"""Zero-shot top-1 and top-5 with "a photo of a NAME": tokens beside teacher; the classes are those of the data."""
protocol = dict(type='Scores', metrics=dict(zeroshot=dict(type='ZeroShot', templates=['a photo of a {}'], ks=(1, 5))))
