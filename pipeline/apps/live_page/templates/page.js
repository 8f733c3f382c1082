// The page: what the visitor does becomes an image, the worker's answer becomes pictures.

import { Asking } from "./asking.js";
import { Dial } from "./dial.js";
import { SIZE, layOut, paint, turn, white } from "./image.js";
import { Pad } from "./pad.js";
import { showCapsules, showCoupling } from "./pictures.js";
import { Sliders } from "./sliders.js";

const SURE = 0.5; // a shorter capsule is no clear answer
const TURN = 3; // degrees between two answers when the digit turns by itself

const get = (id) => document.getElementById(id);
// A percent sign stays with its number.
const together = (text) => text.replaceAll(" %", "\u00a0%");
const words = (id, text) => (get(id).textContent = text);
const grouped = (number) => number.toLocaleString("en-GB");

const { networks, examples } = await (await fetch("page.json")).json();
const asking = new Asking();
const state = { network: networks[0], image: null, answer: null, turning: false };

const pad = new Pad(get("pad"), (strokes) => {
  get("hint").hidden = true;
  chooseExample(null);
  if (strokes.length === 1 && strokes[0].length === 1) startAnew();
  state.image = layOut(strokes);
  look();
});
const dial = new Dial(get("dial"), () => {
  state.turning = false;
  look();
});
const sliders = new Sliders(get("sliders"), (offsets) => asking.ask({ ask: "move", offsets }, showMoved));

// Asks the network what the image is, as it is turned now.
function look() {
  if (!state.image) return;
  const [degrees, name] = [dial.degrees, state.network.name];
  const image = turn(state.image, degrees);
  paint(get("input"), image, SIZE, white);
  asking.ask({ ask: "look", name, image }, (answer) => {
    if (answer.error) return words("sentence", `The network could not be run: ${answer.error}`);
    if (name !== state.network.name || !state.image) return;
    state.answer = answer;
    const sure = answer.lengths[answer.winner] >= SURE;
    dial.mark(degrees, answer.winner, sure);
    words("degrees", `turned by ${degrees}°: ${answer.winner}${sure ? "" : "?"}`);
    show(image, answer);
    if (state.turning) goOn();
  });
}

function show(image, { capsules, lengths, winner, shares, drawn, milliseconds }) {
  const length = lengths[winner];
  const second = lengths.reduce((best, one, label) => (label !== winner && one > lengths[best] ? label : best), winner ? 0 : 1);
  for (const id of ["digit", "short"]) words(id, length < SURE ? `${winner}?` : winner);
  words(
    "sentence",
    length < SURE
      ? `Unsure: no capsule is long. The longest is that of ${winner}.`
      : lengths[second] < SURE
        ? `This is a ${winner}: its capsule has length ${length.toFixed(2)}.`
        : `This is a ${winner}, or perhaps a ${second}: two capsules are long.`,
  );
  lengths.forEach((value, label) => {
    const bar = get("lengths").children[label];
    bar.classList.toggle("best", label === winner);
    bar.style.setProperty("--length", value);
    bar.querySelector(".value").textContent = value.toFixed(2);
  });
  words("time", `Computed in ${Math.max(1, Math.round(milliseconds))} ms on this device.`);
  for (const id of ["under", "seen"]) paint(get(id), image, SIZE, white);
  for (const id of ["redrawn", "moved"]) paint(get(id), drawn, SIZE, white);
  showCapsules(capsules, winner, state.network);
  showCoupling(state.network, shares, winner);
  sliders.show(state.network.sliders[winner], winner, state.network.reach);
  words("moves", "not moved");
  document.body.dataset.answer = winner;
  document.body.classList.remove("empty");
}

function showMoved({ drawn, error }) {
  if (error) return;
  paint(get("moved"), drawn, SIZE, white);
  words("moves", sliders.moved ? "moved" : "not moved");
}

// Forgets what belongs to the last digit.
function startAnew() {
  state.turning = false;
  state.answer = null;
  dial.unmark();
  dial.set(0);
}

function chooseExample(chosen) {
  for (const button of get("examples").children) button.setAttribute("aria-pressed", button === chosen);
}

function take(example, button) {
  startAnew();
  chooseExample(button);
  state.image = Float32Array.from(example.pixels, (value) => value / 255);
  pad.show(state.image, SIZE);
  get("hint").hidden = true;
  look();
}

