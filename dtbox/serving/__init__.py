"""Multimodal language models over HTTP, in the form that clients of OpenAI's API read: `dtbox serve RUN`."""
