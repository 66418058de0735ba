"""Who may call a server: callers on the same machine, or whoever knows its token."""
from __future__ import annotations

import hmac
import ipaddress
import os
from dataclasses import dataclass
from typing import Optional

from dtbox.errors import InputError
from dtbox.serving.refusals import FORBIDDEN, UNAUTHORIZED, Refusal

VARIABLE = 'DTBOX_TOKEN'
"""Environment variable of the token: a command line can be read by other users of a machine."""
LOCALHOST = 'localhost'


def is_local(host: str) -> bool:
    """Whether an address is one of this machine that others cannot reach."""
    try:
        return host.lower() == LOCALHOST or ipaddress.ip_address(host.strip('[]')).is_loopback
    except ValueError:  # the name of a machine
        return False


def choose_token(host: str, token: Optional[str]) -> Optional[str]:
    """Return the token of a server: that of the command line, or of the environment; None for none.

    Raises:
        InputError: none for an address that others can reach; one that a header cannot hold.
    """
    token = os.environ.get(VARIABLE) if token is None else token
    if token is not None and (not token or not token.isascii() or not token.isprintable() or ' ' in token):
        raise InputError('the token is empty, or has characters that the header of a request cannot hold. Take '
                         'letters and digits.', '--token')
    if token is None and not is_local(host):
        raise InputError(f'others can reach the address {host}, so a token is required: set the environment variable '
                         f'{VARIABLE} (or --token). Clients send it as `Authorization: Bearer TOKEN`.', '--host')
    return token


@dataclass(frozen=True)
class Access:
    """Who may call.

    Attributes:
        token: that callers send; None where callers on the same machine need none.
    """
    token: Optional[str] = None

    def check(self, host: str, authorization: str) -> None:
        """Let a request in.

        Args:
            host: header `Host`. Without a token it has to name this machine: a page in a browser, whose name somebody
                lets point here, would otherwise call the server.
            authorization: header `Authorization`.

        Raises:
            Refusal: who may not.
        """
        if self.token is None:
            name = host.rpartition(':')[0] if not host.endswith(']') and ':' in host else host
            if not is_local(name):
                raise Refusal(FORBIDDEN, f'the request is for the host {name[:80]!r}; without a token this server '
                              f'answers to {LOCALHOST} and 127.0.0.1 alone.')
            return
        scheme, _, given = authorization.partition(' ')
        if scheme.lower() != 'bearer' or not hmac.compare_digest(given.strip().encode(), self.token.encode()):
            raise Refusal(UNAUTHORIZED, 'the token is missing or wrong; expected the header `Authorization: Bearer '
                          'TOKEN` with the token of this server (api_key of an OpenAI client).')
