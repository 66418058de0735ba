"""The multimodal language model: compositions of parts that the registries give."""
