"""The vectors of classes for zero-shot scores, computed once for all tests whose text tower has the same weights."""
import pytest

from dtbox.checksums import hash_tensors
from dtbox.evaluation import zeroshot

FOUND = {}


@pytest.fixture
def class_vectors(monkeypatch):
    """Most recipes freeze one text tower, and embedding the names of all classes is half of their evaluation."""
    compute = zeroshot.compute_class_vectors

    def look_up(context, templates, block=256):
        weights = hash_tensors(context.embed_text.__self__.text.state_dict())
        key = (weights, tuple(context.classes), str(templates))
        if key not in FOUND:
            FOUND[key] = compute(context, templates, block)
        return FOUND[key]
    monkeypatch.setattr(zeroshot, 'compute_class_vectors', look_up)
