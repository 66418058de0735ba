"""Logistic regression on the training embeddings: tokens beside teacher.

C 0.316, at most 1,000 iterations of L-BFGS (CLIP, arXiv 2103.00020).

Needs scikit-learn (the extra `probe`).
"""
protocol = dict(type='Scores', metrics=dict(linear_probe=dict(type='LinearProbe', c=0.316)))
