"""DualToken with the tutorial's quantizer: 16 channels of three values, 25 bits a token, without a table.

Command: dtbox train plugins/ternary/config.py
"""
_base_ = ['../../configs/dualtoken_rq.py']

plugins = ['plugins/ternary']
quantizer = dict(type='Ternary', dim=16)
