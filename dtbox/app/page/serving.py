"""The page over HTTP: who may look, which files are served, and nothing that leaves the machine."""
from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from dtbox.app.functions.runs import find_reports, is_grid
from dtbox.app.opened import Runs
from dtbox.app.page.build import CSS, FONTS, build_page
from dtbox.app.page.frame import Sources
from dtbox.errors import need_package
from dtbox.serving.access import VARIABLE, Access
from dtbox.serving.limits import Limits
from dtbox.serving.refusals import FORBIDDEN, Refusal
from dtbox.serving.server import make_uvicorn
from dtbox.tokens.catalog import Catalog

COOKIE = 'dtbox_token'
QUIET = dict(GRADIO_ANALYTICS_ENABLED='False', GRADIO_SHARE='False', GRADIO_MCP_SERVER='False', HF_HUB_OFFLINE='1')
"""Variables under which gradio asks nobody for anything."""
SANDBOX = "sandbox; default-src 'self' 'unsafe-inline' data:; script-src 'none'"
"""Of report pages, which may come from a stranger: they are shown, and run nothing."""


POLICY = ("default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' "
          "'unsafe-inline'; form-action 'self'; frame-ancestors 'self'; base-uri 'self'")
"""Of all other answers: a browser asks no other host for anything, whatever gradio's page contains."""


def guard_answer(send: Any) -> Any:
    """Return `send` with `POLICY` among the headers of an answer that has no policy of its own."""
    async def run(message: Any) -> None:
        if message['type'] == 'http.response.start':
            headers = list(message.get('headers', ()))
            if not any(key.lower() == b'content-security-policy' for key, _ in headers):
                headers += [(b'content-security-policy', POLICY.encode()), (b'referrer-policy', b'same-origin')]
            message = {**message, 'headers': headers}
        await send(message)
    return run


