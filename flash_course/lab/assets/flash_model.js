// FLASH in plain JavaScript, one token at a time: what flash_tutorial's `step` computes, in the same order.
// T tokens, C tokens in a chunk, D model width, E expanded width, S shared width. No part of it knows the page.

const EPS = 1e-5;  // of both norms

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer;

// The tensors by name, each a Float32Array. A matrix in bytes is whole numbers times the scale of its row.
function unpack(packed) {
  const floats = new Float32Array(bytesOf(packed.floats));
  const bytes = new Int8Array(bytesOf(packed.bytes));
  const tensors = {};
  let float = 0;
  let byte = 0;
  for (const [name, shape] of Object.entries(packed.shapes)) {
    const size = shape.reduce((product, n) => product * n, 1);
    if (!packed.in_bytes.some((end) => name.endsWith(end))) {
      tensors[name] = floats.subarray(float, float + size);
      float += size;
      continue;
    }
    const [rows, columns] = shape;
    const matrix = new Float32Array(size);
    for (let r = 0; r < rows; r += 1) {
      const scale = floats[float + r];
      for (let c = r * columns; c < (r + 1) * columns; c += 1) matrix[c] = bytes[byte + c] * scale;
    }
    tensors[name] = matrix;
    float += rows;
    byte += size;
  }
  return tensors;
}

// The product of a vector and n numbers of another one from a place on.
function dot(a, b, n, start = 0) {
  let sum = 0;
  for (let k = 0; k < n; k += 1) sum += a[k] * b[start + k];
  return sum;
}

// matrix (rows, x.length) times x, plus an offset for each row where there is one. Four sums at a time, for speed:
// x.length is a multiple of 4.
function times(matrix, x, offset = null) {
  const n = x.length;
  const y = new Float64Array(matrix.length / n);
  for (let r = 0, k = 0; r < y.length; r += 1) {
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    for (let i = 0; i < n; i += 4, k += 4) {
      a += matrix[k] * x[i];
      b += matrix[k + 1] * x[i + 1];
      c += matrix[k + 2] * x[i + 2];
      d += matrix[k + 3] * x[i + 3];
    }
    y[r] = a + b + c + d + (offset ? offset[r] : 0);
  }
  return y;
}

// ScaleNorm: x over the root of its mean square, times one gain.
function scaleNorm(x, gain) {
  const factor = gain / Math.sqrt(dot(x, x, x.length) / x.length + EPS);
  return x.map((number) => number * factor);
}

const silu = (number) => number / (1 + Math.exp(-number));

// cos and sin of the angles of one position.
function angles(position, half) {
  const cos = new Float64Array(half);
  const sin = new Float64Array(half);
  for (let k = 0; k < half; k += 1) {
    const angle = position * 10000 ** (-k / half);
    cos[k] = Math.cos(angle);
    sin[k] = Math.sin(angle);
  }
  return {cos, sin};
}

// A head of the base z: scale and offset, then RoPE.
function readHead(z, gamma, beta, head, {cos, sin}) {
  const S = z.length;
  const half = S / 2;
  const turned = new Float64Array(S);
  for (let k = 0; k < half; k += 1) {
    const a = z[k] * gamma[head * S + k] + beta[head * S + k];
    const b = z[k + half] * gamma[head * S + k + half] + beta[head * S + k + half];
    turned[k] = a * cos[k] - b * sin[k];
    turned[k + half] = b * cos[k] + a * sin[k];
  }
  return turned;
}

class Flash {
  constructor({config, packed}) {
    Object.assign(this, config);  // D, E, S, C, depth
    this.tensors = unpack(packed);
  }

  // What is kept between two tokens. Its size is the same after every token.
  newState() {
    const {C, S, E} = this;
    const units = Array.from({length: this.depth}, () => ({
      sum: new Float64Array(S * E),  // of lin_k^T v / C over the finished chunks
      quadK: new Float64Array(C * S),  // the unfinished chunk
      linK: new Float64Array(C * S),
      v: new Float64Array(C * E),
    }));
    return {t: 0, units};
  }

