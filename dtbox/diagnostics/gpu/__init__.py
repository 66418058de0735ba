"""The GPU check: is every path of dtbox right on this card, and how fast is it?

`parts` lists what is checked, `machine` says what the machine has, `runner` runs the parts one after another in a
process (`worker`) that may die, `results` holds what they find. The parts: `search`, `quantizers`, `attention`,
`precision`, `resuming`, `ranks`, `compiled`, `memory` (right or wrong), `search_speed`, `model_speed`, `step_speed`,
`drawing_speed`, `gaps` (how fast). `models` builds what several of them run.
"""
