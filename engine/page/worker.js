// Runs the explaining files, so that the page stays awake: a photo and a class in, all outputs out.
import * as ort from "./runtime/ort.js";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = {
  wasm: new URL("./runtime/ort-wasm-simd-threaded.wasm", import.meta.url).href,
};
// Sessions that stay open: each holds the model's weights, and phones have little memory.
const MOST_OPEN = 2;
const sessions = new Map();
let photo = null;

async function bytesOf(file) {
  const answer = await fetch(file);
  if (!answer.ok) throw new Error(`cannot load ${file}: ${answer.status} ${answer.statusText}`);
  return new Uint8Array(await answer.arrayBuffer());
}

async function sessionOf(file) {
  if (!sessions.has(file)) {
    while (sessions.size >= MOST_OPEN) {
      const [oldest, session] = sessions.entries().next().value;
      sessions.delete(oldest);
      await session.release();
    }
    sessions.set(file, await ort.InferenceSession.create(await bytesOf(file)));
  }
  return sessions.get(file);
}

// 16-bit floats come as their bits where a browser has no type for them.
function fromBits(bits) {
  const part = bits & 0x3ff, exponent = (bits >> 10) & 0x1f, sign = bits >> 15 ? -1 : 1;
  if (exponent === 0x1f) return part ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + part / 1024) : 2 ** -14 * (part / 1024));
}

function numbersOf(tensor) {
  const bits = tensor.type === "float16" && tensor.data instanceof Uint16Array;
  return Array.from(tensor.data, bits ? fromBits : Number);
}

function pixelsOf(tensor) {
  const [, height, width] = tensor.dims;
  const rgba = new Uint8ClampedArray(height * width * 4).fill(255);
  for (let from = 0, to = 0; from < tensor.data.length; from += 3, to += 4) {
    rgba.set(tensor.data.subarray(from, from + 3), to);
  }
  return { rgba, height, width };
}

async function explained({ file, input, output, score, delta, mapError, target }) {
  const session = await sessionOf(file);
  const began = performance.now();
  const { rgb, height, width } = photo;
  const found = await session.run({
    [input]: new ort.Tensor("uint8", rgb, [height, width, 3]),
    target: new ort.Tensor("int64", BigInt64Array.of(BigInt(target)), [1]),
  });
  const took = performance.now() - began;
  const first = (name) => (name ? numbersOf(found[name])[0] : null);
  return {
    took,
    scores: numbersOf(found[output]),
    score: first(score),
    delta: first(delta),
    // What the map should sum to: the score less the baseline's.
    gap: delta ? numbersOf(found.attribution).reduce((a, b) => a + b, 0) - first(delta) : null,
    mapError: first(mapError),
    picture: pixelsOf(found.picture),
    view: pixelsOf(found.view),
  };
}

addEventListener("message", async ({ data }) => {
  if (data.photo) {
    photo = data.photo;
    return;
  }
  try {
    postMessage({ found: await explained(data) });
  } catch (error) {
    postMessage({ error: String(error?.message ?? error) });
  }
});
