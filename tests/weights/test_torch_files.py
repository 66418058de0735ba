"""Files of torch.save: the content that torch.load gives, and no record that differs from its checksum."""
import io
import zipfile
from collections import OrderedDict

import pytest
import torch

from dtbox.errors import InputError
from dtbox.weights import torch_files
from dtbox.weights.torch_files import Damaged, load_checked, load_structure


def make_content():
    table, state = torch.arange(24.).view(4, 6), dict(a=torch.ones(4))
    return dict(
        state=state, same_state=state,
        whole=table, view=table[1:3, ::2], turned=table.t(), twice=[table, (table[0], 'a')],
        types={str(t): torch.ones(3, dtype=t) for t in (torch.bfloat16, torch.float64, torch.int64, torch.bool,
                                                         torch.complex64, torch.uint8)},
        none=torch.empty(0, 3), number=torch.tensor(7), ordered=OrderedDict(a=torch.randn(5)), rest=[1, None, 'b', 2.5])


def same(a, b):
    if isinstance(a, torch.Tensor):
        return type(a) is type(b) and a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a, b)
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize('block', [1 << 22, 7])
@pytest.mark.parametrize('old', [False, True])
def test_equals_torch_load(old, block, tmp_path, monkeypatch):
    """Views, strides, types, nesting; storages that tensors share are shared. In torch's older format, too."""
    monkeypatch.setattr(torch_files, 'BLOCK', block)
    path = str(tmp_path / 'a.pth')
    torch.save(make_content(), path, _use_new_zipfile_serialization=not old)
    found = load_checked(path)
    assert same(torch.load(path, weights_only=True), found)
    assert found['whole'].data_ptr() == found['twice'][0].data_ptr() == found['turned'].data_ptr()
    found['whole'][1, 0] = 99
    assert found['view'][0, 0] == 99 and found['whole'].data_ptr() % 64 == 0


def test_every_record_is_compared(tmp_path):
    """Of each record one bit is turned, of its first and of its last byte."""
    path = tmp_path / 'a.pth'
    torch.save(dict(a=torch.randn(50), b=torch.randn(3), c='text'), path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        infos = [i for i in archive.infolist() if i.file_size]
    assert len(infos) > 4
    for info in infos:
        start = info.header_offset + 30 + int.from_bytes(whole[info.header_offset + 26:][:2], 'little') \
            + int.from_bytes(whole[info.header_offset + 28:][:2], 'little')
        for at in (start, start + info.file_size - 1):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
            with pytest.raises(Damaged, match='does not match its checksum') as error:
                load_checked(str(path))
            assert error.value.record == info.filename


def rewrite(path, change):
    """Write a torch file anew, each record as `change(name, data)` gives it."""
    with zipfile.ZipFile(path) as archive:
        records = {i.filename: archive.read(i) for i in archive.infolist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in records.items():
            archive.writestr(name, change(name, data))


def test_a_record_nobody_reads_is_compared(tmp_path):
    """Such as is left by a tool that took a tensor out."""
    path = tmp_path / 'a.pth'
    torch.save(dict(a=torch.ones(5)), path)
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('a/data/7', b'spare bytes')
    assert load_checked(str(path))['a'].sum() == 5
    data = path.read_bytes()
    path.write_bytes(data.replace(b'spare bytes', b'spare Bytes'))
    with pytest.raises(Damaged, match='a/data/7'):
        load_checked(str(path))


def test_a_tensor_larger_than_its_record(tmp_path):
    """No memory is taken for what the file does not hold."""
    path = tmp_path / 'a.pth'
    torch.save(dict(a=torch.ones(500)), path)
    rewrite(path, lambda name, data: data[:40] if name.endswith('/data/0') else data)
    with pytest.raises(Exception, match=r'(?i)size|bounds|bytes|record') as error:
        load_checked(str(path))
    assert not isinstance(error.value, MemoryError)


def test_bytes_in_another_order(tmp_path):
    """A file of a machine whose numbers begin with the high byte."""
    path = tmp_path / 'a.pth'
    torch.save(dict(a=torch.tensor([1, 2], dtype=torch.int32)), path)
    rewrite(path, lambda name, data: b'big' if name.endswith('byteorder') else
            data[3::-1] + data[7:3:-1] if name.endswith('data/0') else data)
    assert load_checked(str(path))['a'].tolist() == load_structure(str(path))['a'].tolist() == [1, 2]


def test_tensors_that_are_no_views(tmp_path):
    """Sparse ones are read by torch; their records are compared all the same."""
    path = tmp_path / 'a.pth'
    torch.save(dict(a=torch.eye(3).to_sparse()), path)
    assert load_checked(str(path))['a'].is_sparse
    data = path.read_bytes()
    at = data.index(torch.ones(3).numpy().tobytes())
    path.write_bytes(data[:at] + b'\1' + data[at + 1:])
    with pytest.raises(Damaged):
        load_checked(str(path))


def test_what_is_no_whole_file(tmp_path):
    """Compressed records, a file cut short, other pickles."""
    path = tmp_path / 'a.pth'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a/data.pkl', b'x' * 1000)
    with pytest.raises(InputError, match='compressed record'):
        load_checked(str(path))
    buffer = io.BytesIO()
    torch.save(dict(a=torch.ones(5000)), buffer)
    path.write_bytes(buffer.getvalue()[:9000])
    with pytest.raises(Exception, match=r'.'):
        load_checked(str(path))
