"""The report on a grid or on runs: tables, plots and one page, built from what the runs left; no model is run.

`experiment` is what is known of the trials, `trials` and `disk` read it; `names` knows metrics; `statistics` means, intervals, paired
differences, Pareto front; `pairs` scores of single pictures; `tables` one table in four languages; `scores` the tables; `figures` the figures;
`page` the HTML (page.html, style.css); `make` puts it all together.
"""
from dtbox.report.assembly import build

__all__ = ['build']
