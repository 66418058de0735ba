"""Codebooks: the table of a quantizer, where it starts and how it learns."""
from dtbox.quantizers.codebooks.base import Codebook
from dtbox.quantizers.codebooks.clustering import ClusteringCodebook
from dtbox.quantizers.codebooks.ema import EMACodebook, smoothed
from dtbox.quantizers.codebooks.gradient import GradientCodebook
from dtbox.quantizers.codebooks.starts import CheckpointStart, KMeansStart, SampleStart
from dtbox.quantizers.codebooks.vectors import draw, statistics

__all__ = ['CheckpointStart', 'ClusteringCodebook', 'Codebook', 'EMACodebook', 'GradientCodebook', 'KMeansStart',
           'SampleStart', 'draw', 'smoothed', 'statistics']
