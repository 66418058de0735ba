"""Cost models of a config: parameters, FLOPs, memory, and steps on many GPUs.

`describe` counts a model, with `tracing`, in the types that `autocast` gives; `fit` says whether it fits a GPU, and
`propose` which batch does, with `blocks`. `scale` predicts steps on many GPUs from
the messages of `communication`; `scale_tables` and `scale_report` show them. `scale_check` compares with real ranks,
which run `scale_ranks`.
"""
