"""What a user calls from Python."""
from dtbox.apis.loading import load, open_config  # noqa: F401
from dtbox.apis.mllm import MultimodalModel  # noqa: F401
from dtbox.apis.opening import open_tokenizer  # noqa: F401
from dtbox.apis.tokenizer import Tokenizer  # noqa: F401
