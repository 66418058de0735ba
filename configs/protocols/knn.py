"""20 weighted nearest neighbours among the training embeddings: tokens beside teacher.

Temperature 0.07 (DINO, arXiv 2104.14294)."""
protocol = dict(type='Scores', metrics=dict(knn=dict(type='KNN', k=20, temperature=0.07)))
