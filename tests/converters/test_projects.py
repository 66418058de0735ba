"""The table of published projects: every kind is in it, names of tensors tell them apart, and a converter that refuses
a file says what it looks like."""
import json

import pytest
import torch
from safetensors.torch import save_file

from dtbox.cli.convert import format_projects
from dtbox.converters.kinds import KINDS, find_kind
from dtbox.converters.projects import PROJECTS, list_projects, recognize
from dtbox.converters.recognition import list_names
from dtbox.converters.run_folder import convert
from dtbox.errors import InputError
from dtbox.weights.renaming import KeysError, Renaming
from tests.conftest import DATA

NAMES = {
    'DualToken': 'siglip_model.logit_scale quantizer_pix.codebooks.0.weight quantizer_sem.codebooks.0.weight',
    'VILA-U': 'rqvaesiglip.siglip_model.logit_scale rqvaesiglip.quantizer.codebooks.0.embed_ema',
    'UniTok': 'quantizer.codebooks.0.codebook.weight quant_proj.attn.q_bias text_encoder.ln_final.bias',
    'VQGAN': 'encoder.down.0.block.0.conv1.weight quantize.embedding.weight encoder.mid.attn_1.q.weight',
    'LlamaGen': 'encoder.conv_blocks.0.res.0.conv1.weight quantize.embedding.weight',
    'VAR': 'encoder.down.4.attn.0.qkv.weight encoder.down.0.block.0.conv1.weight quantize.embedding.weight',
    'TokenFlow': 'encoder_vqkd.norm.weight quantize.embedding_vqkd.weight encoder.conv_blocks.0.res.0.conv1.weight',
    'IBQ': 'encoder.down.0.block.0.conv1.weight quantize.embedding.weight model_ema.encoderconv_inweight',
    'Open-MAGVIT2': 'encoder.down.0.block.0.conv1.weight decoder.adaptive.0.gamma.weight',
    'Janus, Janus-Pro': 'gen_vision_model.encoder.conv_blocks.0.res.0.conv1.weight '
                        'gen_vision_model.quantize.embedding.weight',
    'TiTok, TA-TiTok': 'latent_tokens encoder.latent_token_positional_embedding quantize.embedding.weight',
    'MaskGIT-VQGAN': 'quantize.embedding.weight decoder.up.1.upsample_conv.weight encoder.down.0.block.0.conv1.weight',
    'VQModel': 'quantize.embedding.weight encoder.down_blocks.0.resnets.0.conv1.weight',
    'QLIP': 'vision_model.quant_embed.c_fc.weight vision_decoder.ffn.0.weight',
    'AToken': 'encoder.pos_embedder.position_embedding.weight encoder.input_layer.weight',
    'RAE': 'decoder_pos_embed trainable_cls_token'}
SHARED = {'Chameleon', 'Emu3.5'}
"""Names of taming-transformers, without anything of their own."""


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_is_in_the_table(kind):
    projects = list_projects(kind)
    assert projects and find_kind(kind).find_function()
    table = format_projects(400)
    assert all(f'{p.name} ' in table and f' {p.code} ' in table and p.sizes in table for p in projects)


def test_names_tell_projects_apart():
    for project, names in NAMES.items():
        found = {p.name for p in recognize(names.split())}
        assert found - SHARED == {project} and (found == {project} or project == 'VQGAN'), (project, found)
        assert {p.name for p in recognize(f'module.{name}' for name in names.split())} == found
    assert {p.name for p in PROJECTS} == {*NAMES, *SHARED} and recognize(['a.weight', 'decoder.conv_in.weight']) == ()
    janus = ['model.vqmodel.quantize.embedding.weight', 'model.vqmodel.encoder.down.0.block.0.conv1.weight',
             'model.generation_embeddings.weight']  # in transformers
    assert {p.kind for p in recognize(janus)} == {'janus'}


@pytest.mark.parametrize('file', sorted(DATA.glob('keys_*.txt')), ids=lambda file: file.stem)
def test_published_names(file):
    """All names of a release at its full size."""
    names = [line.partition(': ')[0] for line in file.read_text().splitlines() if not line.startswith('#')]
    kind = max((kind for kind in KINDS if kind in file.stem), key=len, default=None)  # not vqgan of maskgit_vqgan
    assert kind is None or {project.kind for project in recognize(names)} == {kind}


def make_state(project, more=()):
    return {name: torch.ones(1) for name in [*NAMES[project].split(), *more]}


