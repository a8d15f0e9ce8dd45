"""What lecture 02 lets its reader build: the parts of a gated attention unit in NumPy, and then the unit."""

import numpy as np

from flash_tutorial import reference
from flash_tutorial.reference import silu, toeplitz_bias

from . import Build, Case, call
from .lecture_01 import rope


# ---------------------------------------------------------------- GLU
def glu(x_TD, W_gate, W_value, W_out):
    return (silu(x_TD @ W_gate) * silu(x_TD @ W_value)) @ W_out


def value_as_it_is(x_TD, W_gate, W_value, W_out):
    return (silu(x_TD @ W_gate) * (x_TD @ W_value)) @ W_out


def gate_as_it_is(x_TD, W_gate, W_value, W_out):
    return (x_TD @ W_gate * silu(x_TD @ W_value)) @ W_out


def added(x_TD, W_gate, W_value, W_out):
    return (silu(x_TD @ W_gate) + silu(x_TD @ W_value)) @ W_out


@np.errstate(over="ignore")
def activated_after(x_TD, W_gate, W_value, W_out):
    return silu((x_TD @ W_gate) * (x_TD @ W_value)) @ W_out


def no_activation(x_TD, W_gate, W_value, W_out):
    return ((x_TD @ W_gate) * (x_TD @ W_value)) @ W_out


X_22 = np.array([[1.0, 0], [1, -1]])
GATE = np.array([[1.0, 0, 2], [0, 1, 2]])
VALUE = np.array([[1.0, 3, -1], [2, 0, 1]])
OUT = np.array([[1.0, 0], [0, 1], [1, 1]])

GLU = Build(
    glu,
    cases=(
        call("two tokens", X_22, GATE, VALUE, OUT),
        call("one token", X_22[:1], GATE, VALUE, OUT),
        call("wide channels", 30 * X_22, GATE, VALUE, OUT),
    ),
    likely=(
        ("The value goes through SiLU as well, as in the paper's equation 2.", value_as_it_is),
        ("The gate goes through SiLU as well.", gate_as_it_is),
        ("Gate and value are added. A gate multiplies, element by element.", added),
        ("SiLU comes before the product, once on the gate and once on the value.", activated_after),
        ("SiLU is missing, on the gate and on the value.", no_activation),
    ),
    why="Put attention between this gate and its value, and it is a GAU.",
)


# ---------------------------------------------------------------- queries and keys
def queries_and_keys(z_TS, gamma_2S, beta_2S):
    copies_2TS = z_TS * gamma_2S[:, None] + beta_2S[:, None]
    return rope(copies_2TS)


def not_rotated(z_TS, gamma_2S, beta_2S):
    return z_TS * gamma_2S[:, None] + beta_2S[:, None]


def rotated_first(z_TS, gamma_2S, beta_2S):
    return rope(z_TS) * gamma_2S[:, None] + beta_2S[:, None]


def rotated_between(z_TS, gamma_2S, beta_2S):
    return rope(z_TS * gamma_2S[:, None]) + beta_2S[:, None]


def keys_first(z_TS, gamma_2S, beta_2S):
    return queries_and_keys(z_TS, gamma_2S[::-1], beta_2S[::-1])


def offset_scaled(z_TS, gamma_2S, beta_2S):
    return rope((z_TS + beta_2S[:, None]) * gamma_2S[:, None])


def queries_twice(z_TS, gamma_2S, beta_2S):
    return queries_and_keys(z_TS, gamma_2S[[0, 0]], beta_2S[[0, 0]])


Z_32 = np.array([[1.0, 0], [2, 1], [0, 3]])
GAMMA_22 = np.array([[3.0, 2], [1, -2]])
BETA_22 = np.array([[0.0, 3], [1, 2]])
Z_24 = np.array([[1.0, 0, 2, 1], [0, 1, 1, 3]])
GAMMA_24 = np.array([[1.0, 2, 3, 4], [4, 3, 2, -1]])
BETA_24 = np.array([[1.0, 0, -1, 2], [0, 2, 1, 1]])

