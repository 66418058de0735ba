"""Published tokenizers that are known: licences, sizes, what was verified, and the names that tell them apart.

`dtbox convert --list` prints the table. A licence is what the repository, or the page of the weights, said when the
entry was written: what comes with a file counts. Importing this module imports no converter.
"""
from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

NOT_STATED = 'not stated'
OWN_MODULES = 'a tiny model of the project\'s own modules: equal codes'


@dataclass(frozen=True)
class Project:
    """Published tokenizers of one origin.

    Args:
        name: what people call them.
        kind: of `dtbox convert` that reads them.
        source: repository of the code, OWNER/NAME on GitHub.
        code, weights: their licences.
        sizes: what is published.
        verified: how the converter was tested.
        marks: patterns, each of which matches the beginning of a tensor's name, or what follows a dot in it.
        without: patterns of which none matches.
        identifier: of the licence of the weights, as model cards of the Hugging Face hub spell it; '' where that is not
            stated.
        remark: what whoever converts should read, one sentence.
    """
    name: str
    kind: str
    source: str
    code: str
    weights: str
    sizes: str
    verified: str
    marks: tuple[str, ...]
    without: tuple[str, ...] = ()
    identifier: str = ''
    remark: str = ''

    def matches(self, names: Iterable[str]) -> bool:
        """Whether names of tensors, whatever stands before them, are those of this project."""
        text = '\n'.join(names)
        return (all(_search(mark, text) for mark in self.marks)
                and not any(_search(mark, text) for mark in self.without))

    def tell_licence(self) -> str:
        """Return its licences as a sentence or two."""
        sentence = f'{self.name} ({self.source}): licence of the code {self.code}, of the weights {self.weights}.'
        return f'{sentence} {self.remark}'.rstrip()


def _search(mark: str, text: str) -> bool:
    return re.search(rf'(?:^|\.){mark}', text, re.MULTILINE) is not None


TABLE = r'quantize\.embedding\.weight'
TAMING = (TABLE, r'encoder\.down\.\d+\.block\.')
LLAMAGEN = (TABLE, r'encoder\.conv_blocks\.')
FUSED = r'encoder\.(?:down\.\d+|mid)\.attn\S*\.qkv\.'
DOTLESS = r'model_ema\.\w*encoderconv_in'
RESEARCH = 'Only for research and other non-commercial use: read the licence.'

