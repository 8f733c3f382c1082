// Pictures of what the network computed: its class capsules, and how the primary capsules are coupled to the winner.

import { SIZE, paint } from "./image.js";

const ORANGE = [240, 140, 0];
const BLUE = [40, 120, 200];
const ACROSS = 8; // types side by side
const ALONE = 7; // pixels a side of a type with a single place
const SVG = "http://www.w3.org/2000/svg";
const get = (id) => document.getElementById(id);

// The numbers of all class capsules, a row each; `winner` gets a frame.
export function showCapsules(capsules, winner, { classes, class_dim }) {
  const most = Math.max(...capsules.map(Math.abs));
  const canvas = get("capsules");
  paint(canvas, capsules, class_dim, (value) => [...(value > 0 ? ORANGE : BLUE), 255 * (Math.abs(value) / most) ** 0.7]);
  canvas.parentElement.style.setProperty("--row", winner);
  canvas.parentElement.style.setProperty("--rows", classes);
}

export function showCoupling(network, shares, winner) {
  const { types, grid } = network.primary;
  const places = grid ** 2;
  const means = Array.from({ length: places }, (_, place) => {
    let sum = 0;
    for (let type = 0; type < types; type++) sum += shares[type * places + place];
    return sum / types;
  });
  const svg = get("coupling");
  svg.setAttribute("viewBox", `0 0 ${SIZE} ${SIZE}`);
  svg.replaceChildren();
  if (grid > 1) {
    const [low, high] = [Math.min(...means), Math.max(...means)];
    const { first, step } = network.field;
    const start = first + (1 - step) / 2;
    means.forEach((mean, place) => {
      const square = document.createElementNS(SVG, "rect");
      const values = { x: start + step * (place % grid), y: start + step * Math.floor(place / grid), width: step, height: step };
      for (const [name, value] of Object.entries(values)) square.setAttribute(name, value);
      square.setAttribute("fill-opacity", (0.85 * (mean - low)) / (high - low || 1));
      svg.append(square);
    });
  }
  const [low, high] = [Math.min(...shares), Math.max(...shares)];
  const times = (share) => `${(share / network.even).toFixed(2)}×`;
  get("overlay-words").textContent =
    grid > 1
      ? `Coupling to the ${winner}, averaged over the ${types} types at each place, from ${times(Math.min(...means))} ` +
        `(clear) to ${times(Math.max(...means))} (orange) of an even share. Each square is the middle of what a capsule sees.`
      : "What all small capsules see. None of them has a place of its own, so there is nothing to draw over the image.";
  get("types-words").textContent =
    `${grid > 1 ? `Each type alone, on the same ${grid} × ${grid} places` : `Each of the ${types} small capsules`}: ` +
    `from ${times(low)} to ${times(high)}. What has an even share or less is faint.`;
  tile(shares, types, grid, (share) => Math.sqrt(Math.max(0, share - network.even) / (high - network.even || 1)));
}

// Draws the map of each type, with a gap between two.
function tile(shares, types, grid, strength) {
  const across = Math.min(grid > 1 ? ACROSS : ACROSS / 2, types);
  const side = grid > 1 ? grid : ALONE;
  const [width, height] = [across * (side + 1) - 1, Math.ceil(types / across) * (side + 1) - 1];
  const picture = new Float32Array(width * height).fill(-1);
  for (let one = 0; one < types * side ** 2; one++) {
    const [type, place] = [Math.floor(one / side ** 2), one % side ** 2];
    const x = (type % across) * (side + 1) + (place % side);
    const y = Math.floor(type / across) * (side + 1) + Math.floor(place / side);
    picture[y * width + x] = strength(shares[grid > 1 ? one : type]);
  }
  paint(get("types"), picture, width, (value) => (value < 0 ? [0, 0, 0, 0] : [...ORANGE, 255 * (0.1 + 0.9 * value)]));
}
