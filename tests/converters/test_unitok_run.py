"""UniTok's file on the whole way of a user: `dtbox convert`, open, decode, and ten steps of `dtbox train` from it, as
somebody else has published it."""
import json

import torch

import dtbox
from dtbox.runs import RunFolder
from dtbox.training import checkpoint
from tests.conftest import DATA
from tests.tiny_run import write_photos
from tests.weights.hub_cache import cache as cache
from tests.weights.hub_cache import put_snapshot

CONFIG = '''
_base_ = [{base!r}]
data_root = {photos!r}
load_from = {start!r}
model = dict(losses=dict(quantizers=dict(type='QuantizerLoss', weight=0.25), pixels=dict(type='L2Loss')))
train_dataloader = dict(batch_size=4, dataset=dict(
    type='ImageFolder', data_root='${{data_root}}', split='train',
    pipeline=[dict(type='ResizeCrop', size='${{image_size}}'), dict(type='PackImage')]))
val_dataloader = None
val_evaluator = None
optim_wrapper = dict(generator=dict(optimizer=dict(type='AdamW', lr=1e-3), freeze=['text.*', 'head.*']))
train_cfg = dict(max_iters=10)
hooks = dict(log=dict(type='Log', interval=1), checkpoint=dict(type='Checkpoint', interval=10))
seed = 0
'''


def test_convert_open_decode_and_train(command, cache, tmp_path):
    """The run starts from the converted weights, learns, and opens again; what is frozen stays."""
    golden = torch.load(DATA / 'golden_unitok.pt', weights_only=True)
    torch.save(golden['state_dict'], tmp_path / 'unitok_tokenizer.pth')
    run, trained = tmp_path / 'converted', tmp_path / 'trained'
    code, out, err = command('convert', 'unitok', tmp_path / 'unitok_tokenizer.pth', run, '--heads', 4)
    assert code == 0 and out.splitlines()[1:] == [
        'UniTok (FoundationVision/UniTok): licence of the code MIT, of the weights MIT.'], err
    told = RunFolder(run).read_converted()
    assert (told['kind'], told['file'], told['projects'][0]['identifier']) == ('unitok', 'unitok_tokenizer.pth', 'mit')
    assert RunFolder(tmp_path).read_converted() == {}
    tokenizer, outputs = dtbox.load(run), golden['outputs']
    codes = tokenizer.encode(golden['inputs']['image'].float())['unified']
    assert torch.equal(codes, outputs['codes'].transpose(1, 2))
    want = outputs['recon_unclamped'].float().clamp(-1, 1)
    assert torch.allclose(tokenizer.decode(dict(unified=codes)).clamp(-1, 1), want, atol=1e-5)
    write_photos(tmp_path / 'photos')
    (tmp_path / 'recipe.py').write_text(CONFIG.format(
        base=str(run / 'config.py'), photos=str(tmp_path / 'photos'), start='hf://someone/unitok'))
    put_snapshot(cache, 'someone/unitok', run)
    code, out, err = command('train', tmp_path / 'recipe.py', '--work-dir', trained)
    assert code == 0, err
    assert 'Starting from hf://someone/unitok' in ' '.join(path.read_text() for path in trained.rglob('*.log'))
    before, after = (checkpoint.load(place)['state_dict'] for place in (run, trained))
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert any('.blocks.' in name for name in moved) and any(name.startswith('tokenizer.decoder.') for name in moved)
    assert 'tokenizer.vocabularies.unified.quantizer.weight' in moved
    assert not any(name.startswith(('tokenizer.text.', 'tokenizer.head.')) for name in moved)
    with open(RunFolder(trained).history, encoding='utf-8') as file:
        losses = [json.loads(line) for line in file]
    assert len(losses) == 10 and losses[-1]['l2'] < 0.5 * losses[0]['l2']
    assert dtbox.load(trained).encode(torch.zeros(1, 3, 64, 64))['unified'].shape == codes[:1].shape
