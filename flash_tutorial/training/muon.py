"""Muon for the kernels of the units, AdamW for everything else (Jordan et al., 2024).

AdamW gives each entry of a matrix a step of its own. Muon takes the matrix as a whole: of its
momentum it keeps the directions and makes all of them equally long.
"""

import torch

MOMENTUM = 0.95
QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan et al.: steep at zero, and then near one
STEPS = 5
ROOT_MEAN_SQUARE = (
    0.2  # of an update: what AdamW's has (Liu et al., 2025), so that its rates and decay carry over
)


def orthogonal(matrix):
    """``U V^T`` of a matrix ``U diag(s) V^T``, about: its singular values come to lie near one.

    Five steps of Newton and Schulz, each an odd polynomial of the singular values,
    ``a s + b s^3 + c s^5``, made of products alone; those that are tiny beside the largest stay
    smaller.
    """
    a, b, c = QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / wide.norm().clamp(min=1e-7)  # no singular value above one
    for _ in range(STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


def kernels(model):
    """The parameters that are matrices between features: the weights of linear layers, but for the head."""
    head = getattr(model, "head", None)
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    tied = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    return [layer.weight for layer in layers if id(layer.weight) not in tied]


class Muon(torch.optim.AdamW):
    """AdamW of all parameters, but for ``matrices``, which follow Muon at the same rate and decay."""

    def __init__(self, parameters, matrices, **options):
        super().__init__(parameters, **options)
        self.matrices = {id(matrix) for matrix in matrices}

    @torch.no_grad()
    def step(self, closure=None):
        """One update; ``closure`` as in any optimizer of torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        kept = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                if id(parameter) in self.matrices and parameter.grad is not None:
                    self.step_of_matrix(parameter, group)
                    kept[parameter] = parameter.grad
                    parameter.grad = None  # AdamW passes it over
        super().step()
        for parameter, grad in kept.items():
            parameter.grad = grad
        return loss

    def step_of_matrix(self, matrix, group):
        """Decay as AdamW's, then a step along the momentum, made orthogonal; Nesterov's look ahead."""
        state = self.state[matrix]
        if not state:
            state["step"] = torch.zeros(())  # AdamW asks for one where it reads a stored state
            state["momentum"] = torch.zeros_like(matrix)
        state["step"] += 1
        state["momentum"].lerp_(matrix.grad, 1 - MOMENTUM)
        ahead = matrix.grad.lerp(state["momentum"], MOMENTUM)
        length = ROOT_MEAN_SQUARE * max(matrix.shape) ** 0.5
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.sub_(orthogonal(ahead), alpha=group["lr"] * length)
