"""`dtbox serve` under load: whether every request gets its own answer, how long they take, and whether memory grows.

    python tools/benchmarks/serving.py RUN [--requests 200] [--clients 8]

The server is a process of its own. Clients send questions about images and drawings in turn, whole and as streams, each
with a seed of its own; one in ten hangs up in the middle. Afterwards the Python API is asked the same in this process:
an answer that is not that of its own request counts as mixed up. Memory is that of the server's process.
"""
from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import torch
from measuring import check_counts
from PIL import Image

from dtbox.cli.guard import main_guard
from dtbox.errors import InputError
from dtbox.packaged import IMPORT_ROOT

QUESTION, PROMPTS = 'what is it?', ('red heart', 'blue book', 'man running', 'green apple', 'sun')
CHAT, DRAW = '/v1/chat/completions', '/v1/images/generations'
HANGS_UP = 10
"""One request in so many is left by its client."""


@dataclass
class Request:
    """A request and what came of it.

    Attributes:
        body: of the request.
        path: its address.
        leaves: whether its client hangs up in the middle.
        answer: text, or a drawing in base64; None where none came.
        seconds: until the whole answer was there.
        events: of a stream.
        refused: times that the queue was full.
    """
    body: dict[str, Any]
    path: str
    leaves: bool
    answer: Optional[str] = None
    seconds: float = 0.0
    events: int = 0
    refused: int = 0


def make_requests(count: int) -> list[Request]:
    """Return requests of four kinds in turn; every second round streams."""
    requests = []
    for i in range(count):
        stream, leaves = i % 4 >= 2, i % HANGS_UP == HANGS_UP - 1
        if i % 2:
            body = dict(prompt=PROMPTS[i % len(PROMPTS)], seed=i, stream=stream or leaves)
            requests.append(Request(body, DRAW, leaves))
        else:
            parts = [dict(type='image_url', image_url=dict(url=draw_url(i))), dict(type='text', text=QUESTION)]
            body = dict(messages=[dict(role='user', content=parts)], seed=i, temperature=1.0, stream=stream or leaves)
            requests.append(Request(body, CHAT, leaves))
    return requests


def draw_url(number: int) -> str:
    """Return an image of a colour of its own as a data URI."""
    content = io.BytesIO()
    Image.new('RGB', (96, 80), (number * 37 % 256, number * 91 % 256, number * 153 % 256)).save(content, 'PNG')
    return f'data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}'


def start_server(run: str) -> tuple[subprocess.Popen, int]:
    """Start a server on a free port; returns its process and the port."""
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, [IMPORT_ROOT, os.environ.get('PYTHONPATH')])))
    process = subprocess.Popen([sys.executable, '-m', 'dtbox', 'serve', run, '--port', '0'], env=env, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r'http://127\.0\.0\.1:(\d+)/v1', line)
    if found is None:
        process.kill()
        raise InputError(f'the server did not start: {line.strip()}')
    threading.Thread(target=process.stdout.read, daemon=True).start()  # its log, which nobody reads
    return process, int(found[1])


def send(port: int, request: Request) -> None:
    """Send a request until it is answered; fills in what came."""
    start = time.perf_counter()
    while True:
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=600)
        connection.request('POST', request.path, json.dumps(request.body), {'Content-Type': 'application/json'})
        response = connection.getresponse()
        if response.status != 429:
            break
        request.refused += 1
        response.read()
        connection.close()
        time.sleep(0.2)
    if response.status != 200:
        raise InputError(f'{request.path} was answered by {response.status}: {response.read()[:300]!r}')
    if request.leaves:
        response.readline()
    else:
        request.answer = read_stream(response, request) if request.body['stream'] else read_answer(
            json.loads(response.read()))
    connection.close()
    request.seconds = time.perf_counter() - start


def read_answer(body: dict[str, Any]) -> str:
    """Return the text or the drawing of a whole answer."""
    return body['data'][0]['b64_json'] if 'data' in body else body['choices'][0]['message']['content']


