"""The page in Debian's Chromium: wide and narrow, light and dark, by keyboard, two at once; nothing leaves the machine.

One server, in a thread, for all tests; each test has a browser context, and so a session, of its own.
"""
import os
import shutil
import threading
import time
import urllib.error
import urllib.request

import pytest

from dtbox.app.opened import Runs
from dtbox.app.page import serving
from dtbox.serving import server
from dtbox.serving.access import Access

pytest.importorskip('gradio')
playwright = pytest.importorskip('playwright.sync_api')
CHROMIUM = shutil.which('chromium')
if CHROMIUM is None:
    pytest.skip('there is no Chromium here, so nobody looks at the page', allow_module_level=True)
FLAGS = ['--no-sandbox', '--disable-background-networking', '--disable-component-update', '--disable-sync',
         '--disable-gpu', '--disable-default-apps', '--disable-domain-reliability', '--no-first-run',
         '--disable-dev-shm-usage',
         '--disable-features=OptimizationHints,MediaRouter,Translate',
         '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1']
WIDE, NARROW = dict(width=1400, height=1000), dict(width=390, height=844)


@pytest.fixture(scope='module')
def address(tiny_run, mllm_run, tmp_path_factory):
    """Address of the page of the two tiny runs, which have reports of their own."""
    before = dict(os.environ)
    scratch = str(tmp_path_factory.mktemp('scratch'))
    report = tmp_path_factory.mktemp('folder') / 'report'
    report.mkdir()
    (report / 'index.html').write_text('<h1 id="title">a report</h1><script>document.title = "ran"</script>')
    runs = Runs([str(tiny_run), str(mllm_run)])
    runs.get(runs.names[0])
    sources = serving.make_sources(runs, [str(tiny_run), str(report.parent)], scratch)
    listening = server.open_socket('127.0.0.1', 0)
    running = server.make_uvicorn(serving.build_app(sources, Access()), 'app', 'dtbox app', access_log=False)
    thread = threading.Thread(target=running.run, kwargs=dict(sockets=[listening]))
    thread.start()
    yield 'http://{}:{}/'.format(*listening.getsockname())
    running.should_exit = True
    thread.join(20)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope='module')
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, address):
    """A function that opens the page in a session of its own; at the end no request has left the machine."""
    asked, errors = [], []
    contexts = []

    def run(size=WIDE, scheme='light'):
        context = browser.new_context(viewport=size, color_scheme=scheme, service_workers='block')
        contexts.append(context)
        context.on('request', lambda request: asked.append(request.url))
        page = context.new_page()
        page.on('pageerror', lambda error: errors.append(str(error)))
        page.goto(address)
        page.locator('#before-after img').first.wait_for(timeout=60_000)
        return page
    yield run
    for context in contexts:
        context.close()
    assert not errors
    assert not [url for url in asked if not url.startswith((address, 'data:', 'blob:'))] and len(asked) > 20


def open_tab(page, name):
    page.get_by_role('tab', name=name).click()


def read_codes(page):
    """Return the first lines of the table of codes in the inspector."""
    page.locator('#codes [data-testid="cell-0-2"]').wait_for()
    return [page.locator(f'#codes [data-testid="cell-{row}-2"]').inner_text().strip() for row in range(3)]


def choose_example(page, number):
    page.locator('#examples button.thumbnail-item, #examples .thumbnail-item').nth(number).click()


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_tabs_answer(visit):
    """A patch that is clicked, a tab without what it needs, and one that reads the disk."""
    page = visit()
    open_tab(page, 'Token inspector')
    page.get_by_text('Counted on 8 held-out images').wait_for(timeout=60_000)
    before, box = read_codes(page), page.locator('#patches img').bounding_box()
    page.mouse.click(box['x'] + 5, box['y'] + 5)
    wait_until(lambda: read_codes(page) != before)
    assert page.get_by_label('row', exact=True).input_value() == '0'
    open_tab(page, 'Chat and draw')
    page.get_by_text('run is a tokenizer; this tab needs a multimodal language model').wait_for()
    open_tab(page, 'Runs')
    page.locator('[data-testid="cell-0-1"]:visible', has_text='finished').wait_for()


def test_two_at_once_do_not_mix(visit):
    """What one edits, the other one does not see: state lies in the session."""
    first, second = visit(), visit()
    choose_example(second, 3)
    for page in (first, second):
        open_tab(page, 'Edit')
        page.get_by_text('Codes that differ from those of A: pixel 0, semantic 0').wait_for(timeout=60_000)
    first.get_by_role('button', name='Put this code onto every patch').click()
    first.get_by_text('1 edit can be undone').wait_for()
    second.get_by_role('button', name='Undo').click()
    second.get_by_text('There is nothing to undo').wait_for()
    assert second.get_by_text('pixel 0, semantic 0').is_visible()
    first.get_by_role('button', name='Undo').click()
    first.get_by_text('pixel 0, semantic 0. 0 edits can be undone').wait_for()


def test_narrow_dark_and_by_keyboard(visit):
    """All tabs can be reached by keys, nothing is wider than the screen, and it is dark."""
    page = visit(NARROW, 'dark')
    assert page.evaluate('document.body.scrollWidth') <= NARROW['width']
    assert page.evaluate('document.body.classList.contains("dark")')
    page.get_by_role('tab', name='Reconstruct').focus()
    for _ in range(12):
        page.keyboard.press('Tab')
        if page.evaluate('document.activeElement.innerText || ""').strip() == 'Token inspector':
            break
    page.keyboard.press('Enter')
    before = read_codes(page)
    page.get_by_label('row', exact=True).focus()
    page.keyboard.press('Control+A')
    page.keyboard.type('0')
    wait_until(lambda: read_codes(page) != before)
    page.keyboard.press('Control+A')
    page.keyboard.type('9')
    page.get_by_text('There is no patch at row 9, column 2; rows are 0 to 3').wait_for()


def test_a_file_that_is_no_image(visit, tmp_path):
    """One sentence beside the upload, or the wait for it ends in an error."""
    page = visit()
    (tmp_path / 'a.png').write_text('no image')
    page.get_by_label('Remove Image').or_(page.get_by_label('Clear')).first.click()
    page.locator('input[type=file]').first.set_input_files(str(tmp_path / 'a.png'))
    page.get_by_text('The file a.png is not an image that Pillow can read').wait_for()


@pytest.mark.parametrize('path', ['/etc/passwd', 'CHECKPOINT', 'CONFIG'])
def test_files_are_not_served(address, tiny_run, path):
    path = dict(CHECKPOINT=f'{tiny_run}/checkpoint.pth', CONFIG=f'{tiny_run}/config.py').get(path, path)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f'{address}gradio_api/file={path}')
    assert refused.value.code in (403, 404)


def test_a_report_runs_nothing(browser, address):
    """A page of somebody else's folder is shown without its scripts."""
    page = browser.new_page()
    page.goto(f'{address}reports/0/index.html')
    assert page.locator('#title').inner_text() == 'a report' and page.title() == ''
    page.close()
