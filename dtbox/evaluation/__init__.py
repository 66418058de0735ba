"""Metrics: pure functions, streaming metrics over TokenizerOutput and MLLMOutput, and one pass over several
held-out sets.

README.md says what each module holds, how to add a metric, and how to find out why an rFID is wrong.
"""
from dtbox.evaluation.base import Metric
from dtbox.evaluation.benchmark_choices import MME, POPE, MultipleChoice
from dtbox.evaluation.benchmarks import CIDErD, GQAAccuracy, VQAAccuracy
from dtbox.evaluation.class_kept import ClassKept
from dtbox.evaluation.clip_score import CLIPScore
from dtbox.evaluation.context import EvalContext
from dtbox.evaluation.cosine import TokenCosine
from dtbox.evaluation.drawing_class import DrawingClass
from dtbox.evaluation.drawings import DrawingFrechet, DrawingScore
from dtbox.evaluation.evaluate import SetEvaluator
from dtbox.evaluation.fid import FID
from dtbox.evaluation.frame_change import FrameChange
from dtbox.evaluation.frechet_distance import FrechetDistance
from dtbox.evaluation.info import Infos, MetricInfo
from dtbox.evaluation.json_files import to_json
from dtbox.evaluation.likelihood import CodeLikelihood
from dtbox.evaluation.pixels import L1, LPIPS, PSNR, SSIM
from dtbox.evaluation.probes import KNN, Bank, LinearProbe
from dtbox.evaluation.region_metrics import RegionError, RegionZeroShot
from dtbox.evaluation.replies import AnswerAccuracy, CaptionScore, ClosedLoop
from dtbox.evaluation.results import Results
from dtbox.evaluation.retrieval import Retrieval
from dtbox.evaluation.samples import read_samples, write_samples
from dtbox.evaluation.table import format_table
from dtbox.evaluation.tower_frechet import TowerFrechet
from dtbox.evaluation.usage import CodeUsage
from dtbox.evaluation.zeroshot import ZeroShot

__all__ = ['AnswerAccuracy', 'Bank', 'CIDErD', 'CLIPScore', 'CaptionScore', 'ClassKept', 'ClosedLoop', 'CodeLikelihood',
           'CodeUsage', 'DrawingClass', 'DrawingFrechet', 'DrawingScore', 'EvalContext', 'FID', 'FrameChange',
           'FrechetDistance', 'GQAAccuracy', 'Infos', 'KNN', 'L1', 'LPIPS', 'LinearProbe', 'MME', 'Metric',
           'MetricInfo', 'MultipleChoice', 'POPE', 'PSNR', 'RegionError', 'RegionZeroShot', 'Results', 'Retrieval',
           'SSIM', 'SetEvaluator', 'TokenCosine', 'TowerFrechet', 'VQAAccuracy', 'ZeroShot', 'format_table',
           'read_samples', 'to_json', 'write_samples']
