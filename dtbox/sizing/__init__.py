"""Cost models of a config: parameters, FLOPs, memory (`describe.py`, `fit.py`), and steps on many GPUs (`scale.py`, `communication.py`), checked
against real ranks by `scale_check.py`."""
