"""Figures: pure functions from numbers and images to image files.

`sheets` inputs above reconstructions (Pillow); `codebooks` how often each code is used, `curves` the terms of a run
(matplotlib, imported where a function draws). `style` is what the plots share.
For several runs: `tradeoff` two metrics with the Pareto front, `along` metrics along an axis, `runs` curves, `strips`
contact sheets; `variant_style` and `labels` tell variants apart.
"""
