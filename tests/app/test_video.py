"""Frames, and codes that change between them."""
import numpy as np
import pytest
from PIL import Image

from dtbox.app.functions.video import draw_changes, measure_clip, read_frames
from dtbox.errors import InputError


def test_a_still_clip_and_a_cut(opened, shown):
    """Three frames, two of them equal: no code changes, then those of the other image."""
    a, b = (Image.fromarray(one.pixels) for one in shown)
    clip = measure_clip(opened, [a, a, b])
    differ = (shown[0].codes['pixel'] != shown[1].codes['pixel']).float().mean(-1).view(4, 4).numpy()
    assert not clip.changed['pixel'][0].any() and np.array_equal(clip.changed['pixel'][1], differ)
    table = dict(clip.table)
    assert table['codes of pixel that change'] == f'{differ.mean() / 2:.1%}' and table['pairs of frames'] == '2'
    assert clip.frames.shape == clip.made.shape == (3, 32, 32, 3)


def test_frames_from_files(tmp_path, shown):
    paths = [str(tmp_path / f'{i}.png') for i in (2, 1)]
    for path, one in zip(paths, shown):
        Image.fromarray(one.pixels).save(path)
    frames = read_frames(paths)
    assert np.array_equal(np.asarray(frames[0]), shown[1].pixels) and len(frames) == 2


@pytest.mark.parametrize('names, says', [([], 'there is no clip yet'), (['a.png'], 'is an image, not a video'),
                                         (['a.mp4'], 'cannot be decoded')])
def test_no_clip(tmp_path, names, says):
    Image.new('RGB', (8, 8)).save(tmp_path / 'a.png')
    (tmp_path / 'a.mp4').write_text('no video')
    with pytest.raises(InputError, match=says):
        read_frames([str(tmp_path / name) for name in names])


def test_one_frame_is_no_clip(opened, shown):
    with pytest.raises(InputError, match='a clip needs at least 2 frames; 1 came'):
        measure_clip(opened, [Image.fromarray(shown[0].pixels)])


def test_a_tint_where_codes_changed():
    tinted = draw_changes(np.zeros((4, 4, 3), np.uint8), np.array([[0, 1], [0, 0.5]]))
    assert tinted[0, 3].tolist() == [149, 66, 0] and tinted[3, 2].tolist() == [75, 33, 0] and not tinted[:, :2].any()
