// The sliders of the winning capsule, named by what they do to the shape.

const STEP = 0.01;

export class Sliders {
  // `changed` is called with the offsets of all numbers of the capsule.
  constructor(box, changed) {
    this.box = box;
    this.changed = changed;
    this.winner = null;
    this.shown = null;
  }

  // Shows the sliders of a class, none of them moved.
  show(sliders, winner, reach) {
    if (this.shown !== sliders) this.box.replaceChildren(...sliders.map((slider) => this.row(slider, reach)));
    [this.shown, this.winner] = [sliders, winner];
    for (const input of this.inputs) this.set(input, 0);
  }

  row({ dimension, name, low, high, change, unit }, reach) {
    const row = document.createElement("label");
    row.className = name ? "slider" : "slider weak";
    const size = Math.abs(change).toFixed(Math.abs(change) < 10 ? 1 : 0);
    row.innerHTML = `
      <span class="name"></span><span class="effect"></span>
      <input type="range" min="${-reach}" max="${reach}" step="${STEP}" value="0">
      <span class="low"></span><span class="high"></span>`;
    const fill = (part, text) => (row.querySelector(`.${part}`).textContent = text);
    fill("name", name || "little effect");
    fill("effect", name ? `${size}${unit === "°" ? "°" : ` ${unit}`} from end to end` : "");
    fill("low", low ? `← ${low}` : "");
    fill("high", high ? `${high} →` : "");
    const input = row.querySelector("input");
    input.dataset.dimension = dimension;
    Object.assign(input.dataset, { low, high });
    input.addEventListener("input", () => {
      this.set(input, Number(input.value));
      this.changed(this.offsets);
    });
    return row;
  }

  set(input, value) {
    input.value = value;
    const { low, high } = input.dataset;
    const word = value && low ? `: ${value < 0 ? low : high}` : "";
    input.setAttribute("aria-valuetext", `moved by ${value.toFixed(2)}${word}`);
    input.closest("label").classList.toggle("moved", value !== 0);
  }

  reset() {
    for (const input of this.inputs) this.set(input, 0);
    if (this.shown) this.changed(this.offsets);
  }

  get inputs() {
    return [...this.box.querySelectorAll("input")];
  }

  get moved() {
    return this.inputs.some((input) => Number(input.value) !== 0);
  }

  get offsets() {
    const offsets = new Float32Array(this.inputs.length);
    for (const input of this.inputs) offsets[input.dataset.dimension] = Number(input.value);
    return offsets;
  }
}
