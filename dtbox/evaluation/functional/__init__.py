"""Pure metric functions: tensors in, tensors or numbers out; no state, no ranks, no model.

`image_quality` psnr, ssim and absolute error per image; `frechet` the distance of two Gaussians; `ranking` places,
recall and top-k; `codes` what a histogram of codes says; `texts` replies beside right answers; `short_answers`,
`yes_no` and `choices` the rules of benchmarks: VQAv2 and GQA, POPE and MME, SEED-Bench and MMBench.
"""
from dtbox.evaluation.functional.choices import circular_hits, find_letter
from dtbox.evaluation.functional.codes import code_usage, count_codes, seen_counts
from dtbox.evaluation.functional.frechet import frechet_distance
from dtbox.evaluation.functional.image_quality import absolute_error, psnr, ssim, to_unit
from dtbox.evaluation.functional.ranking import match_pairs, places, recall_at, topk_places
from dtbox.evaluation.functional.short_answers import gqa_match, normalize_vqa, vqa_accuracy
from dtbox.evaluation.functional.texts import cider_ceilings, cider_d, normalize_text, tokenize_caption, word_f1
from dtbox.evaluation.functional.yes_no import mme_scores, pope_scores, read_yes_no

__all__ = ['absolute_error', 'cider_ceilings', 'cider_d', 'circular_hits', 'code_usage', 'count_codes', 'find_letter',
           'frechet_distance', 'gqa_match', 'match_pairs', 'mme_scores', 'normalize_text', 'normalize_vqa', 'places',
           'pope_scores', 'psnr', 'read_yes_no', 'recall_at', 'seen_counts', 'ssim', 'to_unit', 'tokenize_caption',
           'topk_places', 'vqa_accuracy', 'word_f1']