QUERIES_AND_KEYS = Build(
    queries_and_keys,
    cases=(
        call("three tokens", Z_32, GAMMA_22, BETA_22),
        call("one token, which RoPE leaves alone", Z_32[:1], GAMMA_22, BETA_22),
        call("four channels", Z_24, GAMMA_24, BETA_24),
    ),
    likely=(
        ("RoPE is missing.", not_rotated),
        ("RoPE comes last, after scale and offset: you rotate z itself.", rotated_first),
        ("RoPE comes last: your offset is added after it, and so is not rotated.", rotated_between),
        ("Row 0 of gamma and beta makes the queries, row 1 the keys.", keys_first),
        ("Scale first, then the offset: z * gamma + beta.", offset_scaled),
        ("Both copies have the scale and the offset of row 0.", queries_twice),
    ),
    why="One matrix for z and 512 more numbers stand for two matrices of 98,304 (D = 768).",
)


# ---------------------------------------------------------------- the bias
def transposed(weights, T):
    return toeplitz_bias(weights, T).T


def from_the_left(weights, T):
    position = np.arange(T)
    return weights[position[None, :] - position[:, None] + T - 1]


def from_the_middle(weights, T):
    position = np.arange(T)
    return weights[position[None, :] - position[:, None]]


FIVE = np.array([-2.0, -1, 10, 1, 2])

TOEPLITZ = Build(
    toeplitz_bias,
    cases=(
        call("three tokens, five weights", FIVE, 3),
        call("two tokens, the same weights", FIVE, 2),
        call("one token", FIVE, 1),
    ),
    likely=(
        (
            "Rows are the tokens that read: the distance is j - i, so what is behind is negative.",
            transposed,
        ),
        (
            "Distance 0 has the weight in the middle of the list, however few tokens there are.",
            from_the_left,
        ),
        (
            "Index 0 is the smallest distance. Distance 0 is in the middle of the list.",
            from_the_middle,
        ),
    ),
    why="With it a GAU can look two places back, whatever stands there.",
)


# ---------------------------------------------------------------- the attention matrix
def relu2_matrix(q_TS, k_TS, bias_TT, n, causal=True):
    """What each token reads where the value of token j is the unit vector j."""
    sees_TT = masked(np.ones_like(bias_TT), causal)
    return reference.relu2_attention(q_TS, k_TS, np.eye(len(k_TS)), n, sees_TT, bias_TT)


def masked(A_TT, causal):
    return np.tril(A_TT) if causal else A_TT


def mask_before_bias(q_TS, k_TS, bias_TT, n, causal=True):
    return np.maximum(masked(q_TS @ k_TS.T / n, causal) + bias_TT, 0) ** 2


def undivided(q_TS, k_TS, bias_TT, n, causal=True):
    return relu2_matrix(q_TS, k_TS, bias_TT, 1, causal)


def bias_divided(q_TS, k_TS, bias_TT, n, causal=True):
    return relu2_matrix(q_TS, k_TS, bias_TT / n, n, causal)


def divided_after(q_TS, k_TS, bias_TT, n, causal=True):
    return relu2_matrix(q_TS, k_TS, bias_TT, 1, causal) / n


def square_alone(q_TS, k_TS, bias_TT, n, causal=True):
    return masked((q_TS @ k_TS.T / n + bias_TT) ** 2, causal)


def relu_alone(q_TS, k_TS, bias_TT, n, causal=True):
    return masked(np.maximum(q_TS @ k_TS.T / n + bias_TT, 0), causal)


def bias_after(q_TS, k_TS, bias_TT, n, causal=True):
    return masked(np.maximum(q_TS @ k_TS.T / n, 0) ** 2 + bias_TT, causal)


@np.errstate(invalid="ignore")
def normalised(q_TS, k_TS, bias_TT, n, causal=True):
    A_TT = relu2_matrix(q_TS, k_TS, bias_TT, n, causal)
    return A_TT / A_TT.sum(1, keepdims=True)


def never_masked(q_TS, k_TS, bias_TT, n, causal=True):
    return relu2_matrix(q_TS, k_TS, bias_TT, n, causal=False)


def always_masked(q_TS, k_TS, bias_TT, n, causal=True):
    return relu2_matrix(q_TS, k_TS, bias_TT, n)


def relu2_loops(q_TS, k_TS, bias_TT, n):
    return relu2_matrix(q_TS, k_TS, bias_TT, n)


