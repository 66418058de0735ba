"""Weighted 20 nearest neighbours among the training pictures' embeddings, temperature 0.07 (DINO, arXiv 2104.14294): tokens beside teacher."""
protocol = dict(type='Scores', metrics=dict(knn=dict(type='KNN', k=20, temperature=0.07)))
