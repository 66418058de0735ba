"""The report on a grid or on runs: tables, plots and one page, built from what the runs left; no model is run.

`experiment` holds the trials, `trials` and `run_files` read them; `metric_names` labels and numbers; `statistics`
means, intervals, paired differences, Pareto front; `pairs` scores of single images; `tables` one table in four
languages; `score_tables` the tables; `figures` the figures; `page` the HTML (page.html, style.css); `assembly` puts it
together.
"""
from dtbox.report.assembly import build

__all__ = ['build']
