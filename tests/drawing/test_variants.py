"""Plots and sheets that compare variants: labels that do not cover each other, limits, looks, strips that come back as they were."""
import numpy as np
import pytest
from PIL import Image

from dtbox.drawing import labels, looks, strips
from dtbox.drawing.along import AxisPanel, draw_axis, numbers_of
from dtbox.drawing.runs import draw_runs
from dtbox.drawing.tradeoff import Point, draw_tradeoff
from dtbox.errors import InputError

EVERYWHERE = (0, 0, 400, 300)


def test_a_label_goes_beside_its_point():
    (box,), (far,) = labels.place([(100, 100)], [(50, 10)], EVERYWHERE), labels.place([(395, 295)], [(50, 10)], EVERYWHERE)
    assert box == pytest.approx((100 + 9 * np.cos(np.radians(35)), 100 + 9 * np.sin(np.radians(35)), 157.372, 115.162), abs=1e-3)
    assert far[2] < 395 and far[3] < 295  # no room above or to the right
    assert labels.place([(5, 5)], [(500, 10)], EVERYWHERE) == [None]


def test_labels_never_cover_each_other_or_points():
    rng = np.random.default_rng(0)
    points = [tuple(p) for p in rng.normal(0, 1, (60, 2)) * (60, 40) + (200, 150)]
    marks = [(x - 3, y - 3, x + 3, y + 3) for x, y in points]
    boxes = labels.place(points, [(14, 8)] * 60, EVERYWHERE, marks)
    assert None not in boxes and all(b[0] >= 0 and b[1] >= 0 and b[2] <= 400 and b[3] <= 300 for b in boxes)
    assert not any(labels.overlap(a, b) for i, a in enumerate(boxes) for b in [*boxes[:i], *marks])


def test_distance_and_belonging_by_hand():
    box = (10, 10, 20, 20)
    assert labels.distance((15, 15), box) == 0 and labels.distance((7, 6), box) == 5 and labels.distance((30, 15), box) == 10
    assert labels.belongs((5, 15), box, [(5, 15), (30, 15)]) and not labels.belongs((5, 15), box, [(5, 15), (15, 25)])
    assert labels.overlap(box, (19, 19, 30, 30)) and not labels.overlap(box, (20, 10, 30, 20))


def test_looks_tell_variants_apart():
    assert len({(v.colour, v.line) for v in looks.looks(28)}) == 28 and len({v.colour for v in looks.looks(100)}) == 100
    assert looks.looks(3) == looks.looks(28)[:3]


def test_visible_range():
    assert looks.visible([1.0, 2.0], []) == pytest.approx((0.93, 2.07))
    assert looks.visible([1.0, 2.0], [-50.0, 2.2]) == pytest.approx((0.5 - 0.07 * 1.7, 2.2 + 0.07 * 1.7))  # a wide bar is cut off
    low, high = looks.visible([5.0], [])
    assert low < 5 < high


@pytest.mark.parametrize('count', [1, 40])
def test_tradeoff_of_one_and_of_many(tmp_path, count):
    rng, look = np.random.default_rng(1), looks.looks(count)
    points = [Point(f'v{i}', look[i], [tuple(m), tuple(m + 0.1)], tuple(m + 0.05), (0.2, None), i == 0)
              for i, m in enumerate(rng.normal(0, 1, (count, 2)))]
    assert draw_tradeoff(points, [tmp_path / 'a.png'], ('x', 'y'), (False, True)) == []
    assert min(Image.open(tmp_path / 'a.png').size) > 400


def test_axis_of_numbers_and_of_names(tmp_path):
    assert numbers_of(['0.1', '1e-3']) == [0.1, 0.001] and numbers_of(['8']) is None and numbers_of(['1', 'two']) is None
    assert numbers_of(['1', '1.0']) is None and numbers_of(['1', 'nan']) is None
    places = [(0, [1.0, 2.0], 1.5, 6.4), (1, [3.0], 3.0, None)]
    panels = [AxisPanel('PSNR', [('mean', [(0, [], 1.2, None)]), ('a', places), ('b', places[:1])], True), AxisPanel('SSIM', [('a', places)] * 9)]
    for name, places_of in (('numbers', ['0.001', '0.1']), ('names', ['one', 'two'])):
        draw_axis(panels, [tmp_path / f'{name}.png', tmp_path / f'{name}.pdf'], 'axis', places_of)
        assert Image.open(tmp_path / f'{name}.png').width > 900 and (tmp_path / f'{name}.pdf').read_bytes().startswith(b'%PDF')


def test_figures_do_not_tell_the_time(tmp_path):
    curves = {'l2': [('a', looks.looks(1)[0], [1, 2, 3], [1.0, 0.1, 0.01])], 'x': [('a', looks.looks(1)[0], [1], [-1.0])]}
    for name in 'ab':
        draw_runs(curves, [tmp_path / f'{name}.{suffix}' for suffix in ('png', 'pdf')])
    for suffix in ('png', 'pdf'):
        assert (tmp_path / f'a.{suffix}').read_bytes() == (tmp_path / f'b.{suffix}').read_bytes()


def pictures(n, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side + 2, 3), dtype=np.uint8)


def test_strips_come_back(tmp_path):
    inputs, made, names = pictures(3, 8), pictures(3, 8, 1), [('a', 'ключ'), ('a', 'y'), ('b', '')]
    strips.write_strip(inputs, made, tmp_path / 's.png', names)
    found = strips.read_strip(tmp_path / 's.png')
    assert (found[0] == inputs).all() and (found[1] == made).all() and found[2] == names
    Image.open(tmp_path / 's.png').save(tmp_path / 'bare.png')
    (tmp_path / 'text.png').write_text('no picture')
    for name in ('bare.png', 'text.png', 'none.png'):
        with pytest.raises(InputError, match='is no strip'):
            strips.read_strip(tmp_path / name)


def test_contact_sheet_holds_the_pixels(tmp_path):
    rows = [('held-out picture', pictures(2, 16)), ('a_rather_long name of a variant that has to be broken into lines ' * 3, pictures(2, 16, 1))]
    strips.draw_contact_sheet(rows, tmp_path / 'c.png', 'title', tile=36)
    sheet = np.asarray(Image.open(tmp_path / 'c.png'))
    right, bottom = sheet.shape[1] - strips.MARGIN, sheet.shape[0] - strips.MARGIN
    assert (sheet[bottom - 32:bottom:2, right - 36:right:2] == rows[1][1][1]).all()
    assert (sheet[bottom - 36 - 32:bottom - 36:2, right - 76:right - 40:2] == rows[0][1][0]).all()
