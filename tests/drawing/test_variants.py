"""Plots and sheets that compare variants: labels that do not cover each other, limits, looks, strips that come back as
they were."""
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from PIL import Image

from dtbox.drawing import labels, strips
from dtbox.drawing import variant_style as looks
from dtbox.drawing.axis_plot import AxisPanel, choose_colours, draw_axis, parse_numbers
from dtbox.drawing.run_curves import draw_runs
from dtbox.drawing.style import make_canvas
from dtbox.drawing.tradeoff import Point, _spread, draw_tradeoff
from dtbox.errors import InputError

EVERYWHERE = (0, 0, 400, 300)


def test_a_label_goes_beside_its_point():
    (box,), (far,) = labels.place([(100, 100)], [(50, 10)], EVERYWHERE), labels.place([(395, 295)], [(50, 10)],
                                                                                      EVERYWHERE)
    assert box == pytest.approx((100 + 9 * np.cos(np.radians(35)), 100 + 9 * np.sin(np.radians(35)), 157.372, 115.162),
                                abs=1e-3)
    assert far[2] < 395 and far[3] < 295  # no room above or to the right
    assert labels.place([(5, 5)], [(500, 10)], EVERYWHERE) == [None]


def test_labels_never_cover_each_other_or_points():
    rng = np.random.default_rng(0)
    points = [tuple(p) for p in rng.normal(0, 1, (60, 2)) * (60, 40) + (200, 150)]
    marks = [(x - 3, y - 3, x + 3, y + 3) for x, y in points]
    boxes = labels.place(points, [(14, 8)] * 60, EVERYWHERE, marks)
    assert None not in boxes and all(b[0] >= 0 and b[1] >= 0 and b[2] <= 400 and b[3] <= 300 for b in boxes)
    boxes = np.array(boxes)
    # each with itself
    assert not labels.find_overlaps(boxes, np.array(marks)).any() and labels.find_overlaps(boxes, boxes).sum() == 60


def test_distance_and_belonging_by_hand():
    boxes, points = np.array([(10, 10, 20, 20), (0, 0, 1, 1)]), np.array([(15, 15), (7, 6), (30, 15)])
    assert labels.compute_distances(points, boxes)[0].tolist() == [0, 5, 10]
    assert labels.compute_distances(points[:1], boxes)[
        1, 0
    ] == pytest.approx(14 * 2**0.5)
    assert labels.find_clear_boxes((5, 15), boxes, np.array([(5, 15), (31, 15)])).tolist() == [True, True]
    assert labels.find_clear_boxes((5, 15), boxes, np.array([(5, 15), (29, 15), (5, 16)])).tolist() == [False, False]
    others = np.array([(19, 19, 30, 30), (20, 10, 30, 20)])
    assert labels.find_overlaps(boxes, others).tolist() == [[True, False], [False, False]]


def test_a_label_never_sits_nearer_to_another_point():
    """Two points side by side, a long label: above right of the left one it would seem to be the label of the right
    one."""
    points = [(100, 100), (140, 100)]
    boxes = np.array(labels.place(points, [(70, 10)] * 2,
                                  EVERYWHERE, [(x - 5, y - 5, x + 5, y + 5) for x, y in points]))
    near = labels.compute_distances(np.array(points), boxes)
    assert (near[0, 1] > 2 * near[0, 0]) and (near[1, 0] > 2 * near[1, 1])


def test_looks_tell_variants_apart():
    assert len({(v.colour, v.line) for v in looks.choose_looks(28)}) == 28
    assert len({v.colour for v in looks.choose_looks(100)}) == 100
    assert looks.choose_looks(3) == looks.choose_looks(28)[:3]


def test_visible_range():
    assert looks.compute_limits([1.0, 2.0], []) == pytest.approx((0.93, 2.07))
    # a wide bar is cut off
    assert looks.compute_limits([1.0, 2.0], [-50.0, 2.2]) == pytest.approx((0.5 - 0.07 * 1.7, 2.2 + 0.07 * 1.7))
    low, high = looks.compute_limits([5.0], [])
    assert low < 5 < high


@pytest.mark.parametrize('count', [1, 40])
def test_tradeoff_of_one_and_of_many(tmp_path, count):
    rng, look = np.random.default_rng(1), looks.choose_looks(count)
    points = [Point(f'v{i}', look[i], [tuple(m), tuple(m + 0.1)], tuple(m + 0.05), (0.2, None), i == 0)
              for i, m in enumerate(rng.normal(0, 1, (count, 2)))]
    assert draw_tradeoff(points, [tmp_path / 'a.png'], ('x', 'y'), (False, True)) == []
    assert min(Image.open(tmp_path / 'a.png').size) > 400


@pytest.mark.parametrize('count', [1, 2, 3])
def test_intervals_have_the_colours_of_their_points(count):
    look, axes = looks.choose_looks(count), make_canvas(1, 1, (3, 3))[1]
    _spread(axes[0][0], [Point(f'v{i}', look[i], [], (i, i), (0.2, 0.2)) for i in range(count)], 6)
    bars = [c for c in axes[0][0].collections if isinstance(c, LineCollection)]
    assert len(bars) == 2 and all([to_hex(c).upper() for c in found.get_colors()] == [v.colour for v in look]
                                  for found in bars)


