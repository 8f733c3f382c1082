// The dial: a round slider from 0 to 359 degrees, counter-clockwise as in the figures. Its ring keeps the answers.

const SVG = "http://www.w3.org/2000/svg";
const STEP = 5; // degrees: of the keyboard, and of a part of the ring
const RADIUS = 44; // of 50
const LABELLED = 2; // parts of the ring: a shorter stretch has no label
const KEYS = { ArrowLeft: STEP, ArrowUp: STEP, ArrowRight: -STEP, ArrowDown: -STEP, PageUp: 45, PageDown: -45 };

const whole = (degrees) => ((Math.round(degrees) % 360) + 360) % 360;

// Returns a point of the ring; 0 is at the top, and degrees grow counter-clockwise.
function at(degrees, radius) {
  const angle = (degrees * Math.PI) / 180;
  return `${(50 - radius * Math.sin(angle)).toFixed(3)} ${(50 - radius * Math.cos(angle)).toFixed(3)}`;
}

function element(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return parent.appendChild(made);
}

export class Dial {
  // `turned` is called with the degrees when the visitor turns the dial.
  constructor(box, turned) {
    this.box = box;
    this.turned = turned;
    this.degrees = 0;
    const svg = box.querySelector("svg");
    element("circle", { cx: 50, cy: 50, r: RADIUS, class: "track" }, svg);
    this.parts = Array.from({ length: 360 / STEP }, (_, one) => {
      const [from, to] = [one * STEP - STEP / 2, one * STEP + STEP / 2];
      const path = `M ${at(from, RADIUS)} A ${RADIUS} ${RADIUS} 0 0 0 ${at(to, RADIUS)}`;
      return element("path", { d: path, class: "part" }, svg);
    });
    this.labels = element("g", {}, svg);
    this.knob = element("circle", { r: 5.5, class: "knob" }, svg);
    box.addEventListener("pointerdown", (event) => this.grasp(event));
    box.addEventListener("pointermove", (event) => box.hasPointerCapture(event.pointerId) && this.follow(event));
    box.addEventListener("keydown", (event) => this.press(event));
    this.set(0);
  }

  grasp(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.box.focus({ preventScroll: true });
    this.box.setPointerCapture(event.pointerId);
    const box = this.box.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    this.held = Math.hypot(x, y) < 0.3 * box.width ? this.angle(event) - this.degrees : 0;
    this.follow(event);
  }

  // The knob goes to the pointer; in the middle, the picture turns with it.
  follow(event) {
    this.turn(this.angle(event) - this.held);
  }

  angle(event) {
    const box = this.box.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    return (Math.atan2(-x, -y) * 180) / Math.PI;
  }

  press(event) {
    const to = event.key === "Home" ? 0 : event.key === "End" ? 180 : this.degrees + (KEYS[event.key] ?? NaN);
    if (Number.isNaN(to)) return;
    event.preventDefault();
    this.turn(to);
  }

  turn(degrees) {
    this.set(degrees);
    this.turned(this.degrees);
  }

  set(degrees) {
    this.degrees = whole(degrees);
    const [x, y] = at(this.degrees, RADIUS).split(" ");
    this.knob.setAttribute("cx", x);
    this.knob.setAttribute("cy", y);
    this.box.setAttribute("aria-valuenow", this.degrees);
    this.box.setAttribute("aria-valuetext", `${this.degrees} degrees counter-clockwise`);
  }

  // Colours the part of the ring at `degrees` with an answer.
  mark(degrees, answer, sure) {
    const part = this.parts[Math.round(degrees / STEP) % this.parts.length];
    part.dataset.answer = answer;
    part.classList.toggle("unsure", !sure);
    this.label();
  }

  // Writes each answer beside its stretch of the ring, if that is long enough.
  label() {
    this.labels.replaceChildren();
    const answers = this.parts.map((part) => part.dataset.answer);
    const number = answers.length;
    const start = answers.findIndex((answer, one) => answer !== answers.at(one - 1));
    for (let one = Math.max(start, 0), end = one + number; one < end; ) {
      let next = one + 1;
      while (next < end && answers[next % number] === answers[one % number]) next++;
      if (answers[one % number] !== undefined && next - one >= LABELLED) {
        const [x, y] = at(((one + next - 1) / 2) * STEP, RADIUS + 7.5).split(" ");
        element("text", { x, y }, this.labels).textContent = answers[one % number];
      }
      one = next;
    }
  }

  unmark() {
    for (const part of this.parts) delete part.dataset.answer;
    this.labels.replaceChildren();
  }
}
