"""Pure metric functions: tensors in, tensors or numbers out; no state, no ranks, no model.

`image_quality` psnr, ssim and absolute error per image; `frechet` the distance of two Gaussians; `ranking` places,
recall and top-k; `codes` what a histogram of codes says; `texts` replies beside right answers.
"""
from dtbox.evaluation.functional.codes import code_usage, count_codes, seen_counts
from dtbox.evaluation.functional.frechet import frechet_distance
from dtbox.evaluation.functional.image_quality import absolute_error, psnr, ssim, to_unit
from dtbox.evaluation.functional.ranking import match_pairs, places, recall_at, topk_places
from dtbox.evaluation.functional.texts import cider_d, normalize_text, word_f1

__all__ = ['absolute_error', 'cider_d', 'code_usage', 'count_codes', 'frechet_distance', 'match_pairs',
           'normalize_text', 'places', 'psnr', 'recall_at', 'seen_counts', 'ssim', 'to_unit', 'topk_places', 'word_f1']