def test_names_of_files_and_folders(tmp_path):
    """Of tensors in entries of entries, of safetensors, of an index; a file that holds objects has none."""
    inner = tmp_path / 'inner'
    inner.mkdir()
    torch.save(dict(epoch=1, trainer=dict(unitok=dict(a=torch.ones(1)), optim=[torch.ones(1)])), tmp_path / 'x.pth')
    save_file(dict(b=torch.ones(1)), inner / 'model.safetensors')
    (tmp_path / 'pytorch_model.bin.index.json').write_text(json.dumps(dict(weight_map=dict(c='x-1.bin'))))
    torch.save(dict(d=torch.ones(1), e=KeysError), tmp_path / 'y.pt')
    (tmp_path / 'z.ckpt').write_bytes(b'not a file of torch')
    assert list_names(tmp_path / 'x.pth') == ['a'] and list_names(tmp_path / 'none.pth') == []
    assert sorted(list_names(tmp_path)) == ['a', 'b', 'c']


@pytest.mark.parametrize('kind, project, says', [
    ('unitok', 'LlamaGen', 'It looks like LlamaGen .FoundationVision/LlamaGen.: `dtbox convert vqgan`.'),
    ('vqgan', 'UniTok', 'It looks like UniTok .FoundationVision/UniTok.: `dtbox convert unitok`.')])
def test_a_file_of_another_project(kind, project, says, tmp_path):
    torch.save(dict(state_dict=make_state(project)), tmp_path / 'x.pt')
    with pytest.raises(InputError, match=says):
        convert(kind, tmp_path / 'x.pt', tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_a_project_without_a_kind(tmp_path, monkeypatch):
    monkeypatch.delitem(KINDS, 'vqgan')
    torch.save(make_state('LlamaGen'), tmp_path / 'x.pt')
    with pytest.raises(InputError, match='looks like LlamaGen .*: no kind of `dtbox convert` reads that'):
        convert('unitok', tmp_path / 'x.pt', tmp_path / 'run')


def test_another_version_of_a_project(tmp_path):
    """The error keeps its class and names, and lists five of each."""
    file = torch.load(DATA / 'golden_unitok.pt', weights_only=True)['state_dict']
    state = file['trainer']['unitok']
    state.update({f'new.{i}': torch.ones(1) for i in range(7)})
    for name in ('fc_norm.weight', 'fc_norm.bias'):
        state.pop(name)
    torch.save(file, tmp_path / 'x.pth')
    with pytest.raises(KeysError, match=r'2 missing: fc_norm\.weight, fc_norm\.bias\. 7 left over: new\.0, new\.1, '
                                        r'new\.2, new\.3, new\.4, \.\.\.\. .* It looks like UniTok .*, in another '
                                        'version') as error:
        convert('unitok', tmp_path / 'x.pth', tmp_path / 'run', heads=4)
    assert len(error.value.left) == 7 and error.value.missing == ('fc_norm.weight', 'fc_norm.bias')


def test_a_layer_that_is_not_known(tmp_path):
    """What the rules of a converter copy as a whole, and the model does not have."""
    file = torch.load(DATA / 'golden_unitok.pt', weights_only=True)['state_dict']
    file['trainer']['unitok']['decoder.extra.weight'] = torch.ones(1)
    torch.save(file, tmp_path / 'x.pth')
    with pytest.raises(KeysError, match=r'1 left over: decoder\.extra\.weight.* It looks like UniTok .*another'):
        convert('unitok', tmp_path / 'x.pth', tmp_path / 'run', heads=4)


def test_files_of_nothing_known(tmp_path):
    torch.save(dict(a=torch.ones(1)), tmp_path / 'x.pt')
    with pytest.raises(InputError) as error:
        convert('vqgan', tmp_path / 'x.pt', tmp_path / 'run')
    assert 'looks like' not in str(error.value)
    with pytest.raises(InputError, match='no kind of published weights `unitk`. Did you mean `unitok`'):
        convert('unitk', tmp_path / 'x.pt', tmp_path / 'run')
    rules = Renaming({'a': torch.ones(1)}, 'x')
    with pytest.raises(KeysError, match='x does not have .* 1 left over: a'):
        rules.finish()


def test_the_list(command):
    """Wide enough, each project is one row; without KIND the command says what is missing."""
    code, out, _ = command('convert', '--list')
    assert code == 0 and out.startswith('kind ') and 'UniTok' in out and 'No full-size file' in out
    code, _, err = command('convert')
    assert code == 2 and 'the command lacks KIND' in err and '--list' in err
