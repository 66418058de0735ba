"""What a caller hands in: each argument of a public function is read by a small reader, which returns it in its usual
form or raises an `InputError`; `read_arguments` adds the name of the argument.

    @read_arguments(codes=read_codes, clamp=read_flag)
    def decode(self, codes, clamp=True): ...

`plain.py` holds the decorator and readers of numbers, names and paths, `tensors.py` those of tensors.
"""
from dtbox.arguments.plain import (
    Reader,
    allow_none,
    describe,
    iterate,
    read_arguments,
    read_choice,
    read_count,
    read_flag,
    read_kind,
    read_name,
    read_names,
    read_number,
    read_options,
    read_path,
    read_paths,
    read_strings,
    refuse,
)
from dtbox.arguments.tensors import (
    FLOATS,
    WHOLE,
    read_codes,
    read_device,
    read_floats,
    read_streams,
    read_tensor,
    read_texts,
    read_whole,
)

__all__ = ['FLOATS', 'Reader', 'WHOLE', 'describe', 'iterate', 'allow_none', 'read_arguments', 'read_choice',
           'read_codes', 'read_count', 'read_device', 'read_flag', 'read_floats', 'read_kind', 'read_name',
           'read_names', 'read_number', 'read_options', 'read_path', 'read_paths', 'read_streams', 'read_strings',
           'read_tensor', 'read_texts', 'read_whole', 'refuse']
