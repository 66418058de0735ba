"""Protocols: named ways to measure, each a config with a hash that goes into every result.

`base` Protocol and `Scores` (metrics in one pass); `subject` what is measured; `regions`, `resolution` and `video`
leave tables, plots and files of their own; `measure` runs several over one model. Language models: `replies` says how
the questions of a benchmark are asked, `asking` asks them, `scoring` scores answer files without a model; `blanked`
asks those of the run's own data with each stream of codes blanked.
"""
from dtbox.protocols.base import Protocol, Scores, load_protocol
from dtbox.protocols.blanked import BlankedStreams
from dtbox.protocols.measure import measure_protocols, report_protocols
from dtbox.protocols.regions import RegionScores
from dtbox.protocols.replies import BenchmarkReplies
from dtbox.protocols.resolution import Resolution
from dtbox.protocols.scoring import score_answers
from dtbox.protocols.video import VideoScores

__all__ = ['BenchmarkReplies', 'BlankedStreams', 'Protocol', 'RegionScores', 'Resolution', 'Scores', 'VideoScores',
           'load_protocol', 'measure_protocols', 'report_protocols', 'score_answers']