def without_the_diagonal(q_TS, k_TS, bias_TT, n):
    return np.tril(relu2_matrix(q_TS, k_TS, bias_TT, n), -1)


def of_earlier_rows(q_TS, k_TS, bias_TT, n):
    return np.triu(never_masked(q_TS, k_TS, bias_TT, n))


Q_32 = np.array([[2.0, 0], [0, 4], [-2, 2]])
K_32 = np.array([[2.0, 4], [4, 0], [2, 2]])
BIAS_33 = np.array([[1.0, 3, 2], [-2, 1, 3], [2, -1, 1]])

RELU2_LOOPS = Build(
    relu2_loops,
    cases=(
        call("three tokens, n = 2", Q_32, K_32, BIAS_33, 2),
        call("n is given: not the number of tokens", Q_32, K_32, BIAS_33, 4),
        call("one token", Q_32[:1], K_32[:1], BIAS_33[:1, :1], 2),
    ),
    likely=(
        ("A later token has the weight 0: j runs up to i.", never_masked),
        ("A token reads itself too: j runs up to i + 1.", without_the_diagonal),
        ("Row i reads: j is the earlier token, not the later one.", of_earlier_rows),
        ("The product is not divided by n.", undivided),
        ("Only the product is divided by n, not the bias.", bias_divided),
        ("n divides the product, inside the square. You divide the weight.", divided_after),
        ("A negative score has the weight 0: relu first, then the square.", square_alone),
        ("The square is missing.", relu_alone),
        ("The bias belongs to the score: it is added before relu².", bias_after),
    ),
    why="Whatever is written without loops later on is right if it gives what these two loops give.",
)

RELU2_MATRIX = Build(
    relu2_matrix,
    cases=(
        call("three tokens, n = 2", Q_32, K_32, BIAS_33, 2),
        call("not causal", Q_32, K_32, BIAS_33, 2, causal=False),
        call("n is given: not the number of tokens", Q_32, K_32, BIAS_33, 4),
        call("one token", Q_32[:1], K_32[:1], BIAS_33[:1, :1], 2),
    ),
    likely=(
        (
            "The mask comes before the bias, so a later token keeps the weight relu²(bias).",
            mask_before_bias,
        ),
        ("The products are not divided by n.", undivided),
        ("Only the products are divided by n, not the bias.", bias_divided),
        ("n divides the products, inside the square. You divide the weights.", divided_after),
        ("A negative score has the weight 0: relu first, then the square.", square_alone),
        ("The square is missing.", relu_alone),
        ("The bias belongs to the score: it is added before relu².", bias_after),
        ("The rows are divided by their sums. Here nothing is: a row may add up to 0.", normalised),
        ("Later tokens must have the weight 0.", never_masked),
        ("With causal=False nothing is hidden.", always_masked),
    ),
    why="It is all that a GAU keeps of attention: one matrix, no softmax, no second head.",
)


# ---------------------------------------------------------------- the unit
def gau(x_TD, p, n, causal=True):
    return reference.gau(x_TD, p, causal=causal, length_scale=n)


def gau_with(
    x_TD,
    p,
    n,
    causal=True,
    *,
    norm=reference.norm,
    wide=silu,
    narrow=silu,
    out=lambda u, v, A: u * (A @ v),
):
    """The unit once more; the keywords are where a version may differ."""
    E = len(p["out_weight"])
    uvz = norm(x_TD, p) @ p["in_weight"] + p["in_bias"]
    u_TE, v_TE, z_TS = np.split(uvz, [E, 2 * E], axis=1)
    q_TS, k_TS = queries_and_keys(narrow(z_TS), p["gamma"], p["beta"])
    bias_TT = toeplitz_bias(p["bias_weights"], len(x_TD))
    A_TT = relu2_matrix(q_TS, k_TS, bias_TT, n, causal)
    return x_TD + out(wide(u_TE), wide(v_TE), A_TT) @ p["out_weight"] + p["out_bias"]


def no_residual(x_TD, p, n, causal=True):
    return gau(x_TD, p, n, causal) - x_TD


def normed_residual(x_TD, p, n, causal=True):
    return gau(x_TD, p, n, causal) - x_TD + reference.norm(x_TD, p)


