// A capsule network: what a step of its program does, and how an image goes through all of them.
//
// The layout of every array: an image is rows, columns, channels; capsules are number, coordinate. Matrix products run
// in kernel.wasm; what is left is little.

const PAGE = 65536; // bytes of WebAssembly's memory
const PANEL = 8; // columns, and 4 rows at a time: what the kernel multiplies
const ROWS = 4;
const TINY = 1.1754944e-38; // the smallest normal float32

export async function openNetwork(program, weights, kernel) {
  const network = new Network(program, weights);
  const imports = { page: { memory: network.memory } };
  network.kernel = (await WebAssembly.instantiate(kernel, imports)).exports.multiply;
  return network;
}

class Network {
  constructor(program, weights) {
    this.program = program;
    this.file = weights;
    this.memory = new WebAssembly.Memory({ initial: 1 });
    this.end = 0; // of the matrices; what a product needs for the moment lies behind it
    const steps = [...program.encode, program.route, ...program.decode];
    for (const step of steps) {
      for (const name of ["weights", "bias", "factor", "shift", "prior"]) {
        if (!step[name]) continue;
        const values = this.read(step[name]);
        const product = name === "weights" && ["convolve", "spread", "connect"].includes(step.does);
        step[name] = product ? this.keep(values, step[name].shape) : values;
      }
    }
    this.file = null;
  }

  // Returns the numbers of an array of the file; whole numbers are multiplied by the scale of their column.
  read({ shape, numbers, scales }) {
    const length = shape.reduce((product, size) => product * size, 1);
    if (scales === undefined) return new Float32Array(this.file, numbers, length);
    const [levels, columns] = [new Int8Array(this.file, numbers, length), shape[1]];
    const steps = new Float32Array(this.file, scales, columns);
    const values = new Float32Array(length);
    for (let start = 0; start < length; start += columns) {
      for (let column = 0; column < columns; column++) values[start + column] = levels[start + column] * steps[column];
    }
    return values;
  }

  // Puts a matrix into the memory of the kernel, in panels.
  keep(values, [inner, columns]) {
    const panels = Math.ceil(columns / PANEL);
    const address = this.end;
    this.end += 4 * panels * inner * PANEL;
    const kept = this.space(address, panels * inner * PANEL);
    for (let row = 0; row < inner; row++) {
      for (let column = 0; column < columns; column++) {
        const panel = (column / PANEL) | 0;
        kept[(panel * inner + row) * PANEL + (column % PANEL)] = values[row * columns + column];
      }
    }
    return { address, inner, columns, panels };
  }

  // Returns `length` numbers of the memory, which grows if it has to.
  space(address, length) {
    const missing = address + 4 * length - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
    return new Float32Array(this.memory.buffer, address, length);
  }

  // Multiplies the rows that `fill` writes by a matrix and adds a bias to each row.
  multiply(rows, matrix, bias, fill) {
    const { inner, columns, panels } = matrix;
    const padded = ROWS * Math.ceil(rows / ROWS);
    const width = panels * PANEL;
    const result = this.end + 4 * padded * inner;
    this.space(result, padded * width);
    fill(this.space(this.end, rows * inner));
    this.kernel(this.end, matrix.address, result, padded, inner, panels);
    const products = this.space(result, rows * width);
    const sums = new Float32Array(rows * columns);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        sums[row * columns + column] = products[row * width + column] + (bias ? bias[column] : 0);
      }
    }
    return sums;
  }

  run(steps, values, size, channels) {
    let state = { values, size, channels };
    for (const step of steps) state = DOES[step.does](this, state, step);
    return state;
  }

  // Recognises an image: the class capsules, their lengths, the winner, and how the primary capsules are coupled to it.
  recognise(image) {
    const { encode, route, size, channels } = this.program;
    const primary = this.run(encode, Float32Array.from(image), size, channels);
    const { capsules, coupling } = DOES[route.does](this, primary, route);
    const dim = capsules.length / route.classes;
    const lengths = Array.from({ length: route.classes }, (_, one) => norm(capsules.subarray(one * dim, one * dim + dim)));
    const winner = lengths.indexOf(Math.max(...lengths));
    const number = coupling.length / route.classes;
    const shares = Float32Array.from({ length: number }, (_, one) => coupling[one * route.classes + winner]);
    return { capsules, lengths, winner, shares };
  }

  // Draws the image that the capsule of one class stands for, after `offsets` have been added to it.
  decode(capsules, winner, offsets) {
    const { decode, route } = this.program;
    const dim = capsules.length / route.classes;
    const masked = new Float32Array(capsules.length);
    for (let d = 0; d < dim; d++) masked[winner * dim + d] = capsules[winner * dim + d] + (offsets ? offsets[d] : 0);
    return this.run(decode, masked, 1, masked.length).values;
  }
}

