"""Which methods a network serves."""

import onnxplain

# What follows attention is asked of networks that have some.
OF_ATTENTION = ("attention-rollout", "chefer")
OF_ALL = tuple(name for name in onnxplain.methods() if name not in OF_ATTENTION)