def not_normed(x_TD, p, n, causal=True):
    return gau_with(x_TD, p, n, causal, norm=lambda x_TD, p: x_TD)


def gain_forgotten(x_TD, p, n, causal=True):
    return gau(x_TD, p | {"norm_gain": 1.0}, n, causal)


def base_not_activated(x_TD, p, n, causal=True):
    return gau_with(x_TD, p, n, causal, narrow=lambda z_TS: z_TS)


def nothing_activated(x_TD, p, n, causal=True):
    return gau_with(x_TD, p, n, causal, wide=lambda x: x, narrow=lambda z_TS: z_TS)


def gate_of_the_read(x_TD, p, n, causal=True):
    return gau_with(x_TD, p, n, causal, out=lambda u, v, A: A @ (u * v))


def no_gate(x_TD, p, n, causal=True):
    return gau_with(x_TD, p, n, causal, out=lambda u, v, A: A @ v)


def nothing_mixed(x_TD, p, n, causal=True):
    return gau_with(x_TD, p, n, causal, out=lambda u, v, A: u * v)


def no_out_bias(x_TD, p, n, causal=True):
    return gau(x_TD, p | {"out_bias": 0.0}, n, causal)


def causal_not_handed_on(x_TD, p, n, causal=True):
    return gau(x_TD, p, n)


def u_and_v_exchanged(x_TD, p, n, causal=True):
    return gau_with(x_TD, p, n, causal, out=lambda u, v, A: v * (A @ u))


def parameters(D, E, S, longest, seed=7):
    """Small integers, and halves, for a unit of any size."""
    whole = np.random.default_rng(seed).integers
    return {
        "norm_gain": np.array(1.5),
        "in_weight": whole(-2, 3, (D, 2 * E + S)) / 2,
        "in_bias": whole(-1, 2, 2 * E + S) / 2,
        "gamma": whole(1, 3, (2, S)) * 1.0,
        "beta": whole(-1, 2, (2, S)) * 1.0,
        "bias_weights": whole(-1, 3, 2 * longest - 1) / 2,
        "out_weight": whole(-2, 3, (E, D)) / 2,
        "out_bias": whole(1, 4, D) * 1.0,
    }


def unit_case(label, T, D, E, S, n, causal=True):
    p = parameters(D, E, S, longest=6)
    x_TD = np.random.default_rng(1).integers(-3, 4, (T, D)) * 1.0
    shown = f"x ({T}, {D}), E = {E}, S = {S}, n = {n}, causal = {causal}"
    return Case(label, lambda gau: gau(x_TD.copy(), dict(p), n, causal), shown)


GAU = Build(
    gau,
    cases=(
        unit_case("five tokens", T=5, D=2, E=3, S=2, n=5),
        unit_case("not causal", T=5, D=2, E=3, S=2, n=5, causal=False),
        unit_case("one token", T=1, D=2, E=3, S=2, n=6),
        unit_case("wider, and n is not T", T=4, D=4, E=6, S=4, n=6),
    ),
    likely=(
        ("x is missing: the unit adds to its input.", no_residual),
        ("You add to the normed x. The unit adds to x as it came.", normed_residual),
        ("x is not normed before the projection.", not_normed),
        ("The normed x is not multiplied by `norm_gain`.", gain_forgotten),
        ("The base z goes through SiLU too, as gate and value do.", base_not_activated),
        ("SiLU is missing on u, v and z.", nothing_activated),
        (
            "The gate of the token that reads counts: u * (A @ v), not A @ (u * v).",
            gate_of_the_read,
        ),
        ("The gate is missing.", no_gate),
        ("Nothing is mixed: A @ v is missing.", nothing_mixed),
        ("`out_bias` is missing.", no_out_bias),
        ("`causal` must be handed on to `relu2_matrix`.", causal_not_handed_on),
        ("The projection is cut into u, v and z, in this order.", u_and_v_exchanged),
    ),
    why="That is FLASH-Quad's only layer. FLASH changes one line of it: how A is made and read.",
)

BUILDS = (GLU, QUERIES_AND_KEYS, TOEPLITZ, RELU2_LOOPS, RELU2_MATRIX, GAU)
