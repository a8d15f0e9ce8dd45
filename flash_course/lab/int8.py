"""A model's weights in bytes, for a page: each row of a matrix as whole numbers from -127 to 127 and one scale.

What is no matrix of the products (biases, gains, scale and offset, the position bias) stays float32: it is a
hundredth of the numbers. ``rounded`` is the same model with the numbers that the page computes with, for torch.
"""

import base64
import copy

import numpy as np
import torch

MOST = 127
IN_BYTES = ("embedding.weight", "in_proj.weight", "out_proj.weight")


def packed(model):
    """What the page holds: names and shapes in order, and all floats and all bytes as base64.

    A matrix takes a scale for each row from the floats, and its numbers from the bytes; all else is in the floats.
    """
    shapes = {}
    floats = []
    whole = []
    for name, weights in _weights(model):
        shapes[name] = list(weights.shape)
        if name.endswith(IN_BYTES):
            numbers, scales = _row_by_row(weights)
            whole.append(numbers)
            weights = scales
        floats.append(weights.reshape(-1))
    return {
        "shapes": shapes,
        "in_bytes": list(IN_BYTES),
        "floats": _base64(np.concatenate(floats).astype("<f4")),
        "bytes": _base64(np.concatenate([numbers.reshape(-1) for numbers in whole])),
    }


def rounded(model):
    """A copy of the model, float32, with each matrix as the page has it."""
    model = copy.deepcopy(model).float()
    state = model.state_dict()
    for name, weights in _weights(model):
        if name.endswith(IN_BYTES):
            numbers, scales = _row_by_row(weights)
            state[name].copy_(torch.from_numpy(numbers.astype(np.float32) * scales))
    return model


def _weights(model):
    """(name, float32 array) of each tensor; a tied head is the embedding."""
    for name, weights in model.state_dict().items():
        if name == "head.weight" and model.config.tied:
            continue
        yield name, weights.detach().float().numpy()


def _row_by_row(weights):
    """Whole numbers (rows, columns) int8, and a scale for each row (rows, 1) float32."""
    scales = np.abs(weights).max(1, keepdims=True) / np.float32(MOST)
    scales = np.where(scales > 0, scales, np.float32(1))
    return np.rint(weights / scales).astype(np.int8), scales


def _base64(array):
    return base64.b64encode(array.tobytes()).decode()
