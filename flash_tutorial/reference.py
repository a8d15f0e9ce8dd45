"""The paper in plain NumPy and float64: what every other implementation in this package is held against.

Each idea stands here twice: as loops that read like the equation (`*_loops`), then vectorised (the plain name).
Letters: T length, D model width, E expanded width, S query/key width, C chunk length, G chunks, H heads, d = D / H;
a suffix on a name is its shape (`q_TS`, `kv_GSE`). i reads from j, chunk g reads from chunk h.
Source: Hua et al., "Transformer Quality in Linear Time" (ICML 2022), cited by equation and by Code 1-8 of its appendix.
"""

import math

import numpy as np

EPS = 1e-5


def one_of(name, value, *choices):
    if value not in choices:
        raise ValueError(f"{name} {value!r} is unknown: give one of {', '.join(choices)}")


# ---- activations: each acts on one number at a time, so the formula is its own loop ----
def silu(x):
    """x * sigmoid(x): the activation of GAU and FLASH (u, v and z alike)."""
    return x / (1.0 + np.exp(-x))


def gelu(x):
    """x times the normal distribution function, exact (erf, no tanh): the Transformers' activation."""
    return x * 0.5 * (1.0 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2.0)))


def relu2(x):
    """max(x, 0)^2: takes the place of the softmax (equation 5)."""
    return np.maximum(x, 0.0) ** 2


# ---- norms (Code 5): over the last axis ----
def scale_norm_loops(x_TD, gain):
    out_TD = np.zeros_like(x_TD)
    for i, x_D in enumerate(x_TD):
        mean_square = sum(value * value for value in x_D) / len(x_D)
        out_TD[i] = x_D / math.sqrt(mean_square + EPS) * gain
    return out_TD


def scale_norm(x, gain):
    """ScaleNorm with one gain `()`: x over its root mean square (Code 5)."""
    return x / np.sqrt(np.mean(x**2, -1, keepdims=True) + EPS) * gain


def layer_norm_loops(x_TD, gain_D, offset_D):
    out_TD = np.zeros_like(x_TD)
    for i, x_D in enumerate(x_TD):
        mean = sum(x_D) / len(x_D)
        variance = sum((value - mean) ** 2 for value in x_D) / len(x_D)
        out_TD[i] = (x_D - mean) / math.sqrt(variance + EPS) * gain_D + offset_D
    return out_TD


def layer_norm(x, gain_D, offset_D):
    """LayerNorm with gain and offset `(D,)` (Code 5)."""
    centred = x - np.mean(x, -1, keepdims=True)
    return centred / np.sqrt(np.mean(centred**2, -1, keepdims=True) + EPS) * gain_D + offset_D


def norm(x, params, name="norm"):
    """LayerNorm where `params` holds an offset, ScaleNorm where it does not."""
    if f"{name}_offset" in params:
        return layer_norm(x, params[f"{name}_gain"], params[f"{name}_offset"])
    return scale_norm(x, params[f"{name}_gain"])


# ---- positions: three kinds, all used at once ----
def frequencies(width):
    """10000^(-k / half), k = 0 .. half-1: the angles per position of ScaledSin and RoPE."""
    if width % 2:
        raise ValueError(
            f"width {width} is odd, but positions rotate pairs of channels: choose an even width"
        )
    half = width // 2
    return 10000.0 ** (-np.arange(half) / half)


def scaled_sin_loops(T, D):
    table_TD = np.zeros((T, D))
    for t in range(T):
        for k, freq in enumerate(frequencies(D)):
            table_TD[t, k] = math.sin(t * freq)
            table_TD[t, D // 2 + k] = math.cos(t * freq)
    return table_TD


def scaled_sin(T, D):
    """ScaledSin's table `(T, D)`: sines, then cosines (Code 2). A model adds it times one learnt scalar."""
    angle_Tk = np.arange(T)[:, None] * frequencies(D)
    return np.concatenate([np.sin(angle_Tk), np.cos(angle_Tk)], axis=-1)


def rope_loops(x_TS, first=0):
    out_TS = np.zeros_like(x_TS)
    half = x_TS.shape[1] // 2
    for t in range(len(x_TS)):
        for k, freq in enumerate(frequencies(x_TS.shape[1])):
            sin = math.sin((first + t) * freq)
            cos = math.cos((first + t) * freq)
            x1 = x_TS[t, k]
            x2 = x_TS[t, half + k]
            out_TS[t, k] = x1 * cos - x2 * sin
            out_TS[t, half + k] = x2 * cos + x1 * sin
    return out_TS


def rope(x, first=0):
    """Rotate x `(..., T, S)` by position (Code 3): channel k is paired with k + S/2, row 0 stands at `first`."""
    angle_Tk = (first + np.arange(x.shape[-2]))[:, None] * frequencies(x.shape[-1])
    sin = np.sin(angle_Tk)
    cos = np.cos(angle_Tk)
    x1, x2 = np.split(x, 2, axis=-1)
    return np.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)


