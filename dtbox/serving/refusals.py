"""What a server says where it does not answer: an HTTP status, and OpenAI's error as JSON."""
from __future__ import annotations

from typing import Any

from dtbox.errors import InputError

BAD_REQUEST = 400
UNAUTHORIZED, FORBIDDEN = 401, 403
NOT_FOUND = 404
TIMEOUT = 408
TOO_LARGE, WRONG_MEDIA = 413, 415
TOO_MANY = 429
FAULT = 500
CODES = {UNAUTHORIZED: 'invalid_api_key', FORBIDDEN: 'forbidden_host', TIMEOUT: 'timeout', TOO_LARGE: 'too_large',
         WRONG_MEDIA: 'unsupported_media_type', TOO_MANY: 'queue_full', FAULT: 'server_error'}
"""`code` of an error by its status, where nothing else is said."""
TYPES = {TOO_MANY: 'rate_limit_error', FAULT: 'server_error'}
RETRY = {'Retry-After': '1'}


class Refusal(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        message: what came, what was expected, what to do.
        param: entry of the request that is meant, or ''.
        code: a word for programs; '' takes that of the status.
    """

    def __init__(self, status: int, message: str, param: str = '', code: str = '') -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.param, self.code = param, code or CODES.get(status, '')

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        if self.status == UNAUTHORIZED:
            return {'WWW-Authenticate': 'Bearer'}
        return RETRY if self.status == TOO_MANY else {}

    def to_json(self) -> dict[str, Any]:
        """Return the error as OpenAI writes it."""
        return dict(error=dict(message=self.message, type=TYPES.get(self.status, 'invalid_request_error'),
                               param=self.param or None, code=self.code or None))


def explain(error: BaseException) -> Refusal:
    """Return what a caller is told of an exception: an `InputError` is a bad request, what is no refusal a fault."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, InputError):
        return Refusal(BAD_REQUEST, str(error), error.where)
    return Refusal(FAULT, 'the server failed at this request; its log says why.')
