"""The tab Chat and draw."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PIL import Image

from dtbox.app.functions import certainty, talk
from dtbox.app.functions.images import Shown, enlarge, mark_patch
from dtbox.app.opened import find_grid
from dtbox.app.page.frame import IDLE, Page


def build(page: Page) -> None:
    """Add the tab."""
    gr = page.gr
    with page.open_tab('Chat and draw') as tab:
        note = page.make_note()
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                _build_chat(page, note)
            with gr.Column(scale=1, min_width=320):
                _build_drawing(page, note, tab)


def _build_chat(page: Page, note: Any) -> None:
    gr = page.gr
    messages = gr.State([], time_to_live=IDLE)
    talked = gr.Chatbot(label='conversation', height=320, buttons=[], feedback_options=None, elem_id='talk')
    question = gr.Textbox('what is it?', label='question', elem_id='question')
    with gr.Row():
        shows = gr.Checkbox(True, label='with the image', min_width=120)
        warmth = gr.Slider(0, 2, 0, step=0.1, label='temperature', min_width=120)
    with gr.Row():
        send = gr.Button('Ask', variant='primary', min_width=80, elem_id='ask')
        blank = gr.Button('Which stream does the answer rest on?', min_width=200)
        new = gr.Button('New conversation', min_width=120)
    table = page.make_table(['streams', 'answer', 'nats'],
                            'answers without a stream; nats: log-probability of the first answer')

    def ask(run: str, shown: Shown | None, before: list, text: str, with_image: bool, temperature: float) -> list[Any]:
        opened = page.runs.get(run)
        talk.need_language_model(opened)
        image = Image.fromarray(page.need_shown(shown)[1].pixels) if with_image else None
        after = talk.chat(opened, before, text, image, temperature)
        return [after, list_messages(gr, after)]

    def rest(run: str, shown: Shown | None, text: str) -> Iterator[list[Any]]:
        opened = page.runs.get(run)
        talk.need_language_model(opened)
        _, image = page.need_shown(shown)
        if not opened.has('means'):
            yield [[['...', 'the mean of each stream is counted', '']]]
        yield [[one.row for one in certainty.ask_blanked(opened, image, text)]]
    page.listen([send.click, question.submit], ask, [page.run, page.shown, messages, question, shows, warmth],
                [messages, talked], note)
    page.listen(blank.click, rest, [page.run, page.shown, question], [table], note)
    page.listen([new.click, page.run.change], lambda: [[], []], [], [messages, talked], note)


def _build_drawing(page: Page, note: Any, tab: Any) -> None:
    gr = page.gr
    state = gr.State(None, time_to_live=IDLE)
    prompt = gr.Textbox('red apple', label='draw', elem_id='prompt')
    with gr.Row():
        scale = gr.Slider(1, 8, 1, step=0.5, label='guidance', min_width=120)
        warmth = gr.Slider(0, 2, 1, step=0.05, label='temperature', min_width=120)
        seed = gr.Number(0, label='seed', precision=0, minimum=0, min_width=80)
    button = gr.Button('Draw', variant='primary', elem_id='draw')
    image = page.make_image('drawing: click a place to see how sure the model was', elem_id='drawing', height=420)
    place = gr.Slider(0, 1, 0, step=1, label='place')
    table = page.make_table(['stream', 'depth', 'code', 'probability', 'most likely codes'],
                            'codes of the place, given those before; without guidance and temperature',
                            column_widths=['20%', '14%', '14%', '22%', '30%'])

    def take_defaults(run: str, shown: Any) -> list[Any]:
        opened = page.runs.get(run)
        talk.need_language_model(opened)
        own = opened.model.generation
        return [float(value) if isinstance(value, (int, float)) else gr.skip()
                for value in (own.scale, own.temperature)]

    def draw(run: str, text: str, guidance: float, temperature: float, number: float) -> Iterator[list[Any]]:
        opened = page.runs.get(run)
        for one in talk.draw(opened, text, guidance, temperature, int(number or 0)):
            whole = one.codes is not None
            yield [(opened.name, one) if whole else None, enlarge(one.image),
                   gr.update(maximum=one.total - 1, value=0) if whole else gr.skip()]

    def look(drawn: Any, number: float) -> list[Any]:
        opened, drawing = page.runs.get(drawn[0]) if drawn else page.runs.get(page.runs.names[0]), drawn and drawn[1]
        rows = [one.row for one in certainty.measure_place(opened, drawing, int(number or 0))]
        grid = find_grid(opened.tokenizer)
        fits = grid is not None and grid.tokens == drawing.total
        return [mark_patch(drawing.image, grid if fits else None, int(number or 0)), rows]

    def click(event: Any, drawn: Any, number: float) -> list[Any]:
        if not drawn:
            return [number]
        grid = find_grid(page.runs.get(drawn[0]).tokenizer)
        height, width = enlarge(drawn[1].image).shape[:2]
        if grid is None or grid.tokens != drawn[1].total:
            return [number]
        right, down = event.index
        return [min(down * grid.rows // height, grid.rows - 1) * grid.columns
                + min(right * grid.columns // width, grid.columns - 1)]
    page.follow(tab, take_defaults, [], [scale, warmth], note)
    page.listen([button.click, prompt.submit], draw, [page.run, prompt, scale, warmth, seed], [state, image, place],
                note, trigger_mode='once')
    page.listen(image.select, click, [state, place], [place], note, event=True)
    page.listen(place.change, look, [state, place], [image, table], note)


def list_messages(gr: Any, messages: list[dict]) -> list[dict]:
    """Return a conversation as gradio's chatbot shows it: texts and images one below the other."""
    shown = []
    for message in messages:
        content = message['content']
        parts = [dict(type='text', text=content)] if isinstance(content, str) else content
        for part in parts:
            inner = part['text'] if part['type'] == 'text' else gr.Image(
                part['image'], format='png', render=False, interactive=False, buttons=['fullscreen'], width=160)
            shown.append(dict(role=message['role'], content=inner))
    return shown