def centre(weights, n):
    """Index of distance 0 in the Toeplitz weights, after a look whether they reach n positions."""
    longest = (len(weights) + 1) // 2
    if n > longest:
        raise ValueError(
            f"length {n} is beyond the Toeplitz bias, whose {len(weights)} weights cover {longest} positions: "
            f"give at most {longest}, or use the rotary form (bias_a, bias_b), which covers any length"
        )
    return longest - 1


def toeplitz_bias_loops(weights, n):
    zero = centre(weights, n)
    return np.array([[weights[zero + (j - i)] for j in range(n)] for i in range(n)])


def toeplitz_bias(weights, n):
    """Bias `(n, n)` with one weight for each distance j - i (Code 4, short form): 2m - 1 weights serve any n <= m."""
    position = np.arange(n)
    return np.asarray(weights)[centre(weights, n) + position[None, :] - position[:, None]]


def rotary_bias_loops(a_S, b_S, n):
    turned = [[rope_loops(y_S[None], first=i)[0] for i in range(n)] for y_S in (a_S, b_S)]
    return np.array([[a @ b for b in turned[1]] for a in turned[0]])


def rotary_bias(a_S, b_S, n):
    """Bias `(n, n)` = (a turned to i) . (b turned to j), a function of j - i (Code 4, long form)."""
    return rope(np.tile(a_S, (n, 1))) @ rope(np.tile(b_S, (n, 1))).T


def position_bias(params, n):
    """The bias `(n, n)` of whichever form has its keys in `params`; zeros for neither."""
    if "bias_weights" in params:
        return toeplitz_bias(params["bias_weights"], n)
    if "bias_a" in params:
        return rotary_bias(params["bias_a"], params["bias_b"], n)
    return np.zeros((n, n))


# ---- which token may read which: padding, documents, order ----
def tokens_and_documents(T, mask, segment_ids):
    """`valid_T` and `document_T`. A padded token is in document -1 where there are documents, else in 0 like all."""
    if T == 0:
        raise ValueError("the sequence is empty: give x of shape (T, D) with T >= 1")
    valid_T = np.ones(T, bool) if mask is None else np.asarray(mask, bool)
    if valid_T.shape != (T,):
        raise ValueError(
            f"mask has shape {valid_T.shape}, but x has {T} tokens: give one flag for each token"
        )
    if mask is not None and np.any(np.asarray(mask) != valid_T):
        raise ValueError("mask holds other numbers than 0 and 1: give 1 for a token, 0 for padding")
    places = np.flatnonzero(valid_T)
    in_row = ~valid_T[0] or np.any(np.diff(places) > 1)  # a token comes after padding
    if places.size and in_row and (segment_ids is None or not valid_T[0]):
        raise ValueError(f"mask has a valid token at {places[-1]} after padding: pad on the right")
    if segment_ids is None:
        return valid_T, np.zeros(T, int)
    segment_ids = np.asarray(segment_ids)
    if segment_ids.shape != (T,):
        raise ValueError(
            f"segment_ids has shape {segment_ids.shape}, but x has {T} tokens: give one id for each token"
        )
    own_ids = segment_ids[valid_T]
    if np.any(own_ids[1:] < own_ids[:-1]):
        raise ValueError(
            f"segment_ids falls from {own_ids.max()} to a smaller id: number the documents in their order"
        )
    if np.any((np.diff(places) > 1) & (own_ids[1:] == own_ids[:-1])):
        raise ValueError("mask has a valid token after padding of its own document: pad at its end")
    document_T = np.full(T, -1)
    document_T[valid_T] = np.unique(own_ids, return_inverse=True)[1]
    return valid_T, document_T


def visible_pairs_loops(valid_T, document_T, causal):
    def sees(i, j):
        return valid_T[j] and document_T[i] == document_T[j] and (j <= i or not causal)

    return np.array([[sees(i, j) for j in range(len(valid_T))] for i in range(len(valid_T))], bool)


def visible_pairs(valid, document, causal):
    """sees[..., i, j] from `(..., T)`: j is a valid token of i's document, and not later if causal."""
    sees = valid[..., None, :] & (document[..., :, None] == document[..., None, :])
    return np.tril(sees) if causal else sees


