"""A local page on runs: what `dtbox app` serves. `functions` compute, `page` shows; `opened.py` holds what is open."""
