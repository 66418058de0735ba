"""Write converted weights as a run folder that `dtbox.load` and the tools open."""
import os
import shutil

from mmengine.config import Config

from dtbox import __version__
from dtbox.config_text import dump_config
from dtbox.converters import dualtoken, vqgan
from dtbox.errors import InputError
from dtbox.layers.siglip import sizes_of_folder
from dtbox.layers.weights import load_into
from dtbox.registry import TOKENIZERS


def convert_dualtoken(src, dst, siglip=None):
    """Turn a published DualToken checkpoint into a run folder.

    Args:
        src: folder with config.json and one .pt.
        dst: run folder to write; must not exist, or be empty.
        siglip: Hugging Face SigLIP folder (config.json; tokenizer.json where texts should be embedded); None takes
            `pretrained_model` of the config where that is a local folder.

    Returns:
        number of parameters.
    """
    if os.path.isdir(dst) and os.listdir(dst):
        raise InputError(f'{dst} is not empty. Give a folder that is new, so that nothing is overwritten.')
    config, state = dualtoken.read_source(src)
    siglip = siglip or config.get('pretrained_model')
    if not siglip or not os.path.isdir(siglip):
        raise InputError(f'the sizes of the towers stand in SigLIP\'s config.json, but `{siglip}` is no local folder. Give --siglip DIR.')
    sizes = sizes_of_folder(siglip)
    vision, text = sizes.vision, sizes.text
    words = os.path.join(siglip, 'tokenizer.json')
    words = words if os.path.isfile(words) else None
    try:
        cfg = dualtoken.tokenizer_config(config, vision, text, words)
    except KeyError as e:
        raise InputError(f'{src}/config.json has no entry {e}; expected the config of a DualToken release.') from e
    tokenizer = TOKENIZERS.build(cfg, where='model.tokenizer')
    load_into(tokenizer, dualtoken.map_state(state, config, vision, text, src), src)
    write(dst, cfg, tokenizer, words, made_from=src)
    return sum(p.numel() for p in tokenizer.parameters())


def convert_vqgan(src, dst, image_size=256):
    """Turn a published VQGAN checkpoint of taming-transformers or LlamaGen into a run folder.

    Args:
        src: its .ckpt, .pt or .safetensors file.
        dst: run folder to write; must not exist, or be empty.
        image_size: pixels, which the weights do not tell.

    Returns:
        number of parameters.
    """
    if os.path.isdir(dst) and os.listdir(dst):
        raise InputError(f'{dst} is not empty. Give a folder that is new, so that nothing is overwritten.')
    state, directions = vqgan.read_source(src)
    cfg = vqgan.tokenizer_config(vqgan.sizes_of(state, src), directions, image_size)
    tokenizer = TOKENIZERS.build(cfg, where='model.tokenizer')
    load_into(tokenizer, vqgan.map_state(state, src), src)
    write(dst, cfg, tokenizer, None, made_from=src)
    return sum(p.numel() for p in tokenizer.parameters())


def write(dst, cfg, tokenizer, words, made_from):
    """Write config.py, checkpoint.pth and the text tokenizer."""
    from dtbox.training import checkpoint
    os.makedirs(dst, exist_ok=True)
    if words:
        shutil.copyfile(words, os.path.join(dst, 'tokenizer.json'))
        cfg['text']['tokenizer']['file'] = 'tokenizer.json'
    size = '${image_size}'
    recipe = dict(
        image_size=cfg.pop('image_size'), data_root=None,
        model=dict(type='TokenizerTraining', tokenizer=dict(cfg, image_size=size)),
        val_dataloader=dict(batch_size=16, dataset=dict(type='ImageFolder', data_root='${data_root}', split='heldout', pipeline=[
            dict(type='ResizeCrop', size=size), dict(type='PackImage')])),
        val_evaluator=[dict(type=t) for t in ('PSNR', 'SSIM', 'L1', 'Retrieval', 'ZeroShot', 'CodeUsage')])
    dump_config(Config(recipe, format_python_code=False), os.path.join(dst, 'config.py'),
                header=f'Converted by dtbox {__version__} from {os.path.basename(os.path.normpath(made_from))}.')
    state = {f'tokenizer.{k}': v for k, v in tokenizer.state_dict().items()}
    checkpoint.save(dict(meta=dict(dtbox=__version__, converted=True), state_dict=state), os.path.join(dst, checkpoint.NAME))
