"""Building blocks that every room of parts shares: attention, projections, conv blocks, gradient estimators."""
from dtbox.layers import attention, beit_projection, conv, estimators, projections  # noqa: F401