# ---- mixing tokens: softmax, relu^2, linear ----
def softmax_attention_loops(q_TS, k_TS, v_TE, sees_TT, bias_TT):
    out_TE = np.zeros_like(v_TE)
    for i in range(len(q_TS)):
        seen = np.flatnonzero(sees_TT[i])
        score = {j: q_TS[i] @ k_TS[j] / math.sqrt(len(q_TS[i])) + bias_TT[i, j] for j in seen}
        top = max(score.values(), default=0.0)
        total = sum(math.exp(score[j] - top) for j in seen)
        for j in seen:
            out_TE[i] += math.exp(score[j] - top) / total * v_TE[j]
    return out_TE


def softmax_attention(q, k, v, sees, bias=0.0):
    """softmax(q k^T / sqrt(S) + bias) v over the visible keys, `(..., T, S)`; a row that sees no key gives zero."""
    score = np.where(sees, q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]) + bias, -np.inf)
    weight = np.exp(score - score.max(-1, keepdims=True, initial=-1e30))
    # a row with a key holds exp(0) = 1
    return weight / np.maximum(weight.sum(-1, keepdims=True), 1.0) @ v


def relu2_attention_loops(q_TS, k_TS, v_TE, n, sees_TT, bias_TT):
    out_TE = np.zeros_like(v_TE)
    for i in range(len(q_TS)):
        for j in np.flatnonzero(sees_TT[i]):
            out_TE[i] += max(q_TS[i] @ k_TS[j] / n + bias_TT[i, j], 0.0) ** 2 * v_TE[j]
    return out_TE


def relu2_attention(q, k, v, n, sees, bias):
    """relu^2(q k^T / n + bias) v (equation 5, over n as in Code 6); what is not seen is zero after the square."""
    return relu2(q @ k.swapaxes(-1, -2) / n + bias) * sees @ v


def linear_attention_loops(q_TS, k_TS, v_TE, *, causal):
    out_TE = np.zeros_like(v_TE)
    for i in range(len(q_TS)):
        end = i + 1 if causal else len(q_TS)
        for j in range(end):
            out_TE[i] += (q_TS[i] @ k_TS[j]) * v_TE[j]
    return out_TE


def linear_attention(q_TS, k_TS, v_TE, *, causal):
    """Q (K^T V): no softmax, so the small product comes first; causal needs the state of every step."""
    if not causal:
        return q_TS @ (k_TS.T @ v_TE)
    state_TSE = np.cumsum(k_TS[:, :, None] * v_TE[:, None, :], axis=0)
    return np.einsum("ts,tse->te", q_TS, state_TSE)


def linear_attention_step(state_SE, q_S, k_S, v_E):
    """The same as a recurrent network: M_t = M_(t-1) + K_t V_t^T (equation 6). Returns the output `(E,)` and M_t."""
    state_SE = state_SE + np.outer(k_S, v_E)
    return q_S @ state_SE, state_SE


