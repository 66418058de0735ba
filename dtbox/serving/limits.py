"""What a server takes."""
from __future__ import annotations

from dataclasses import dataclass, fields

from dtbox.arguments import read_count, read_number
from dtbox.errors import at


@dataclass(frozen=True)
class Limits:
    """What a server takes of a request, and how many of them at a time.

    Attributes:
        images: most images of a request.
        image_bytes: most bytes of an image, as the file that it is.
        pixels: most pixels of an image, before it is resized.
        request_bytes: most bytes of a request.
        characters: most characters of all texts of a request.
        choices: most answers or drawings of a request.
        waiting: most requests that wait while one is answered.
        seconds: most seconds from the arrival of a request to the end of its answer.

    Raises:
        InputError: values below 1.
    """
    images: int = 16
    image_bytes: int = 10_000_000
    pixels: int = 33_000_000
    request_bytes: int = 20_000_000
    characters: int = 32_000
    choices: int = 8
    waiting: int = 32
    seconds: float = 120.0

    def __post_init__(self) -> None:
        for field in fields(self):
            read = read_number(0, above=True) if field.name == 'seconds' else read_count(
                0 if field.name == 'waiting' else 1)
            with at(field.name):
                read(getattr(self, field.name))