PROJECTS = (
    Project('DualToken', 'dualtoken', 'songweii/DualToken', 'MIT (of its README)', NOT_STATED,
            'SigLIP 2 so400m: 384 px, 729 tokens; 256 px, 256 tokens; two streams of 16,384 codes',
            'tiny models of the reference implementation: equal codes', (
                r'siglip_model\.', r'quantizer_(?:pix|sem)(?:el|antic)?\.')),
    Project('VILA-U', 'vila_u', 'mit-han-lab/vila-u', 'MIT', NOT_STATED,
            '256 px, 256 tokens of 4 codes; 384 px, 729 tokens of 16 codes',
            'a tiny tower written out in the test; names from its code',
            (r'siglip_model\.', r'quantizer\.codebooks\.\d+\.(?:weight|embed_ema|cluster_size_ema)')),
    Project('UniTok', 'unitok', 'FoundationVision/UniTok', 'MIT', 'MIT',
            'unitok_tokenizer.pth: 256 px, 256 tokens of 8 codes out of 4,096', f'{OWN_MODULES}; 1,335 published names',
            (r'quantizer\.codebooks\.\d+\.codebook\.weight', r'quant_proj\.'), identifier='mit'),
    Project('VQGAN', 'vqgan', 'CompVis/taming-transformers', 'MIT', NOT_STATED,
            'vqgan_imagenet_f16_1024 and _16384, and others: f16, 1,024 or 16,384 codes', OWN_MODULES, TAMING,
            (r'quantize\.quant_resi\.', FUSED, DOTLESS, r'decoder\.up\.\d+\.upsample_conv\.')),
    Project('LlamaGen', 'vqgan', 'FoundationVision/LlamaGen', 'MIT', NOT_STATED,
            'vq_ds16_c2i, vq_ds8_c2i, vq_ds16_t2i: f16 or f8, 16,384 codes', 'its published layout', LLAMAGEN,
            (r'encoder_vqkd\.', r'gen_vision_model\.')),
    Project('Chameleon', 'vqgan', 'facebookresearch/chameleon', 'Chameleon Research License',
            'Chameleon Research License (non-commercial)', 'vqgan.ckpt: 512 px, 1,024 tokens of 8,192 codes',
            'not run; the layout is that of taming-transformers', TAMING,
            (r'quantize\.quant_resi\.', FUSED, DOTLESS, r'decoder\.up\.\d+\.upsample_conv\.'), 'other', RESEARCH),
    Project('VAR', 'var', 'FoundationVision/VAR', 'MIT', 'MIT',
            'vae_ch160v4096z32.pth: 256 px, 10 scales, 680 tokens of 4,096 codes',
            f'{OWN_MODULES}; 324 published names',
            (TABLE, rf'(?:quantize\.quant_resi\.|{FUSED})'), identifier='mit'),
    Project('TokenFlow', 'tokenflow', 'ByteVisionLab/TokenFlow', 'Apache-2.0', 'Apache-2.0',
            'teachers CLIP-B 224, ViTamin-XL 256, SigLIP so400m 384: 32,768 codes in 8, 9 or 15 scales',
            f'{OWN_MODULES}, three teachers', (r'encoder_vqkd\.', r'quantize\.embedding_vqkd\.'),
            identifier='apache-2.0'),
    Project('IBQ', 'ibq', 'TencentARC/SEED-Voken', 'Apache-2.0', 'Apache-2.0',
            'IBQ-Tokenizer: f16, 1,024, 8,192, 16,384 or 262,144 codes', OWN_MODULES, (*TAMING, DOTLESS), (FUSED,),
            'apache-2.0'),
    Project('Emu3.5', 'ibq', 'baaivision/Emu3.5', 'Apache-2.0', 'Apache-2.0',
            'Emu3.5-VisionTokenizer: f16, 131,072 codes, sizes that 16 divides', OWN_MODULES, TAMING,
            (r'quantize\.quant_resi\.', FUSED, DOTLESS, r'decoder\.up\.\d+\.upsample_conv\.'), 'apache-2.0'),
    Project('Open-MAGVIT2', 'open_magvit2', 'TencentARC/SEED-Voken', 'Apache-2.0', 'Apache-2.0',
            '256 px f16 with 18 bits (262,144 codes) or 14, 128 px f8', OWN_MODULES, (r'decoder\.adaptive\.\d+\.',),
            identifier='apache-2.0'),
    Project('Janus, Janus-Pro', 'janus', 'deepseek-ai/Janus', 'MIT', 'DeepSeek Model License',
            'gen_vision_model of Janus-1.3B, Janus-Pro-1B and 7B: 384 px, 576 tokens of 16,384 codes', OWN_MODULES,
            (r'gen_vision_model\.',), identifier='other', remark='The licence of the weights restricts some uses.'),
    Project('TiTok, TA-TiTok', 'titok', 'bytedance/1d-tokenizer', 'Apache-2.0', 'Apache-2.0',
            '256 px: L-32, B-64, S-128 of 4,096 codes; one-stage and text-aware ones of 8,192; continuous ones',
            OWN_MODULES, (r'latent_tokens$', r'encoder\.latent_token_positional_embedding$'), identifier='apache-2.0',
            remark='Its README says that the weights are only for research.'),
    Project('MaskGIT-VQGAN', 'maskgit_vqgan', 'bytedance/1d-tokenizer', 'Apache-2.0', 'Apache-2.0',
            'maskgit-vqgan-imagenet-f16-256.bin: 256 tokens of 1,024 codes', OWN_MODULES,
            (TABLE, r'decoder\.up\.\d+\.upsample_conv\.'), (r'latent_tokens$',), 'apache-2.0'),
    Project('VQModel', 'vqmodel', 'huggingface/diffusers', 'Apache-2.0', 'that of each folder',
            'folders vqvae and vqmodel of pipelines', 'the class of diffusers, written out in the test',
            (TABLE, r'encoder\.down_blocks\.\d+\.')),
    Project('QLIP', 'qlip', 'NVlabs/QLIP', 'Nvidia Source Code License-NC', 'Nvidia Source Code License-NC',
            'B/8 and B/16 256 px, L/14 392 px: 28 bits a token', OWN_MODULES, (
                r'vision_model\.quant_embed\.', r'vision_decoder\.'), identifier='other', remark=RESEARCH),
    Project('AToken', 'atoken', 'apple/ml-atoken', 'Apple Sample Code License', 'Apple research-only licence',
            'atoken-sod (8 codes of 4,096 a token) and atoken-soc (continuous)', OWN_MODULES,
            (r'encoder\.pos_embedder\.', r'encoder\.input_layer\.'), identifier='other', remark=RESEARCH),
    Project('RAE', 'rae', 'bytetriper/RAE', 'MIT', 'MIT',
            'ViT-XL decoders of the latents of DINOv2-B, SigLIP 2-B and MAE-B', 'tiny models of its own modules',
            (r'trainable_cls_token$', r'decoder_pos_embed$'), identifier='mit'),
)
"""All of them; projects of one layout cannot be told apart by their names."""


def list_projects(kind: str) -> tuple[Project, ...]:
    """Return the projects that a kind reads."""
    return tuple(project for project in PROJECTS if project.kind == kind)


def recognize(names: Iterable[str]) -> tuple[Project, ...]:
    """Return the projects whose tensors have such names: several where they share a layout, () where none is known."""
    names = list(names)
    return tuple(project for project in PROJECTS if project.matches(names))
