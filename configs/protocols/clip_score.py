"""CLIPScore, 100 times the cosine of image and text: drawings and prompts, or reconstructions and captions.

Weights: --cfg-options tower_weights=PATH of an open_clip checkpoint of `tower`, by default OpenAI's ViT-L/14, or
tower_weights=hub:openai, which open_clip fetches.
"""
tower = 'ViT-L-14-quickgelu'
tower_weights = None
protocol = dict(type='Scores', metrics=dict(clip_score=dict(
    type='CLIPScore', tower='${tower}', weights='${tower_weights}')))
