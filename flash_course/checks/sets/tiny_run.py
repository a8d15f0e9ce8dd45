"""A small run of training in NumPy, for the exercise on saving one: all that it is, is in its attributes."""

import numpy as np

DRAWN = np.random.default_rng(7)
EXAMPLES = DRAWN.normal(size=(53, 3))
TARGETS = np.tanh(EXAMPLES @ DRAWN.normal(size=(3, 2))) + DRAWN.normal(size=2)
WARMUP, PEAK = 8, 0.3


class Run:
    """A run of training: a linear model, with Adam, a warm-up and dropout, that reads its examples in order.

    weights, m, v: dicts of float64 arrays, the parameters by name and Adam's two averages of each.
    step: updates done. position: the example that comes next. rng: of ``np.random.default_rng``, for what is drawn.
    """

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.weights = {"matrix": self.rng.normal(size=(3, 2)), "offset": self.rng.normal(size=2)}
        self.m = {name: np.zeros_like(p) for name, p in self.weights.items()}
        self.v = {name: np.zeros_like(p) for name, p in self.weights.items()}
        self.step = self.position = 0

    def update(self):
        """One update; returns its loss. How many examples it reads is drawn, and so are the numbers set to 0."""
        count = int(self.rng.integers(3, 7))
        rows = (self.position + np.arange(count)) % len(EXAMPLES)
        self.position = (self.position + count) % len(EXAMPLES)
        x = EXAMPLES[rows] * (self.rng.random((count, 3)) > 0.2)
        error = x @ self.weights["matrix"] + self.weights["offset"] - TARGETS[rows]
        gradients = {"matrix": x.T @ error / count, "offset": error.mean(0)}
        # a power with a whole number of NumPy's has another last bit
        self.step = int(self.step) + 1
        rate = PEAK * min(1, self.step / WARMUP)
        for name, g in gradients.items():
            self.m[name] = 0.9 * self.m[name] + 0.1 * g
            self.v[name] = 0.99 * self.v[name] + 0.01 * g**2
            m = self.m[name] / (1 - 0.9**self.step)
            v = self.v[name] / (1 - 0.99**self.step)
            self.weights[name] = self.weights[name] - rate * m / (np.sqrt(v) + 1e-6)
        return float((error**2).mean())
