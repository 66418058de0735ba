"""FID of reconstructions against ADM's statistics of ImageNet at 256 pixels, as UniTok and LlamaGen report it.

Not against the images themselves. ADM runs TensorFlow's Inception; torch-fidelity's conversion of it stands in.
Weights: as `rfid_fidelity`. Statistics: --cfg-options adm=PATH of VIRTUAL_imagenet256_labeled.npz
(github.com/openai/guided-diffusion).
"""
_base_ = ['./rfid_fidelity.py']

adm = None
protocol = dict(metrics=dict(fid=dict(size=256, against='statistics', reference='${adm}')))
