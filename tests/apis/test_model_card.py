"""The metadata of model cards, as huggingface_hub reads it, and converted weights as exported folders."""
import sys

import pytest
import torch

import dtbox
from dtbox.apis.card_metadata import build_metadata, find_licence, list_scores
from dtbox.apis.model_card import export_folder, write_card
from dtbox.converters.run_folder import convert
from dtbox.errors import InputError
from dtbox.runs import RunFolder
from tests.conftest import DATA

hub = pytest.importorskip('huggingface_hub')
SCORES = {'val': {'psnr': 21.5, 'psnr/stderr': 0.1, 'usage/pixel': 0.5, 'usage/pixel/depth0': 0.5,
                  'zeroshot_top1/tokens': 0.25, 'l1': None},
          'all': {'psnr': 21.5}, 'skipped': {}, 'counts': {'val': 8, 'all': 8},
          'protocols': {'recipe': {'hash': 'aa', 'data': 'bb'}}}
PROTOCOLS = {'val': {'psnr@reconstruction': 20.5}, 'other': {'psnr@reconstruction': 19.5}, 'all': {
    'psnr@reconstruction': 20.0}, 'skipped': {}, 'counts': {'val': 8, 'other': 8, 'all': 16},
    'protocols': {'reconstruction': {'hash': 'cc', 'data': 'dd', 'counts': {'val': 8, 'other': 8, 'all': 16}}}}


def write_scores(folder):
    from dtbox.evaluation.results import Results
    run = RunFolder(folder)
    Results.from_dict(SCORES).write(run.metrics)
    Results.from_dict(PROTOCOLS).write(run.protocols)
    return run


@pytest.fixture(scope='module')
def published():
    return torch.load(DATA / 'golden_unitok.pt', weights_only=True)


@pytest.fixture(scope='module')
def unitok(published, tmp_path_factory):
    """The run folder of the golden UniTok, as the converter writes it."""
    folder = tmp_path_factory.mktemp('unitok')
    torch.save(published['state_dict'], folder / 'unitok_tokenizer.pth')
    convert('unitok', folder / 'unitok_tokenizer.pth', folder / 'run', heads=4)
    return folder / 'run'


def test_scores_with_their_protocol_and_stamp(tmp_path):
    """A set and protocol each; `all` only where it merges several; standard errors and use of codes are no scores of
    their own."""
    first, *others = list_scores(write_scores(tmp_path), 'image-feature-extraction')
    assert (first['dataset']['name'], first['task']['name']) == ('held-out set val', 'protocol recipe')
    psnr, top1 = (next(m for m in first['metrics'] if m['type'] == name) for name in ('psnr', 'zeroshot_top1/tokens'))
    assert psnr['args'] == dict(protocol='recipe', direction='higher', stamp='aa-bb', stderr=0.1, images=8)
    assert (psnr['value'], psnr['name'], top1['value']) == (21.5, 'PSNR [dB]', 0.25)
    assert {m['type'] for m in first['metrics']} <= {'psnr', 'zeroshot_top1/tokens', 'usage/pixel'}
    assert [(one['dataset']['split'], one['metrics'][0]['value'], one['metrics'][0]['args']['stamp'])
            for one in others] == [('val', 20.5, 'cc-dd'), ('other', 19.5, 'cc-dd'), ('all', 20.0, 'cc-dd')]


def test_a_card_of_a_trained_run(tiny_run, tmp_path):
    """huggingface_hub reads what was measured, and nothing else is claimed."""
    export_folder(dtbox.load(tiny_run), tmp_path / 'tok', str(tiny_run), datasets=['someone/emoji'])
    card = hub.ModelCard.load(tmp_path / 'tok' / 'README.md')
    data = card.data
    assert (data.library_name, data.pipeline_tag, data.license) == ('dtbox', 'image-feature-extraction', None)
    assert data.tags == ['dtbox', 'visual-tokenizer'] and data.datasets == ['someone/emoji']
    assert data.model_name == 'tok' and {'psnr'} <= {result.metric_type for result in data.eval_results}
    scores = RunFolder(tiny_run)
    from dtbox.evaluation.results import Results
    want = Results.read(scores.metrics)
    for result in data.eval_results:
        assert result.metric_value == want.flat()[f'{result.dataset_split}/{result.metric_type}']
        assert result.metric_args['stamp'] == want.stamp(result.metric_type)
    assert card.text.lstrip().startswith('# tok')