for (const example of examples) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-label", `Take a ${example.label}`);
  button.setAttribute("aria-pressed", false);
  const canvas = button.appendChild(document.createElement("canvas"));
  paint(canvas, Float32Array.from(example.pixels, (value) => value / 255), SIZE, white);
  button.addEventListener("click", () => take(example, button));
  get("examples").append(button);
}

get("clear").addEventListener("click", () => {
  startAnew();
  pad.clear();
  chooseExample(null);
  state.image = null;
  get("hint").hidden = false;
  words("degrees", "");
  words("sentence", "Draw a digit, or take one of the examples.");
  words("digit", "?");
  words("short", "");
  document.body.classList.add("empty");
  for (const bar of get("lengths").children) {
    bar.classList.remove("best");
    bar.style.setProperty("--length", 0);
    bar.querySelector(".value").textContent = "";
  }
  get("input").getContext("2d").clearRect(0, 0, SIZE, SIZE);
});
get("upright").addEventListener("click", () => dial.turn(0));
get("reset").addEventListener("click", () => sliders.reset());

// Turns the digit once, an answer after the other.
get("round").addEventListener("click", () => {
  if (!state.image || state.turning) return;
  dial.set(0);
  state.turning = true;
  look();
});

function goOn() {
  const next = dial.degrees + TURN;
  if (next >= 360) state.turning = false;
  dial.set(next);
  requestAnimationFrame(look);
}

function chooseNetwork(network) {
  state.network = network;
  const { types, grid } = network.primary;
  const number = grouped(types * grid ** 2);
  words(
    "places",
    grid > 1
      ? `Below the ten capsules are ${number} small ones: ${types} types at each of ${grid} × ${grid} places. Each sees ${network.field.size} × ${network.field.size} pixels of the image.`
      : `Below the ten capsules are ${number} small ones. In this network each sees the whole image.`,
  );
  words(
    "trained",
    network.rotation
      ? `The network learnt from digits turned by at most ${network.rotation}°.`
      : "The network learnt from upright digits only.",
  );
  for (const each of document.querySelectorAll(".dim")) each.textContent = network.class_dim;
  for (const input of get("networks").querySelectorAll("input")) input.checked = input.value === network.name;
  state.turning = false;
  dial.unmark();
  look();
}

networks.forEach((network) => {
  const label = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { type: "radio", name: "network", value: network.name });
  input.addEventListener("change", () => chooseNetwork(network));
  const text = document.createElement("span");
  text.textContent = network.routing;
  const small = document.createElement("small");
  small.textContent = `${grouped(network.parameters)} weights, ${network.accuracy.toFixed(2)} % of test digits`;
  text.append(small);
  label.append(input, text);
  get("networks").append(label);
});
get("networks").hidden = networks.length < 2;

for (let label = 0; label < networks[0].classes; label++) {
  const bar = document.createElement("li");
  for (const part of ["name", "track", "value"]) {
    const span = bar.appendChild(document.createElement("span"));
    span.className = part;
  }
  bar.querySelector(".name").textContent = label;
  get("lengths").append(bar);
}

const facts = networks.map(({ routing, source, parameters, accuracy, test_images, bytes, compared }) => {
  const share = (hits) => `${((100 * hits) / compared.images).toFixed(2)} %`;
  const rounded =
    `For this page its large weights are rounded to 8 bits (${(bytes / 1e6).toFixed(1)} MB). Of the first ` +
    `${grouped(compared.images)} test digits it then recognises ${share(compared.after)}; before, ${share(compared.before)}.`;
  return (
    `${routing} (${source}): ${grouped(parameters)} weights. As published here it recognises ${accuracy.toFixed(2)} % of ` +
    `the ${grouped(test_images)} test digits of MNIST. ${rounded}`
  );
});
facts.push(
  `The ten examples are the first test image of each digit, number ${examples.map(({ place }) => place).join(", ")}, counted from 0. No network here was trained on them.`,
  `A slider moves one number of the winning capsule by ${networks[0].reach} to either side. Its name is the measure of the shape that ` +
    "changes most, compared with how much test images of the digit differ in it, over ten test images.",
  "Everything is computed by this page: a matrix product in WebAssembly and a few hundred lines of JavaScript. It loads " +
    "nothing from other servers and sends nothing.",
);
for (const fact of facts) get("facts").appendChild(document.createElement("li")).textContent = together(fact);

chooseNetwork(networks[0]);
const start = Math.min(2, examples.length - 1);
take(examples[start], get("examples").children[start]);
