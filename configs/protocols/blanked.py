"""Blanked streams (language model): captions and answers by question, from all streams of codes and without each.

`without_pixel/answer/skin_tone`: right answers where the pixel stream's part of the visual embedding is its mean over
training images (`dtbox/protocols/blanked.py`). Data: that of the run.
"""
protocol = dict(type='BlankedStreams', images=1024,
                metrics=dict(captions=dict(type='CaptionScore'), answers=dict(type='AnswerAccuracy')))