const norm = (vector) => Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));

// Shrinks each vector of `dim` numbers to a length below 1: `factor` says by how much, from its squared length.
function shrink(values, dim, factor) {
  for (let start = 0; start < values.length; start += dim) {
    let square = 0;
    for (let d = 0; d < dim; d++) square += values[start + d] ** 2;
    const by = factor(square);
    for (let d = 0; d < dim; d++) values[start + d] *= by;
  }
  return values;
}

const squash = (square) => Math.sqrt(square + TINY) / (1 + square);
const exponentialSquash = (square) => -Math.expm1(-Math.sqrt(square + TINY)) / Math.sqrt(square + TINY);

function softmax(logits, coupling, classes) {
  for (let start = 0; start < logits.length; start += classes) {
    let most = -Infinity;
    for (let j = 0; j < classes; j++) most = Math.max(most, logits[start + j]);
    let sum = 0;
    for (let j = 0; j < classes; j++) sum += coupling[start + j] = Math.exp(logits[start + j] - most);
    for (let j = 0; j < classes; j++) coupling[start + j] /= sum;
  }
}

// The vote of every primary capsule for every class: capsule, class, coordinate.
function castVotes({ values, number, dim }, weights, width) {
  const votes = new Float32Array(number * width);
  for (let row = 0; row < number * dim; row++) {
    const [start, from, value] = [((row / dim) | 0) * width, row * width, values[row]];
    for (let column = 0; column < width; column++) votes[start + column] += value * weights[from + column];
  }
  return votes;
}

// The sum of all votes for each class, each multiplied by its share.
function gather(votes, shares, classes, dim) {
  const sums = new Float32Array(classes * dim);
  for (let one = 0; one < shares.length; one++) {
    const [share, from, to] = [shares[one], one * dim, (one % classes) * dim];
    for (let d = 0; d < dim; d++) sums[to + d] += share * votes[from + d];
  }
  return sums;
}

// Adds to each logit how well a vote agrees with the vector of its class.
function agree(votes, vectors, logits, classes, dim, factor) {
  for (let one = 0; one < logits.length; one++) {
    const [from, to] = [one * dim, (one % classes) * dim];
    let sum = 0;
    for (let d = 0; d < dim; d++) sum += votes[from + d] * vectors[to + d];
    logits[one] += sum * factor;
  }
}