# ---- mixed chunk attention (equation 7, equation 8, Code 8) ----
def to_chunks(x, C):
    """`(T, ...)` -> `(G, C, ...)`, G = ceil(T / C), zeros (False) behind the last token."""
    if C < 1:
        raise ValueError(f"chunk_size {C} is not a length: give at least 1")
    G = -(-len(x) // C)
    padding = np.zeros((G * C - len(x), *x.shape[1:]), x.dtype)
    return np.concatenate([x, padding]).reshape(G, C, *x.shape[1:])


def from_chunks(x, T):
    """`(G, C, ...)` -> `(T, ...)`."""
    return x.reshape(-1, *x.shape[2:])[:T]


def earlier_chunks(x_G):
    """Sum over the strictly earlier chunks (equation 8): the running sum moved by one, without a subtraction."""
    return np.concatenate([np.zeros_like(x_G[:1]), np.cumsum(x_G, axis=0)[:-1]])


def local_part_loops(q_TS, k_TS, v_TE, valid_T, document_T, causal, C, bias_CC):
    out_TE = np.zeros_like(v_TE)
    for start in range(0, len(q_TS), C):
        own = slice(start, start + C)
        sees = visible_pairs_loops(valid_T[own], document_T[own], causal)
        out_TE[own] = relu2_attention_loops(q_TS[own], k_TS[own], v_TE[own], C, sees, bias_CC)
    return out_TE


def local_part(q_TS, k_TS, v_TE, valid_T, document_T, causal, C, bias_CC):
    """relu^2 attention inside each chunk, always over C, with the same bias in every chunk."""
    q_GCS, k_GCS, v_GCE = (to_chunks(x, C) for x in (q_TS, k_TS, v_TE))
    sees_GCC = visible_pairs(to_chunks(valid_T, C), to_chunks(document_T, C), causal)
    return from_chunks(relu2_attention(q_GCS, k_GCS, v_GCE, C, sees_GCC, bias_CC), len(v_TE))


def global_part_loops(q_TS, k_TS, v_TE, valid_T, document_T, causal, C, combine):
    T = len(q_TS)
    out_TE = np.zeros_like(v_TE)
    for i in range(T):
        sum_SE = np.zeros((k_TS.shape[1], v_TE.shape[1]))
        tokens = 0
        end = i // C * C if causal else T
        for start in range(0, end, C):
            chunk = range(start, min(start + C, T))
            own = [j for j in chunk if valid_T[j] and document_T[i] == document_T[j]]
            for j in own:
                sum_SE += np.outer(k_TS[j], v_TE[j])
            if own:
                tokens += sum(valid_T[j] for j in chunk)
        if combine == "mean" and tokens:
            sum_SE /= tokens
        out_TE[i] = q_TS[i] @ sum_SE
    return out_TE


def global_part(q_TS, k_TS, v_TE, valid_T, document_T, causal, C, combine):
    """Linear attention across chunks: q times the sum of K^T V over all chunks (equation 7), or the strictly earlier
    ones (equation 8).

    `combine="sum"` is that bare sum, "mean" divides it by the valid tokens in the visible chunks (Code 8; 0/0 = 0).
    A token sums over its own document, and sees the chunks that hold some of it.
    """
    one_of("combine", combine, "mean", "sum")
    q_GCS, k_GCS, v_GCE = (to_chunks(x, C) for x in (q_TS, k_TS, v_TE))
    valid_GC = to_chunks(valid_T, C)
    document_GC = to_chunks(document_T, C)
    out_GCE = np.zeros_like(v_GCE)
    for document in np.unique(document_T):
        own_GC = document_GC == document
        keys_GC = own_GC & valid_GC
        kv_GSE = np.einsum("gcs,gce->gse", k_GCS * keys_GC[..., None], v_GCE)
        tokens_G = valid_GC.sum(1) * keys_GC.any(1)
        if causal:
            kv_GSE = earlier_chunks(kv_GSE)
            tokens_G = earlier_chunks(tokens_G)
        else:
            kv_GSE = kv_GSE.sum(0, keepdims=True)
            tokens_G = tokens_G.sum(0, keepdims=True)
        if combine == "mean":
            kv_GSE = kv_GSE / np.maximum(tokens_G, 1)[:, None, None]
        out_GCE += own_GC[..., None] * (q_GCS @ kv_GSE)
    return from_chunks(out_GCE, len(v_TE))


def mixed_chunk_attention_loops(heads_4TS, v_TE, *where, **how):
    return mixed_chunk_attention(
        heads_4TS, v_TE, *where, **how, parts=(local_part_loops, global_part_loops)
    )


def mixed_chunk_attention(
    heads_4TS,
    v_TE,
    valid_T,
    document_T,
    bias_CC,
    *,
    causal,
    chunk_size,
    combine="mean",
    local=True,
    global_=True,
    parts=(local_part, global_part),
):
    """Quadratic inside the chunk plus linear across chunks (Code 1). Heads: quad_q, quad_k, lin_q, lin_k."""
    quad_q_TS, quad_k_TS, lin_q_TS, lin_k_TS = heads_4TS
    where = (valid_T, document_T, causal, chunk_size)
    near, far = parts
    out_TE = np.zeros_like(v_TE)
    if local:
        out_TE += near(quad_q_TS, quad_k_TS, v_TE, *where, bias_CC)
    if global_:
        out_TE += far(lin_q_TS, lin_k_TS, v_TE, *where, combine)
    return out_TE


# ---- the unit: u, v, z = project(x); y = u * mix(z, v); out = x + y @ W_out ----
def float64(x, params):
    x_TD = np.asarray(x, np.float64)
    if x_TD.ndim != 2:
        raise ValueError(
            f"x has shape {x_TD.shape}, expected (T, D): the reference takes one sequence without a batch"
        )
    return x_TD, {name: np.asarray(value, np.float64) for name, value in params.items()}


def project_loops(x_TD, p, valid_T):
    E = p["out_weight"].shape[0]
    S = p["gamma"].shape[1]
    T = len(x_TD)
    H = len(p["gamma"])
    u_TE = np.zeros((T, E))
    v_TE = np.zeros((T, E))
    heads_HTS = np.zeros((H, T, S))
    for i in range(T):
        z_S = np.zeros(S)
        if valid_T[i]:
            uvz = silu(norm(x_TD[i], p) @ p["in_weight"] + p["in_bias"])
            u_TE[i] = uvz[:E]
            v_TE[i] = uvz[E : 2 * E]
            z_S = uvz[2 * E :]
        for head in range(H):
            head_S = z_S * p["gamma"][head] + p["beta"][head]
            heads_HTS[head, i] = rope_loops(head_S[None], first=i)[0]
    return u_TE, v_TE, heads_HTS


def project(x_TD, p, valid_T, first=0):
    """u (gate) and v (value) `(T, E)`, and the heads `(H, T, S)` of the base z (equation 4): scale, offset, RoPE.

    Padding is put to zero here, after the activation: silu of a bias is not zero.
    """
    E = p["out_weight"].shape[0]
    uvz = np.where(valid_T[:, None], silu(norm(x_TD, p) @ p["in_weight"] + p["in_bias"]), 0.0)
    u_TE, v_TE, z_TS = np.split(uvz, [E, 2 * E], axis=-1)
    return u_TE, v_TE, rope(z_TS * p["gamma"][:, None] + p["beta"][:, None], first)


def gate_and_out(x, u, mixed, p):
    """The residual and O = (U * mixed) W_out (equation 3)."""
    return x + (u * mixed) @ p["out_weight"] + p["out_bias"]


def gau_loops(
    x, params, *, causal, length_scale=None, attention="relu2", mask=None, segment_ids=None
):
    x_TD, p = float64(x, params)
    valid_T, document_T = tokens_and_documents(len(x_TD), mask, segment_ids)
    u_TE, v_TE, (q_TS, k_TS) = project_loops(x_TD, p, valid_T)
    sees_TT = visible_pairs_loops(valid_T, document_T, causal)
    bias_TT = position_bias(p, len(x_TD))
    if attention == "softmax":
        mixed_TE = softmax_attention_loops(q_TS, k_TS, v_TE, sees_TT, bias_TT)
    else:
        n = max(sum(valid_T), 1) if length_scale is None else length_scale
        mixed_TE = relu2_attention_loops(q_TS, k_TS, v_TE, n, sees_TT, bias_TT)
    return gate_and_out(x_TD, u_TE, mixed_TE, p)


def gau(x, params, *, causal, length_scale=None, attention="relu2", mask=None, segment_ids=None):
    """The Gated Attention Unit, FLASH-Quad's layer (equation 3 around equation 5, Code 6): x `(T, D)` -> `(T, D)`.

    Scores are divided by `length_scale`, or (None, the paper) by the number of valid tokens. "softmax" divides by
    sqrt(S) instead. `params` as `GAU.to_numpy()` gives them; `mask` (True = token) and `segment_ids` `(T,)`.
    ValueError: padding that is not on the right, ids that fall, a Toeplitz bias shorter than T.
    """
    one_of("attention", attention, "relu2", "softmax")
    x_TD, p = float64(x, params)
    valid_T, document_T = tokens_and_documents(len(x_TD), mask, segment_ids)
    u_TE, v_TE, (q_TS, k_TS) = project(x_TD, p, valid_T)
    sees_TT = visible_pairs(valid_T, document_T, causal)
    bias_TT = position_bias(p, len(x_TD))
    if attention == "softmax":
        mixed_TE = softmax_attention(q_TS, k_TS, v_TE, sees_TT, bias_TT)
    else:
        n = max(valid_T.sum(), 1) if length_scale is None else length_scale
        mixed_TE = relu2_attention(q_TS, k_TS, v_TE, n, sees_TT, bias_TT)
    return gate_and_out(x_TD, u_TE, mixed_TE, p)


def flash_loops(x, params, *, chunk_size, mask=None, segment_ids=None, **how):
    x_TD, p = float64(x, params)
    valid_T, document_T = tokens_and_documents(len(x_TD), mask, segment_ids)
    u_TE, v_TE, heads_4TS = project_loops(x_TD, p, valid_T)
    where = (valid_T, document_T, position_bias(p, chunk_size))
    mixed_TE = mixed_chunk_attention_loops(heads_4TS, v_TE, *where, chunk_size=chunk_size, **how)
    return gate_and_out(x_TD, u_TE, mixed_TE, p)


def flash(
    x,
    params,
    *,
    causal,
    chunk_size,
    combine="mean",
    local=True,
    global_=True,
    mask=None,
    segment_ids=None,
):
    """The FLASH layer, mixed chunk attention in a GAU (Code 8): x `(T, D)` -> `(T, D)`, any T >= 1.

    Chunks start at token 0. `local` and `global_` switch a part off; the rest as in `gau` and `global_part`.
    """
    x_TD, p = float64(x, params)
    valid_T, document_T = tokens_and_documents(len(x_TD), mask, segment_ids)
    u_TE, v_TE, heads_4TS = project(x_TD, p, valid_T)
    how = dict(causal=causal, chunk_size=chunk_size, combine=combine, local=local, global_=global_)
    mixed_TE = mixed_chunk_attention(
        heads_4TS, v_TE, valid_T, document_T, position_bias(p, chunk_size), **how
    )
    return gate_and_out(x_TD, u_TE, mixed_TE, p)


# ---- the paper's looser reading of documents: whole chunks, global part only (Codes 7-8) ----
def segment_mask_by_overlap_loops(segment_ids_GC, causal):
    G = len(segment_ids_GC)
    mask_GG = np.zeros((G, G))
    for g in range(G):
        end = g if causal else G
        for h in range(end):
            own_C = segment_ids_GC[g]
            other_C = segment_ids_GC[h]
            mask_GG[g, h] = min(own_C) <= max(other_C) and max(own_C) >= min(other_C)
        mask_GG[g] /= max(sum(mask_GG[g]), 1)
    return mask_GG


def segment_mask_by_overlap(segment_ids_GC, causal):
    """Chunk g reads chunk h where their ranges of ids overlap (Code 7): `(G, G)`, rows sum to 1, or to 0 if empty."""
    low_G = np.min(segment_ids_GC, axis=1)
    high_G = np.max(segment_ids_GC, axis=1)
    mask_GG = ((low_G[:, None] <= high_G) & (high_G[:, None] >= low_G)).astype(np.float64)
    if causal:
        mask_GG = np.tril(mask_GG, -1)
    return mask_GG / np.maximum(mask_GG.sum(1, keepdims=True), 1.0)


def flash_code8(x, params, *, causal, chunk_size, segment_ids):
    """FLASH to the letter of Code 8: full chunks, mean of K^T V / C over the chunks whose documents overlap.

    The local part knows no documents, and a chunk that holds a border links both sides. `flash` is the strict form.
    """
    x_TD, p = float64(x, params)
    T = len(x_TD)
    C = chunk_size
    if T % C:
        raise ValueError(
            f"length {T} is not a multiple of chunk_size {C}: Code 8 takes full chunks, use flash instead"
        )
    u_TE, v_TE, heads_HTS = project(x_TD, p, np.ones(T, bool))
    quad_q_GCS, quad_k_GCS, lin_q_GCS, lin_k_GCS = heads_HTS.reshape(4, T // C, C, -1)
    v_GCE = to_chunks(v_TE, C)
    scores_GCC = relu2(quad_q_GCS @ quad_k_GCS.swapaxes(1, 2) / C + position_bias(p, C))
    if causal:
        scores_GCC = np.tril(scores_GCC)
    quadratic_GCE = scores_GCC @ v_GCE
    kv_GSE = np.einsum("gcs,gce->gse", lin_k_GCS, v_GCE) / C
    mask_GG = segment_mask_by_overlap(np.reshape(segment_ids, (T // C, C)), causal)
    linear_GCE = lin_q_GCS @ np.einsum("gh,hse->gse", mask_GG, kv_GSE)
    mixed_TE = (quadratic_GCE + linear_GCE).reshape(T, -1)
    return gate_and_out(x_TD, u_TE, mixed_TE, p)


# ---- the baselines: attention, then a feed-forward layer, both pre-norm with a residual (Tables 5-9) ----
def feed_forward(x, p, glu):
    """MLP phi(x W_in) W_out, or GLU (phi(x W_gate) * x W_value) W_out (equation 1, equation 2); phi = GELU."""
    h = norm(x, p, "norm2") @ p["ff_in_weight"] + p["ff_in_bias"]
    if glu:
        gate, value = np.split(h, 2, axis=-1)
        h = gelu(gate) * value
    else:
        h = gelu(h)
    return x + h @ p["ff_out_weight"] + p["ff_out_bias"]


def block_out(x, mixed, p, glu):
    """What attention has mixed, projected, with the residual; then the feed-forward layer."""
    return feed_forward(x + mixed @ p["attn_out_weight"] + p["attn_out_bias"], p, glu)


def split_heads(x_TD, heads, turned=False, first=0):
    """`(T, D)` -> `(H, T, d)`: each head takes d = D / H channels in a row, with RoPE if they are to be `turned`."""
    T, D = x_TD.shape
    if D % heads:
        raise ValueError(
            f"width {D} does not split into {heads} heads: choose heads that divide it"
        )
    x_HTd = x_TD.reshape(T, heads, D // heads).swapaxes(0, 1)
    return rope(x_HTd, first) if turned else x_HTd


def merge_heads(x_HTd):
    return x_HTd.swapaxes(0, 1).reshape(x_HTd.shape[1], -1)


def query_key_value(x_TD, p):
    return np.split(norm(x_TD, p, "norm1") @ p["qkv_weight"] + p["qkv_bias"], 3, axis=-1)


def linear_heads(q_TD, k_TD, p):
    """MC-Transformer++: a second pair of heads, a scale and offset of the unrotated q and k, as in FLASH."""
    return q_TD * p["gamma"][0] + p["beta"][0], k_TD * p["gamma"][1] + p["beta"][1]


def transformer_block_loops(
    x, params, *, causal, heads, glu, rope, mask=None, segment_ids=None, chunk_size=None
):
    x_TD, p = float64(x, params)
    valid_T, document_T = tokens_and_documents(len(x_TD), mask, segment_ids)
    q_TD, k_TD, v_TD = query_key_value(x_TD, p)
    lin_TD = linear_heads(q_TD, k_TD, p) if chunk_size else ()
    d = x_TD.shape[1] // heads
    C = chunk_size or len(x_TD)
    mixed_TD = np.zeros_like(x_TD)
    out_TD = np.zeros_like(x_TD)
    for head in range(heads):
        own = slice(head * d, (head + 1) * d)
        heads_Td = [y_TD[:, own] for y_TD in (q_TD, k_TD, *lin_TD)]
        if rope:
            heads_Td = [rope_loops(y_Td) for y_Td in heads_Td]
        q_Td, k_Td, *lin_Td = heads_Td
        for start in range(0, len(x_TD), C):
            c = slice(start, start + C)
            sees = visible_pairs_loops(valid_T[c], document_T[c], causal)
            mixed_TD[c, own] = softmax_attention_loops(
                q_Td[c], k_Td[c], v_TD[c, own], sees, np.zeros_like(sees)
            )
        if chunk_size:
            mixed_TD[:, own] += global_part_loops(
                *lin_Td, v_TD[:, own], valid_T, document_T, causal, C, "mean"
            )
    for i in range(len(x_TD)):
        out_TD[i] = block_out(x_TD[i], mixed_TD[i], p, glu)
    return out_TD


def transformer_block(x, params, *, causal, heads, glu, rope, mask=None, segment_ids=None):
    """Softmax attention in H heads, then MLP or GLU: x `(T, D)` -> `(T, D)`.

    Transformer: glu=False, rope=False. Transformer+: rope=True. Transformer++: both True.
    """
    x_TD, p = float64(x, params)
    sees_TT = visible_pairs(*tokens_and_documents(len(x_TD), mask, segment_ids), causal)
    q_HTd, k_HTd, v_HTd = (
        split_heads(y, heads, r) for y, r in zip(query_key_value(x_TD, p), (rope, rope, False))
    )
    mixed_HTd = softmax_attention(q_HTd, k_HTd, v_HTd, sees_TT)
    return block_out(x_TD, merge_heads(mixed_HTd), p, glu)


def mc_transformer_block_loops(x, params, *, chunk_size, **how):
    return transformer_block_loops(x, params, chunk_size=chunk_size, glu=True, rope=True, **how)


def mc_transformer_block(x, params, *, causal, heads, chunk_size, mask=None, segment_ids=None):
    """MC-Transformer++, which the paper gives in words only: softmax inside a chunk, linear attention across chunks.

    As `transformer_block` with glu and rope, and `gamma`, `beta` `(2, D)` for `linear_heads`; x `(T, D)` -> `(T, D)`.
    """
    x_TD, p = float64(x, params)
    T = len(x_TD)
    C = chunk_size
    where = tokens_and_documents(T, mask, segment_ids)
    sees_GCC = visible_pairs(*(to_chunks(y_T, C) for y_T in where), causal)
    q_TD, k_TD, v_TD = query_key_value(x_TD, p)
    v_HTd = split_heads(v_TD, heads)
    mixed_HTd = []
    four_HTd = [
        split_heads(y_TD, heads, turned=True) for y_TD in (q_TD, k_TD, *linear_heads(q_TD, k_TD, p))
    ]
    for q_Td, k_Td, lin_q_Td, lin_k_Td, v_Td in zip(*four_HTd, v_HTd):
        near_GCd = softmax_attention(*(to_chunks(y_Td, C) for y_Td in (q_Td, k_Td, v_Td)), sees_GCC)
        far_Td = global_part(lin_q_Td, lin_k_Td, v_Td, *where, causal, C, "mean")
        mixed_HTd.append(from_chunks(near_GCd, T) + far_Td)
    return block_out(x_TD, merge_heads(np.array(mixed_HTd)), p, glu=True)


# ---- one token at a time: a step changes `state` in place and returns y_D; a cache starts as {"k": [], "v": []} ----
def flash_state(params):
    """Nothing read yet: the sum of K^T V over finished chunks, their number, and the caches of the unfinished chunk."""
    S = np.shape(params["gamma"])[1]
    E = np.shape(params["out_weight"])[0]
    return {"kv_SE": np.zeros((S, E)), "chunks": 0, "quad_k": [], "lin_k": [], "v": []}


def flash_step(x_D, params, state, *, chunk_size, combine="mean", local=True, global_=True):
    """Causal `flash` for the next token, from a state of S E + C (2 S + E) numbers at most, whatever its position."""
    one_of("combine", combine, "mean", "sum")
    x_1D, p = float64(np.asarray(x_D)[None], params)
    C = chunk_size
    g = state["chunks"]
    i = len(state["v"])
    u_1E, v_1E, heads_H1S = project(x_1D, p, np.ones(1, bool), first=g * C + i)
    quad_q_S, quad_k_S, lin_q_S, lin_k_S = heads_H1S[:, 0]
    for name, new in (("quad_k", quad_k_S), ("lin_k", lin_k_S), ("v", v_1E[0])):
        state[name].append(new)
    mixed_E = np.zeros_like(v_1E[0])
    if local:
        mixed_E += relu2(
            np.array(state["quad_k"]) @ quad_q_S / C + position_bias(p, i + 1)[i]
        ) @ np.array(state["v"])
    if global_ and g:
        n = g * C if combine == "mean" else 1
        mixed_E += lin_q_S @ state["kv_SE"] / n
    if i == C - 1:  # only a finished chunk is seen from afar
        state["kv_SE"] = state["kv_SE"] + np.array(state["lin_k"]).T @ np.array(state["v"])
        state.update(chunks=g + 1, quad_k=[], lin_k=[], v=[])
    return gate_and_out(x_1D[0], u_1E[0], mixed_E, p)


def gau_step(x_D, params, state, *, length_scale=None, attention="relu2"):
    """Causal `gau` for the next token. `length_scale` is a number: the current length would change old outputs."""
    one_of("attention", attention, "relu2", "softmax")
    if attention == "relu2" and length_scale is None:
        raise ValueError(
            "length_scale None is the current length, which each token changes: give the training length"
        )
    x_1D, p = float64(np.asarray(x_D)[None], params)
    i = len(state["v"])
    u_1E, v_1E, (q_1S, k_1S) = project(x_1D, p, np.ones(1, bool), first=i)
    state["k"].append(k_1S[0])
    state["v"].append(v_1E[0])
    k_TS = np.array(state["k"])
    v_TE = np.array(state["v"])
    bias_1T = position_bias(p, i + 1)[i:]
    if attention == "softmax":
        mixed_1E = softmax_attention(q_1S, k_TS, v_TE, True, bias_1T)
    else:
        mixed_1E = relu2_attention(q_1S, k_TS, v_TE, length_scale, True, bias_1T)
    return gate_and_out(x_1D, u_1E, mixed_1E, p)[0]


def transformer_step(x_D, params, state, *, heads, glu, rope):
    """Causal `transformer_block` for the next token."""
    x_1D, p = float64(np.asarray(x_D)[None], params)
    i = len(state["k"])
    turned = (rope, rope, False)
    q_H1d, k_H1d, v_H1d = (
        split_heads(y, heads, r, i) for y, r in zip(query_key_value(x_1D, p), turned)
    )
    state["k"].append(k_H1d)
    state["v"].append(v_H1d)
    k_HTd = np.concatenate(state["k"], axis=1)
    v_HTd = np.concatenate(state["v"], axis=1)
    mixed_H1d = softmax_attention(q_H1d, k_HTd, v_HTd, True)
    return block_out(x_1D, merge_heads(mixed_H1d), p, glu)[0]