def read_stream(response: http.client.HTTPResponse, request: Request) -> str:
    """Return the text or the drawing of a stream."""
    answer = ''
    for line in response.read().decode().splitlines():
        if line.startswith('data: {'):
            request.events += 1
            event = json.loads(line[6:])
            if event.get('type') == 'image_generation.completed':
                answer = event['b64_json']
            elif 'choices' in event:
                answer += event['choices'][0]['delta'].get('content') or ''
    return answer


def read_memory(process: subprocess.Popen) -> float:
    """Return the memory of a process in MB, as Linux counts it."""
    with open(f'/proc/{process.pid}/status', encoding='ascii') as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith('VmRSS:'))


def run_clients(port: int, requests: Sequence[Request], clients: int, process: subprocess.Popen) -> list[float]:
    """Send all requests from several threads; returns the memory of the server after each tenth of them."""
    left, lock = iter(requests), threading.Lock()
    memory: list[float] = []
    errors: list[Exception] = []
    done = [0]

    def work() -> None:
        while not errors:
            with lock:
                request = next(left, None)
            if request is None:
                return
            try:
                send(port, request)
            except Exception as e:
                errors.append(e)
            with lock:
                done[0] += 1
                if done[0] % max(1, len(requests) // 10) == 0:
                    memory.append(read_memory(process))
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return memory


def ask_directly(model: Any, request: Request) -> str:
    """Return what the Python API answers to a request."""
    from dtbox.serving.images import write_base64, write_markdown, write_png
    body = request.body
    if request.path == CHAT:
        content = model.chat(body['messages'], seed=body['seed'], temperature=body['temperature'])['content']
        parts = [content] if isinstance(content, str) else [
            part['text'] if part['type'] == 'text' else write_markdown(write_png(part['image'])) for part in content]
        return ''.join(parts).strip()
    return write_base64(write_png(model.draw_pil(body['prompt'], seed=body['seed'])[0][0]))


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n\n')[0])
    parser.add_argument('run', help='run folder, or another place that dtbox.load opens')
    parser.add_argument('--requests', type=int, default=200, help='(%(default)s)')
    parser.add_argument('--clients', type=int, default=8, help='that send at a time (%(default)s)')
    args = parser.parse_args(argv)
    check_counts(requests=args.requests, clients=args.clients)
    from dtbox.apis.loading import load
    requests = make_requests(args.requests)
    process, port = start_server(args.run)
    try:
        start = time.perf_counter()
        memory = run_clients(port, requests, args.clients, process)
        seconds = time.perf_counter() - start
    finally:
        process.terminate()
        process.wait(30)
    model = load(args.run)
    start = time.perf_counter()
    expected = [None if request.leaves else ask_directly(model, request) for request in requests]
    direct = time.perf_counter() - start
    whole = [request for request in requests if not request.leaves]
    mixed = sum(request.answer != answer for request, answer in zip(requests, expected))
    times = sorted(request.seconds for request in whole)
    print(f'{torch.get_num_threads()} thread(s), {args.clients} clients, {len(requests)} requests, of which '
          f'{len(requests) - len(whole)} were left by their clients\n\n| | |\n|---|---|')
    print(f'| answers lost | {sum(request.answer is None for request in whole)} of {len(whole)} |')
    drawn = sum(request.path == CHAT and '![' in (request.answer or '') for request in whole)
    print(f'| answers that are not those of the Python API | {mixed} |')
    print(f'| answers of a chat with a drawing in them | {drawn} |')
    print(f'| refused by a full queue, and sent again | {sum(request.refused for request in requests)} |')
    print(f'| seconds of all, and of the Python API for those not left | {seconds:.1f}, {direct:.1f} |')
    print(f'| seconds of an answer, median and 95 % | {statistics.median(times):.2f}, '
          f'{times[int(0.95 * (len(times) - 1))]:.2f} |')
    print(f'| events of a stream of a drawing, median | '
          f'{statistics.median([r.events for r in whole if r.path == DRAW and r.body["stream"]] or [0]):g} |')
    print('| MB of the server after each tenth | ' + ', '.join(f'{value:.0f}' for value in memory) + ' |')


if __name__ == '__main__':
    sys.exit(main())