const DOES = {
  standardise(network, state) {
    const { values } = state;
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
    const deviation = Math.sqrt(Math.max(variance, 1 / (255 ** 2 * values.length)));
    return { ...state, values: values.map((value) => (value - mean) / deviation) };
  },

  convolve(network, { values, size, channels }, { kernel, stride, weights, bias }) {
    const side = Math.floor((size - kernel) / stride) + 1;
    const run = kernel * channels; // numbers that lie side by side in a row of a patch
    const sums = network.multiply(side * side, weights, bias, (patches) => {
      let to = 0;
      for (let y = 0; y < side; y++) {
        for (let x = 0; x < side; x++) {
          for (let row = 0; row < kernel; row++, to += run) {
            const from = ((y * stride + row) * size + x * stride) * channels;
            patches.set(values.subarray(from, from + run), to);
          }
        }
      }
    });
    return { values: sums, size: side, channels: weights.columns };
  },

  // A transposed convolution: every pixel adds its kernel to the larger image.
  spread(network, { values, size }, { kernel, stride, weights, bias }) {
    const outputs = bias.length;
    const side = (size - 1) * stride + kernel;
    const sums = network.multiply(size * size, weights, null, (pixels) => pixels.set(values));
    const image = new Float32Array(side * side * outputs);
    for (let pixel = 0; pixel < side * side; pixel++) image.set(bias, pixel * outputs);
    const run = kernel * outputs;
    for (let y = 0, from = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        for (let row = 0; row < kernel; row++) {
          const to = ((y * stride + row) * side + x * stride) * outputs;
          for (let one = 0; one < run; one++, from++) image[to + one] += sums[from];
        }
      }
    }
    return { values: image, size: side, channels: outputs };
  },

  connect(network, { values }, { weights, bias }) {
    const sums = network.multiply(1, weights, bias, (row) => row.set(values));
    return { values: sums, size: 1, channels: sums.length };
  },

  scale(network, state, { factor, shift }) {
    const { values, channels } = state;
    for (let start = 0; start < values.length; start += channels) {
      for (let one = 0; one < channels; one++) values[start + one] = values[start + one] * factor[one] + shift[one];
    }
    return state;
  },

  rectify(network, state, { slope }) {
    const { values } = state;
    for (let one = 0; one < values.length; one++) if (values[one] < 0) values[one] *= slope;
    return state;
  },

  squeeze(network, state) {
    return { ...state, values: state.values.map((value) => 1 / (1 + Math.exp(-value))) };
  },

  // Turns channels, rows, columns into rows, columns, channels.
  unflatten(network, { values }, { channels, size }) {
    const image = new Float32Array(values.length);
    for (let one = 0; one < values.length; one++) {
      image[(one % (size * size)) * channels + Math.floor(one / (size * size))] = values[one];
    }
    return { values: image, size, channels };
  },

  // Groups the channels of each place into capsules, which are counted by type, row, column.
  capsules(network, { values, size, channels }, { dim }) {
    const [places, types] = [size * size, channels / dim];
    const grouped = new Float32Array(values.length);
    for (let type = 0; type < types; type++) {
      for (let place = 0; place < places; place++) {
        const from = place * channels + type * dim;
        grouped.set(values.subarray(from, from + dim), (type * places + place) * dim);
      }
    }
    return { values: shrink(grouped, dim, squash), number: types * places, dim };
  },

  // Sums each channel over the image, with a weight for each pixel.
  summarise(network, { values, channels }, { dim, weights, bias }) {
    const sums = Float32Array.from(bias);
    for (let one = 0; one < values.length; one++) sums[one % channels] += values[one] * weights[one];
    return { values: shrink(sums, dim, exponentialSquash), number: channels / dim, dim };
  },

  route_by_agreement(network, primary, { iterations, classes, weights, bias }) {
    const width = weights.length / primary.values.length;
    const dim = width / classes;
    const votes = castVotes(primary, weights, width);
    const logits = new Float32Array(primary.number * classes);
    const coupling = new Float32Array(logits.length);
    for (let iteration = 1; ; iteration++) {
      softmax(logits, coupling, classes);
      const sums = gather(votes, coupling, classes, dim);
      if (bias) for (let one = 0; one < sums.length; one++) sums[one] += bias[one];
      const capsules = shrink(sums, dim, squash);
      if (iteration === iterations) return { capsules, coupling };
      agree(votes, capsules, logits, classes, dim, 1);
    }
  },

  route_by_attention(network, primary, { classes, weights, prior }) {
    const width = weights.length / primary.values.length;
    const dim = width / classes;
    const votes = castVotes(primary, weights, width);
    const logits = new Float32Array(primary.number * classes);
    const coupling = new Float32Array(logits.length);
    const all = gather(votes, new Float32Array(logits.length).fill(1), classes, dim);
    agree(votes, all, logits, classes, dim, 1 / Math.sqrt(dim));
    softmax(logits, coupling, classes);
    const capsules = shrink(gather(votes, coupling.map((share, one) => share + prior[one]), classes, dim), dim, exponentialSquash);
    return { capsules, coupling };
  },
};
