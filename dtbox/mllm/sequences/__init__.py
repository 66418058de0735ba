"""Sequences: from conversations to ids, positions, segments and targets. ../README.md says how.

`tokens.py` and `text_tokenizers.py` are the text tokenizers, `templates.py` and `chat_template.py` the templates with
their `spans.py`, `rendered.py` lays places out, packs and pads them, `builder.py` puts it all together.
"""
from dtbox.mllm.sequences import builder, chat_template, templates, text_tokenizers  # noqa: F401
