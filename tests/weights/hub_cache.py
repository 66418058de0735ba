"""A cache as huggingface_hub lays it out (models--OWNER--NAME/{blobs, refs, snapshots/COMMIT}), without a network."""
import hashlib
import os

import pytest

COMMIT = '0123456789abcdef0123456789abcdef01234567'


def put_snapshot(cache, name, source, files=None, refs=('main',), commit=COMMIT):
    """Put files of a folder (all of them, where None) into the cache as a snapshot of links; returns it."""
    place = cache / f'models--{name.replace("/", "--")}'
    snapshot = place / 'snapshots' / commit
    for ref in refs:
        (place / 'refs' / ref).parent.mkdir(parents=True, exist_ok=True)
        (place / 'refs' / ref).write_text(commit)
    (place / 'blobs').mkdir(parents=True, exist_ok=True)
    names = [os.path.relpath(path, source) for path in source.rglob('*') if path.is_file()] if files is None else files
    for file in names:
        content = (source / file).read_bytes()
        blob = place / 'blobs' / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / file).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / file).unlink(missing_ok=True)
        (snapshot / file).symlink_to(os.path.relpath(blob, (snapshot / file).parent))
    return snapshot


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, in place of that of the user."""
    folder = tmp_path / 'hub'
    folder.mkdir()
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(folder))
    return folder
