"""How tokens and codes are arranged.

`tokens.py` says where the tokens of an image lie (`base.py` is the contract), `stream_layout.py` which codes a stream
has, `codes.py` which streams there are and which number each code has, `orders.py` how codes follow one another.
"""
from dtbox.layout.base import TokenLayout  # noqa: F401
from dtbox.layout.codes import CodeLayout  # noqa: F401
from dtbox.layout.orders import CodeOrder, delay_codes, undo_delay  # noqa: F401
from dtbox.layout.stream_layout import StreamLayout, check_codes  # noqa: F401
from dtbox.layout.tokens import Grid, Scales, Sequence, Video, need_grid  # noqa: F401
