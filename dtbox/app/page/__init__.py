"""The page of `dtbox app`: a module a tab, which wires functions to components of gradio; `build.py` puts them
together, `serving.py` serves them. gradio is imported when the page is built."""