class Gate:
    """Lets requests in: those to this machine, or with the token; none that another page of a browser sends.

    Args:
        app: ASGI application.
        access: who may call.
    """

    def __init__(self, app: Any, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Pass a request on, or answer it with a refusal."""
        if scope['type'] not in ('http', 'websocket'):
            await self.app(scope, receive, send)
            return
        headers = {key.decode('latin-1').lower(): value.decode('latin-1') for key, value in scope['headers']}
        asked = parse_qs(scope.get('query_string', b'').decode('latin-1'))
        given = asked.get('token', [''])[0]
        try:
            check_origin(headers)
            self.access.check(headers.get('host', ''), read_token(headers, given))
        except Refusal as e:
            await answer(send, e.status, e.message + HINTS.get(e.status, ''))
            return
        if given and self.access.token is not None:  # into a cookie, out of the address
            rest = urlencode([(key, value) for key, values in asked.items() if key != 'token' for value in values])
            place = f'{scope["path"]}?{rest}' if rest else scope['path']
            await answer(send, 303, '', [('location', place), (
                'set-cookie', f'{COOKIE}={given}; HttpOnly; SameSite=Strict; Path=/')])
            return
        await self.app(scope, receive, guard_answer(send))


HINTS = {401: ' Open the page once as http://HOST:PORT/?token=TOKEN.'}
"""Status -> what helps, after the sentence of `Access`."""


def read_token(headers: Mapping[str, str], given: str = '') -> str:
    """Return what a request has for the header `Authorization`: that header, the token of its address or cookie."""
    if given:
        return f'Bearer {given}'
    cookie = SimpleCookie(headers.get('cookie', '')).get(COOKIE)
    return headers.get('authorization') or (f'Bearer {cookie.value}' if cookie else '')


def check_origin(headers: Mapping[str, str]) -> None:
    """Raise `Refusal` for a request that another page of a browser sends here."""
    origin = headers.get('origin')
    if origin is not None and urlsplit(origin).netloc != headers.get('host', ''):
        raise Refusal(FORBIDDEN, f'the request comes from the page {origin[:80]!r}; this server answers to its own '
                      'pages alone.')


async def answer(send: Any, status: int, text: str, headers: Sequence[tuple[str, str]] = ()) -> None:
    """Send an answer of plain text."""
    fields = [('content-type', 'text/plain; charset=utf-8'), *headers]
    await send(dict(type='http.response.start', status=status,
                    headers=[(key.encode(), value.encode('latin-1')) for key, value in fields]))
    await send(dict(type='http.response.body', body=text.encode()))


def make_sources(runs: Runs, folders: Sequence[str], scratch: str, images: str | None = None, tokens: str | None = None,
                 limits: Limits = Limits()) -> Sources:
    """Return what a page shows.

    Args:
        runs: Runs.
        folders: run folders and grids on this machine.
        scratch: folder for figures.
        images: folder of images to search.
        tokens: folder of token shards.
        limits: of uploads.
    """
    return Sources(runs, folders, find_reports(folders), images, Catalog(tokens) if tokens else None, limits, scratch)


def build_app(sources: Sources, access: Access) -> Any:
    """Return the application: the page, the report pages, behind the `Gate`.

    Raises:
        InputError: gradio is not installed.
    """
    os.environ.update(QUIET)
    os.environ.setdefault('GRADIO_TEMP_DIR', os.path.join(sources.scratch, 'uploads'))
    gr = need_package('gradio', 'app', 'dtbox app')
    fastapi = need_package('fastapi', 'app', 'dtbox app')
    from starlette.staticfiles import StaticFiles

    class Shown(StaticFiles):
        """The files of a report, under `SANDBOX`."""

        def file_response(self, *args: Any, **kwargs: Any) -> Any:
            response = super().file_response(*args, **kwargs)
            response.headers.update({'Content-Security-Policy': SANDBOX, 'X-Content-Type-Options': 'nosniff'})
            return response
    outer = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for number, folder in enumerate(sources.reports.values()):
        outer.mount(f'/reports/{number}', Shown(directory=folder))
    gr.set_static_paths([sources.scratch])
    blocks = build_page(gr, sources)
    theme = gr.themes.Default(font=list(FONTS[0]), font_mono=list(FONTS[1]))
    gr.mount_gradio_app(outer, blocks, path='/', footer_links=[], run_history=False, allowed_paths=[sources.scratch],
                        show_error=False, max_file_size=sources.limits.image_bytes, ssr_mode=False, pwa=False,
                        mcp_server=False, enable_monitoring=False, theme=theme, css=CSS)
    return Gate(outer, access)


def run(runs: Runs, listening: Any, access: Access, grids: Sequence[str] = (), images: str | None = None,
        tokens: str | None = None, limits: Limits = Limits()) -> None:
    """Serve the page until the process is told to stop.

    Args:
        runs: Runs; the first is opened before the page is there.
        listening: a socket that listens.
        access: who may look.
        grids: folders of grids.
        images, tokens, limits: see `make_sources`.
    """
    runs.get(runs.names[0])
    folders = [source for source in runs.sources.values() if os.path.isdir(source)] + list(grids)
    with tempfile.TemporaryDirectory(prefix='dtbox-app-') as scratch:
        server = make_uvicorn(build_app(make_sources(runs, folders, scratch, images, tokens, limits), access),
                              'app', 'dtbox app', access_log=False)
        print(say_start(access, *listening.getsockname()[:2]), flush=True)
        server.run(sockets=[listening])


def say_start(access: Access, host: str, port: int) -> str:
    """Return the sentence with which the page begins."""
    name = f'[{host}]' if ':' in host else host
    who = (f'open it with ?token=, the token of --token or {VARIABLE}' if access.token is not None else
           'whoever works on this machine can look')
    return f'the page is at http://{name}:{port}/; {who}. Ctrl-C ends it.'


def split_grids(sources: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return (runs, folders of grids)."""
    grids = [source for source in sources if os.path.isdir(source) and is_grid(source)]
    return [source for source in sources if source not in grids], grids
