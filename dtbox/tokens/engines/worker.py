"""The process of a local worker: python -m dtbox.tokens.engines.worker NUMBER PID

NUMBER is that of an open file, the worker's end of a pipe; PID is the process that started it. A `Start` comes through
the pipe, then one `SourceShard` after the other, None at the end; `Message`s go back.
"""
from __future__ import annotations

import sys
from multiprocessing.connection import Connection
from typing import Any

from dtbox.processes import end_with_parent


def serve(pipe: Any) -> None:
    """Do the work that comes through a pipe until it ends."""
    from dtbox.tokens.encoder import Encoder
    from dtbox.tokens.engines.messages import BEGUN, IMAGES, Message, begin, work
    start = pipe.recv()
    opened: list[Encoder] = []
    for message in begin(start, opened.append):
        pipe.send(message)
        if message.kind != BEGUN and not opened:
            return
    while (shard := pipe.recv()) is not None:
        pipe.send(work(opened[0], shard, start.out, lambda images: pipe.send(Message(IMAGES, number=images))))


def main(number: int, parent: int) -> None:
    """Serve the open file `number` for the process `parent`."""
    end_with_parent(parent)
    try:
        serve(Connection(number))
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the driver has gone
        pass
    except KeyboardInterrupt:  # Ctrl-C reaches all processes of a terminal; the driver tells of it
        pass


if __name__ == '__main__':
    main(int(sys.argv[1]), int(sys.argv[2]))
