"""Metrics: pure functions, streaming metrics over TokenizerOutput, and one pass over several held-out sets.

`functional/` pure functions; `base` Metric and EvalContext; `pixels` PSNR, SSIM, L1, LPIPS; `frechet` FrechetDistance in the teacher's
space; `fid` FID with `inception`; `retrieval` Retrieval; `zeroshot` ZeroShot; `probes` KNN and
LinearProbe; `regions` RegionError and RegionZeroShot; `video` FrameChange; `cosine` TokenCosine; `usage` CodeUsage; `evaluate`
SetEvaluator; `stamps` what numbers compare by; `table` text and JSON; `samples` scores of single samples; `ranks` the collectives.
"""
from dtbox.evaluation.base import EvalContext, Metric
from dtbox.evaluation.cosine import TokenCosine
from dtbox.evaluation.evaluate import SetEvaluator
from dtbox.evaluation.fid import FID
from dtbox.evaluation.frame_change import FrameChange
from dtbox.evaluation.frechet_distance import FrechetDistance
from dtbox.evaluation.info import Infos, MetricInfo
from dtbox.evaluation.json_files import to_json
from dtbox.evaluation.pixels import L1, LPIPS, PSNR, SSIM
from dtbox.evaluation.probes import KNN, Bank, LinearProbe
from dtbox.evaluation.region_metrics import RegionError, RegionZeroShot
from dtbox.evaluation.results import Results
from dtbox.evaluation.retrieval import Retrieval
from dtbox.evaluation.samples import read_samples, write_samples
from dtbox.evaluation.table import format_table
from dtbox.evaluation.usage import CodeUsage
from dtbox.evaluation.zeroshot import ZeroShot

__all__ = ['Bank', 'CodeUsage', 'EvalContext', 'FID', 'FrameChange', 'FrechetDistance', 'Infos', 'KNN', 'L1', 'LPIPS', 'LinearProbe', 'Metric',
           'MetricInfo', 'PSNR', 'RegionError', 'RegionZeroShot', 'Results', 'Retrieval', 'SSIM', 'SetEvaluator', 'TokenCosine', 'ZeroShot',
           'format_table', 'read_samples', 'to_json', 'write_samples']
