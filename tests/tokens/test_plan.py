"""What a folder lacks: names say it all."""
import os
import shutil

import pytest

from dtbox.errors import InputError
from dtbox.token_shards.format import shard_name
from dtbox.token_shards.reading import list_shards, open_shard
from dtbox.tokens.encoding import encode_shard
from dtbox.tokens.plan import make_plan
from dtbox.tokens.sources import find_source
from tests.shard_data import write_set, write_shard
from tests.tokens.kit import make_encoder, write_images


def plan_of(encoder, src, out, per=4, **more):
    out.mkdir(exist_ok=True)
    return make_plan(find_source(src, per=per), out, encoder.fingerprint, **more)


def fill(encoder, src, out, count=None, **more):
    """Encode the first input shards of a plan."""
    for shard in plan_of(encoder, src, out, **more).todo[:count]:
        encode_shard(encoder, shard, str(out))


def keys(out):
    return sorted(key for path in list_shards(out) for key in open_shard(path).column('key').to_pylist())


def test_what_is_done_is_not_done_again(encoder, photos, tmp_path):
    out = tmp_path / 'out'
    assert [len(s.entries) for s in plan_of(encoder, photos, out).todo] == [4, 4, 2]
    fill(encoder, photos, out, 2)
    plan = plan_of(encoder, photos, out)
    assert [len(s.entries) for s in plan.todo] == [2] and plan.done == 2 and len(plan.shards) == 3
    fill(encoder, photos, out)
    assert plan_of(encoder, photos, out).todo == []


def test_a_file_that_is_cut_short_is_not_done(encoder, photos, tmp_path):
    out = tmp_path / 'out'
    fill(encoder, photos, out)
    path = list_shards(out)[1]
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    plan = plan_of(encoder, photos, out)
    assert [shard_name(s.name, encoder.fingerprint) for s in plan.todo] == [path.name]
    fill(encoder, photos, out)
    assert path.read_bytes() == content


def test_parts_share_the_work(encoder, tmp_path):
    src = write_set(tmp_path / 's', [1] * 7)
    parts = [[s.name for s in plan_of(encoder, src, tmp_path / 'out', part=(i, 3)).todo] for i in range(3)]
    assert [len(part) for part in parts] == [3, 2, 2] and len(set(sum(parts, []))) == 7
    fill(encoder, src, tmp_path / 'out', part=(0, 3))
    again = plan_of(encoder, src, tmp_path / 'out', part=(1, 3))
    assert [s.name for s in again.todo] == parts[1] and (again.done, again.elsewhere) == (3, 2)


def test_another_fingerprint_names_the_fields(tiny_run, encoder, photos, tmp_path):
    fill(encoder, photos, tmp_path / 'out')
    other = make_encoder(tiny_run, batch=8, dtype='bfloat16')
    with pytest.raises(InputError, match='another fingerprint.*`dtype` is bfloat16, not float32.*`batch` is batch=8'):
        plan_of(other, photos, tmp_path / 'out')


def test_a_folder_that_has_changed_needs_append(encoder, photos, tmp_path):
    out = tmp_path / 'out'
    fill(encoder, photos, out)
    write_images(tmp_path / 'more', 3, seed=5)
    for name in os.listdir(tmp_path / 'more'):
        shutil.copy(tmp_path / 'more' / name, f'{photos}/new-{name}')
    with pytest.raises(InputError, match='OUT: .*3 shards of other data .*--append'):
        plan_of(encoder, photos, out)
    plan = plan_of(encoder, photos, out, append=True)
    assert [e.key for s in plan.todo for e in s.entries] == ['new-000.jpg', 'new-001.png', 'new-002.png']
    fill(encoder, photos, out, append=True)
    assert keys(out) == sorted(os.listdir(photos))
    assert plan_of(encoder, photos, out, append=True).todo == []


def test_an_interrupted_append_continues_with_the_same_files(encoder, photos, tmp_path):
    """What the first part has written already does not shift the cut of what follows."""
    for out in ('whole', 'killed'):
        fill(encoder, photos, tmp_path / out)
    write_images(tmp_path / 'more', 9, seed=5)
    for name in os.listdir(tmp_path / 'more'):
        shutil.copy(tmp_path / 'more' / name, f'{photos}/a-{name}')
    fill(encoder, photos, tmp_path / 'whole', append=True)
    fill(encoder, photos, tmp_path / 'killed', 1, append=True)
    fill(encoder, photos, tmp_path / 'killed', append=True)
    files = [{path.name: path.read_bytes() for path in list_shards(tmp_path / out)} for out in ('whole', 'killed')]
    assert files[0] == files[1] and len(files[0]) == 6


def test_two_sets_of_shards_in_one_folder(encoder, tmp_path):
    """Shards of the same name in another folder are other shards, unless they hold the same."""
    a = write_set(tmp_path / 'a', [2, 2])
    write_shard(tmp_path / 'b' / 's-0.tar', range(7, 9))
    shutil.copy(tmp_path / 'a' / 's-1.tar', tmp_path / 'b' / 's-1.tar')
    out = tmp_path / 'out'
    fill(encoder, a, out)
    with pytest.raises(InputError, match='--append'):
        plan_of(encoder, tmp_path / 'b', out)
    plan = plan_of(encoder, tmp_path / 'b', out, append=True)
    assert [s.name[:4] for s in plan.todo] == ['s-0-'] and plan.done == 1


def test_other_images_under_the_same_keys_are_refused(encoder, photos, tmp_path):
    out = tmp_path / 'out'
    fill(encoder, photos, out)
    other = write_images(tmp_path / 'other' / 'photos', 10, seed=3)
    for append in (False, True):
        with pytest.raises(InputError, match='other images under the same keys, such as 000.jpg.*--name'):
            plan_of(encoder, other, out, append=append)
    write_images(other, 12, seed=3)
    with pytest.raises(InputError, match='other images under the same keys'):
        plan_of(encoder, other, out, append=True)
    named = make_plan(find_source(other, per=4, name='second'), out, encoder.fingerprint, append=True)
    assert sum(len(s.entries) for s in named.todo) == 12
