"""What the tests of the server share: images as URLs, readers, and who watches."""
import base64
import io

import numpy as np
import torch
from PIL import Image

from dtbox.serving.images import ImageReader
from dtbox.serving.limits import Limits


def make_png(colour=(200, 0, 0), size=(40, 30), kind='PNG'):
    """Return the content of an image file of one colour."""
    content = io.BytesIO()
    Image.new('RGB', size, colour).save(content, kind)
    return content.getvalue()


def make_url(content=None, kind='png'):
    """Return the content of an image file as a data URI."""
    return f'data:image/{kind};base64,{base64.b64encode(make_png() if content is None else content).decode()}'


def read_url(url):
    """Return the pixels of a data URI [H,W,3]."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(',')[2]))))


def show(url=None, text='what is it?', role='user'):
    """Return a message with an image and a text."""
    return dict(role=role, content=[dict(type='image_url', image_url=dict(url=url or make_url())),
                                    dict(type='text', text=text)])


def say(text='a face', role='user'):
    """Return a message of text."""
    return dict(role=role, content=text)


def take_mean(image):
    """Return a PIL image as a tensor [1,3,1,1] of its mean colour."""
    return torch.tensor(np.asarray(image).mean((0, 1)))[None, :, None, None]


def make_reader(root=None, prepare=take_mean, **limits):
    """Return an ImageReader."""
    return ImageReader(Limits(**limits), prepare, root)


class Listener:
    """Takes events; `stop` says after how many checks nobody waits any more."""

    def __init__(self, stop=None):
        self.events, self.stop = [], stop
        self.checks = 0

    def check(self):
        self.checks += 1
        if self.stop is not None and self.checks > self.stop:
            raise StopIteration

    def tell(self, event):
        self.events.append(event)