  // Reads one token: the logits of the next one, and of each unit what was read near and far. Changes the state.
  step(state, id) {
    const {D, tensors} = this;
    const embedding = tensors["embedding.weight"];
    const scale = tensors["stack.positions.scale"][0];
    const place = angles(state.t, D / 2);
    const turns = angles(state.t, this.S / 2);
    let x = new Float64Array(D);
    for (let d = 0; d < D; d += 1) {
      const sine = d < D / 2 ? place.sin[d] : place.cos[d - D / 2];
      x[d] = embedding[id * D + d] + scale * sine;
    }
    const read = [];
    state.units.forEach((kept, number) => {
      const found = this.unit(`stack.units.${number}.`, x, kept, state.t, turns);
      x = found.x;
      read.push(found.read);
    });
    state.t += 1;
    return {logits: times(embedding, scaleNorm(x, tensors["stack.norm.gain"][0])), read};
  }

  // One FLASH unit: x + (u * (near + far)) W_out.
  unit(name, x, kept, t, turns) {
    const {C, S, E} = this;
    const part = (which) => this.tensors[name + which];
    const h = times(part("in_proj.weight"), scaleNorm(x, part("norm.gain")[0]), part("in_proj.bias")).map(silu);
    const u = h.subarray(0, E);
    const v = h.subarray(E, 2 * E);
    const z = h.subarray(2 * E);
    const gamma = part("scale_offset.gamma");
    const beta = part("scale_offset.beta");
    const [quadQ, quadK, linQ, linK] = [0, 1, 2, 3].map((head) => readHead(z, gamma, beta, head, turns));

    const i = t % C;
    kept.quadK.set(quadK, i * S);
    kept.linK.set(linK, i * S);
    kept.v.set(v, i * E);
    const {near, weights} = this.near(quadQ, kept, part("bias.weights"), i);
    const far = this.far(linQ, kept, Math.floor(t / C));
    if (i === C - 1) this.fold(kept);

    const gated = near.map((number, e) => u[e] * (number + far[e]));
    const back = times(part("out_proj.weight"), gated, part("out_proj.bias"));
    const length = (vector) => Math.sqrt(dot(vector, vector, E));
    return {x: x.map((number, d) => number + back[d]), read: {weights, near: length(near), far: length(far)}};
  }

  // Its own chunk, one by one: relu^2(quad_q . quad_k / C + bias) v.
  near(quadQ, kept, bias, i) {
    const {C, S, E} = this;
    const near = new Float64Array(E);
    const weights = new Float32Array(i + 1);
    for (let j = 0; j <= i; j += 1) {
      const score = dot(quadQ, kept.quadK, S, j * S) / C + bias[j - i + C - 1];
      if (score <= 0) continue;
      const weight = score * score;
      weights[j] = weight;
      for (let e = 0; e < E; e += 1) near[e] += weight * kept.v[j * E + e];
    }
    return {near, weights};
  }

  // All earlier chunks, through their sum: lin_q times the mean over the chunks.
  far(linQ, kept, chunks) {
    const {S, E} = this;
    const far = new Float64Array(E);
    if (chunks === 0) return far;
    for (let s = 0; s < S; s += 1) {
      const q = linQ[s] / chunks;
      for (let e = 0; e < E; e += 1) far[e] += q * kept.sum[s * E + e];
    }
    return far;
  }

  // The chunk is full: add lin_k^T v / C to the sum. Its rows are written over by the next chunk.
  fold(kept) {
    const {C, S, E} = this;
    for (let j = 0; j < C; j += 1) {
      for (let s = 0; s < S; s += 1) {
        const k = kept.linK[j * S + s] / C;
        for (let e = 0; e < E; e += 1) kept.sum[s * E + e] += k * kept.v[j * E + e];
      }
    }
  }
}

// A token drawn from logits: by softmax(logits / temperature), or at temperature 0 the most likely one.
function drawToken(logits, temperature, random = Math.random) {
  const best = logits.indexOf(Math.max(...logits));
  if (temperature === 0) return best;
  const odds = logits.map((number) => Math.exp((number - logits[best]) / temperature));
  let rest = random() * odds.reduce((sum, number) => sum + number, 0);
  for (let id = 0; id < odds.length; id += 1) {
    rest -= odds[id];
    if (rest < 0) return id;
  }
  return best;
}
