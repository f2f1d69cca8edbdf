"""Keras and TensorFlow models, exported for real, against TensorFlow's own gradients.

`pip install -e '.[test,exporters]'` brings what they need; without it they skip.
"""

# The exporters are an optional group.
# pyright: reportMissingImports=false
from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.exported import CHECKS, REASON, TOLERANCE, Exported, gradient_error

tf = pytest.importorskip("tensorflow", reason=REASON)
tf2onnx = pytest.importorskip("tf2onnx", reason=REASON)
keras = pytest.importorskip("keras", reason=REASON)
layers = keras.layers


def mobile():
    """Depthwise separable: strided SAME padding on odd sizes, batch normalisation, ReLU6."""
    image = keras.Input((23, 20, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.Conv2D(16, 1, use_bias=False)(x)
    x = layers.ReLU(6.0, name="last")(layers.BatchNormalization()(x))
    x = layers.Dense(5, name="logits")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Softmax()(x))


def residual():
    """A strided block beside its shortcut, overlapping SAME pooling, and an NHWC Flatten."""
    image = keras.Input((18, 21, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    shortcut = layers.Conv2D(12, 1, strides=2, padding="same")(x)
    x = layers.Conv2D(12, 3, strides=2, padding="same", activation="swish")(x)
    x = layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same")(x))
    x = layers.LeakyReLU(name="last")(layers.Add()([x, shortcut]))
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    x = layers.Dense(5, name="logits")(layers.Dense(16, activation="tanh")(x))
    return keras.Model(image, layers.Softmax()(x))


def squeeze_excite():
    """Gates on channels, hard activations, padding and cropping layers, upsampling, averages."""
    gelu = partial(keras.activations.gelu, approximate=True)  # tf2onnx has no Erfc
    image = keras.Input((16, 18, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(8, 3, strides=2)(layers.ZeroPadding2D(((0, 1), (1, 2)))(x))
    x = layers.Activation("hard_swish")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(8, 1, activation="hard_sigmoid")(layers.Conv2D(4, 1)(gate))
    x = layers.UpSampling2D(interpolation="bilinear")(layers.Multiply()([x, gate]))
    x = layers.AveragePooling2D(3, strides=2, padding="same")(layers.Cropping2D(1)(x))
    x = layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation=gelu)(x)
    x = layers.PReLU(shared_axes=(1, 2), name="last")(layers.LayerNormalization()(x))
    x = layers.Dense(5, name="logits")(layers.GlobalMaxPooling2D()(x))
    return keras.Model(image, layers.Softmax()(x))


def randomised(build):
    """The network with random weights and running statistics, PReLU's slopes among them."""
    keras.utils.set_random_seed(0)
    network, random = build(), np.random.default_rng(0)
    for weight in network.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean", "bias", "alpha"):
            weight.assign(random.uniform(-0.3, 0.3, weight.shape))
    return network


def by_keras(network, folder) -> onnx.ModelProto:
    """Keras' own export."""
    network(np.zeros((1, *network.input_shape[1:]), np.float32))
    network.export(str(folder / "keras.onnx"), format="onnx", verbose=False)
    return onnx.load(folder / "keras.onnx")


def by_tf2onnx(network, folder) -> onnx.ModelProto:
    """tf2onnx's conversion of a Keras model, at an older opset."""
    return tf2onnx.convert.from_keras(network, opset=13)[0]


def call(function, x: np.ndarray) -> np.ndarray:
    return function(tf.constant(x)).numpy()


def pull(function, x: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
    """GradientTape's vector-Jacobian product."""
    at = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(at)
        y = function(at)
    return tape.gradient(y, at, output_gradients=tf.constant(cotangent)).numpy()


@cache
def keras_case(build, export) -> Exported:
    """A network beside its file, with two images."""
    network = randomised(build)
    image, last, logits = network.input, network.get_layer("last"), network.get_layer("logits")
    trunk, head = keras.Model(image, last.output), keras.Model(last.output, logits.output)
    largest = 255 if build is squeeze_excite else 10
    x = np.random.default_rng(1).uniform(0, largest, (2, *image.shape[1:])).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        model = export(network, Path(folder))
    inference = [partial(part, training=False) for part in (trunk, head)]
    return Exported(model, x, *inference, tf.nn.softmax, call, pull)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("export", [by_keras, by_tf2onnx], ids=lambda export: export.__name__)
@pytest.mark.parametrize("build", [mobile, residual, squeeze_excite], ids=lambda b: b.__name__)
def test_keras(build, export, check) -> None:
    assert check(keras_case(build, export)) < TOLERANCE


def weights(*shape: int, seed: int) -> np.ndarray:
    """A kernel whose size keeps outputs of order 1."""
    scale = (2 / np.prod(shape[:-1])) ** 0.5
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def standardised(images):
    """Any size becomes 16 by 16; each image is standardised by its own mean and deviation."""
    x = tf.image.per_image_standardization(tf.image.resize(images, (16, 16)))
    x = tf.nn.elu(tf.nn.conv2d(x, weights(3, 3, 3, 8, seed=1), strides=2, padding="SAME"))
    x = tf.nn.depthwise_conv2d(x, weights(3, 3, 8, 1, seed=2) * 2, [1, 1, 1, 1], "SAME")
    x = tf.nn.local_response_normalization(x, depth_radius=2)
    return tf.nn.relu(tf.nn.conv2d(x, weights(3, 3, 8, 8, seed=3), 1, "SAME", dilations=2))


def enlarged(images):
    """Pixels 0..255 as integers, enlarged by nearest neighbours, normalised channel by channel."""
    x = tf.image.resize(tf.cast(images, tf.float32), (20, 22), method="nearest")
    x = (x - tf.constant([123.7, 116.3, 103.5])) / tf.constant([58.4, 57.1, 57.4])
    x = tf.pad(x, [[0, 0], [1, 2], [2, 1], [0, 0]], mode="REFLECT")
    x = tf.nn.leaky_relu(tf.nn.conv2d(x, weights(3, 3, 3, 8, seed=1), 2, "VALID"))
    x = tf.nn.max_pool2d(x, 3, 2, "SAME") + tf.nn.avg_pool2d(x, 2, 2, "SAME")
    return tf.nn.softplus(tf.nn.conv2d(x, weights(3, 3, 8, 8, seed=2), 1, "SAME"))


def classify(values):
    return tf.matmul(tf.reduce_mean(values, [1, 2]), weights(8, 5, seed=4))


@cache
def function_case(trunk, dtype, final) -> Exported:
    """A tf.function beside its file, which takes images of any size."""
    wanted = [tf.TensorSpec((None, None, None, 3), dtype, name="images")]
    whole = tf.function(lambda images: final(classify(trunk(images))))
    model = tf2onnx.convert.from_function(whole, input_signature=wanted, opset=17)[0]
    x = np.random.default_rng(1).uniform(0, 255, (2, 13, 17, 3)).astype(dtype)
    return Exported(model, x, trunk, classify, final, call, pull)


FUNCTIONS = {
    "standardised": (standardised, np.float32, tf.nn.sigmoid),
    "enlarged": (enlarged, np.uint8, tf.nn.log_softmax),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_tensorflow_function(name: str, check) -> None:
    case = function_case(*FUNCTIONS[name])
    if check is gradient_error and case.x.dtype == np.uint8:
        pytest.skip("no gradient by integers")
    assert check(case) < TOLERANCE
