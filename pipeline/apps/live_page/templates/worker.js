// The worker: it loads networks and runs them, so that the page never waits.
//
// A message is {id, ask, ...}; its answer is {id, ...} or {id, error}. `look` recognises an image, `move` redraws the
// last one with the winning capsule moved.

import { openNetwork } from "./network.js";

const networks = new Map(); // the promise of each network by its name
let kernel;
let last; // the network and what it made of the last image

async function read(address, as) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: ${response.status} ${response.statusText}`);
  return response[as]();
}

function network(name) {
  if (!networks.has(name)) networks.set(name, load(name));
  return networks.get(name);
}

async function load(name) {
  kernel ??= read("kernel.wasm", "arrayBuffer").then((bytes) => WebAssembly.compile(bytes));
  const program = read(`networks/${name}.json`, "json");
  const weights = read(`networks/${name}.bin`, "arrayBuffer");
  const opened = await openNetwork(await program, await weights, await kernel);
  answer(opened, new Float32Array(opened.program.size ** 2)); // the browser compiles while it runs for the first time
  return opened;
}

function answer(opened, image) {
  const start = performance.now();
  const seen = opened.recognise(image);
  const drawn = opened.decode(seen.capsules, seen.winner);
  return { ...seen, drawn, milliseconds: performance.now() - start };
}

const ANSWERS = {
  async look({ name, image }) {
    const opened = await network(name);
    const seen = answer(opened, image);
    last = { opened, seen };
    return seen;
  },

  async move({ offsets }) {
    return { drawn: last.opened.decode(last.seen.capsules, last.seen.winner, offsets) };
  },
};

addEventListener("message", async ({ data }) => {
  try {
    postMessage({ id: data.id, ...(await ANSWERS[data.ask](data)) });
  } catch (error) {
    postMessage({ id: data.id, error: error.message });
  }
});