def test_a_card_of_converted_weights(unitok, tmp_path):
    tokenizer = dtbox.load(unitok)
    data = hub.ModelCard(write_card(tokenizer, 'unitok', str(unitok))).data
    assert data.license == 'mit' and data.tags == ['dtbox', 'visual-tokenizer', 'unitok'] and data.datasets is None
    assert hub.ModelCard(write_card(tokenizer, 'x', str(unitok), 'apache-2.0')).data.license == 'apache-2.0'
    text = write_card(tokenizer, 'unitok', str(unitok)).partition('## Licence')[2]
    assert 'Converted from `unitok_tokenizer.pth`. UniTok (FoundationVision/UniTok): licence of the code MIT' in text
    assert '## Licence' not in write_card(tokenizer, 'unitok')


@pytest.mark.parametrize('projects, want', [
    ([], {}), ([dict(identifier='')], {}), ([dict(identifier='mit'), dict(identifier='')], {}), ('odd', {}),
    ([dict(identifier='mit'), dict(identifier='mit')], dict(license='mit')),
    ([dict(identifier='other', weights='DeepSeek Model License', source='a/b')],
     dict(license='other', license_name='deepseek-model-license', license_link='https://github.com/a/b'))])
def test_licences(projects, want):
    """Told where all projects that the weights may be of have the same."""
    assert find_licence(dict(projects=projects), None) == want


def test_a_licence_that_is_none(tok):
    with pytest.raises(InputError, match="license: got 'My Own'; expected an identifier of the Hugging Face hub"):
        build_metadata(tok, 'x', licence='My Own')


def test_known_data_sets(tiny_run, tmp_path):
    """Those in mixtures and folders, too."""
    from dtbox.apis.card_metadata import _list_types
    nested = dict(type='Mixture', datasets=[dict(type='ImageNet'), dict(dataset=dict(type='CIFAR10'))])
    assert list(_list_types(nested)) == ['Mixture', 'ImageNet', 'CIFAR10']
    assert 'datasets' not in build_metadata(dtbox.load(tiny_run), 'x', str(tiny_run))


def test_converted_weights_open_by_transformers(unitok, published, tmp_path, monkeypatch):
    """AutoModel of an exported folder gives the codes, images and embeddings that the project's own modules gave."""
    transformers = pytest.importorskip('transformers')
    monkeypatch.setattr('transformers.dynamic_module_utils.HF_MODULES_CACHE', str(tmp_path / 'modules'))
    monkeypatch.setattr(sys, 'path', list(sys.path))
    export_folder(dtbox.load(unitok), tmp_path / 'unitok', str(unitok))
    opened = transformers.AutoModel.from_pretrained(tmp_path / 'unitok', trust_remote_code=True)
    assert isinstance(opened, transformers.PreTrainedModel) and opened.config.model_type == 'dtbox'
    image, out = published['inputs']['image'].float(), published['outputs']
    codes = opened.encode(image)['unified']
    assert torch.equal(codes, out['codes'].transpose(1, 2))
    with torch.no_grad():
        images = opened.model.decode(dict(unified=codes))
        embeds = opened.model.embed_image(image)
    assert torch.allclose(images, out['recon_unclamped'].float(), atol=1e-5 * out['recon_unclamped'].abs().max().item())
    assert torch.allclose(embeds, out['image_embeds'].float(), atol=3e-6)
