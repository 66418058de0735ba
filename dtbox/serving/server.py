"""From the command line to a server that runs."""
from __future__ import annotations

import copy
import socket
from typing import Any, Optional

from dtbox.errors import InputError, need_package
from dtbox.serving.access import VARIABLE, Access, choose_token
from dtbox.serving.app import PATIENCE, build_app
from dtbox.serving.service import Service


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        InputError: an address that is taken, or not one of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as e:
        raise InputError(f'the address {host}:{port} cannot be listened to ({e}). Give another --port, or another '
                         '--host.') from e


def say_start(service: Service, host: str, port: int) -> str:
    """Return the sentence with which a server begins."""
    name = f'[{host}]' if ':' in host else host
    who = (f'clients send the token of --token or {VARIABLE}' if service.access.token is not None else
           'callers on this machine need no token')
    return f'serving {service.name} at http://{name}:{port}/v1; {who}. Ctrl-C ends it.'


def make_server(service: Service) -> Any:
    """Return the server of uvicorn that serves a service.

    Raises:
        InputError: uvicorn or FastAPI is not installed.
    """
    return make_uvicorn(build_app(service), 'serve', 'dtbox serve')


def make_uvicorn(app: Any, extra: str, why: str, **how: Any) -> Any:
    """Return the server of uvicorn that serves an application.

    Args:
        app: of ASGI.
        extra, why: as of `need_package`.
        how: more settings of uvicorn.

    Raises:
        InputError: uvicorn is not installed.
    """
    uvicorn = need_package('uvicorn', extra, why)
    log = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
    log['loggers']['uvicorn.error']['level'] = 'WARNING'
    return uvicorn.Server(uvicorn.Config(app, **{**dict(log_config=log, log_level=None, ws='none', server_header=False,
                                                        timeout_graceful_shutdown=PATIENCE), **how}))


def run(service: Service, listening: socket.socket) -> None:
    """Serve until the process is told to stop.

    Args:
        service: the service.
        listening: a socket that listens.
    """
    server = make_server(service)
    print(say_start(service, *listening.getsockname()[:2]), flush=True)
    server.run(sockets=[listening])


def make_access(host: str, token: Optional[str]) -> Access:
    """Return who may call a server at an address; see `choose_token`."""
    return Access(choose_token(host, token))