def test_axis_of_numbers_and_of_names(tmp_path):
    assert parse_numbers(['0.1', '1e-3']) == [0.1, 0.001]
    assert parse_numbers(['8']) is None and parse_numbers(['1', 'two']) is None
    assert parse_numbers(['1', '1.0']) is None and parse_numbers(['1', 'nan']) is None
    places = [(0, [1.0, 2.0], 1.5, 6.4), (1, [3.0], 3.0, None)]
    panels = [AxisPanel('PSNR', False, [('a', places), ('b', places[:1])], [(0, 1.2)]),
              AxisPanel('a metric with a name that is longer than its panel',
                        True, [(f'{i}', places) for i in range(9)])]
    for name, labels_of in (('numbers', ['0.001', '0.1']), ('names', ['one', 'two, a label that is longer than half '
                                                                             'of a panel is wide'])):
        draw_axis(panels, [tmp_path / f'{name}.png', tmp_path / f'{name}.pdf'], 'axis', labels_of)
        assert Image.open(tmp_path / f'{name}.png').width > 900
        assert (tmp_path / f'{name}.pdf').read_bytes().startswith(b'%PDF')


def test_a_line_has_the_same_colour_in_every_panel():
    place, mean = [(0, [1.0], 1.0, None)], [(0, 1.0)]
    panels = [AxisPanel('x', False, [('a', place), ('b', place)], mean),
              AxisPanel('y', False, [('b', place), ('c', place)])]
    colours, many = choose_colours(panels)
    assert list(colours) == ['a', 'b', 'c'] and len(set(colours.values())) == 3 and not many
    full = [AxisPanel('x', False, [(f'{i}', place) for i in range(7)])]
    assert len(set(choose_colours(full)[0].values())) == 7 and not choose_colours(full)[1]
    assert choose_colours([AxisPanel('x', False, full[0].lines, mean)])[1]  # black is that of the mean
    assert choose_colours([AxisPanel('x', False, [*full[0].lines, ('7', place)])])[1]


def test_figures_do_not_tell_the_time(tmp_path):
    curves = {'l2': [('a', looks.choose_looks(1)[0], [1, 2, 3], [1.0, 0.1, 0.01])],
              'x': [('a', looks.choose_looks(1)[0], [1], [-1.0])]}
    for name in 'ab':
        draw_runs(curves, [tmp_path / f'{name}.{suffix}' for suffix in ('png', 'pdf')])
    for suffix in ('png', 'pdf'):
        assert (tmp_path / f'a.{suffix}').read_bytes() == (tmp_path / f'b.{suffix}').read_bytes()


def pictures(n, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side + 2, 3), dtype=np.uint8)


def test_strips_come_back(tmp_path):
    inputs = pictures(3, 8)
    made = pictures(3, 8, 1)
    names = [('a', 'ключ'), ('a', 'y'), ('b', '')]
    strips.write_strip(inputs, made, tmp_path / 's.png', names)
    found = strips.read_strip(tmp_path / 's.png')
    assert (found[0] == inputs).all() and (found[1] == made).all() and found[2] == names
    Image.open(tmp_path / 's.png').save(tmp_path / 'bare.png')
    (tmp_path / 'text.png').write_text('no picture')
    for name in ('bare.png', 'text.png', 'none.png'):
        with pytest.raises(InputError, match='is not a strip'):
            strips.read_strip(tmp_path / name)


def test_contact_sheet_holds_the_pixels(tmp_path):
    rows = [('held-out picture', pictures(2, 16)), ('a_rather_long name of a variant that has to be broken into lines '
                                                    '' * 3, pictures(2, 16, 1))]
    assert strips.draw_contact_sheet(rows, tmp_path / 'c.png', 'title', tile=36) == 1
    sheet = np.asarray(Image.open(tmp_path / 'c.png'))
    right, bottom = sheet.shape[1] - strips.MARGIN, sheet.shape[0] - strips.MARGIN
    assert (sheet[bottom - 32:bottom:2, right - 36:right:2] == rows[1][1][1]).all()
    assert (sheet[bottom - 36 - 32:bottom - 36:2, right - 76:right - 40:2] == rows[0][1][0]).all()


def test_a_contact_sheet_of_many_pictures_stays_small(tmp_path, monkeypatch):
    monkeypatch.setattr(strips, 'MOST', 2000)
    rows = [(name, np.full((3, 33, 34, 3), 200, np.uint8)) for name in 'abc']  # 10,098 pixels
    assert strips.draw_contact_sheet(rows, tmp_path / 'c.png', 't', tile=12) == 3
    sheet = np.asarray(Image.open(tmp_path / 'c.png'))
    assert sheet.shape[1] < 34 * 4 and (sheet == 200).all(axis=2).sum() == 9 * 11 * 12
