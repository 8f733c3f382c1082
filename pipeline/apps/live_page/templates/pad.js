// The pad: strokes of a mouse, pen or finger on a square canvas.

const WIDE = 0.075; // of the pen, as a share of the pad
const SHARP = 560; // pixels of the canvas in each direction

export class Pad {
  // `changed` is called with the strokes while they are drawn, lists of {x, y} from 0 to 1.
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.strokes = [];
    this.pointer = null;
    this.fresh = true; // the next stroke begins a new drawing
    canvas.width = canvas.height = SHARP;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.go(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (this.pointer = null));
  }

  begin(event) {
    if (this.pointer !== null || event.button !== 0) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    if (this.fresh) this.clear();
    this.fresh = false;
    this.pointer = event.pointerId;
    this.strokes.push([this.place(event)]);
    this.draw();
  }

  go(event) {
    if (event.pointerId !== this.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    this.strokes.at(-1).push(...(events.length ? events : [event]).map((each) => this.place(each)));
    this.draw();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  }

  clear() {
    this.strokes = [];
    this.fresh = true;
    this.canvas.getContext("2d").clearRect(0, 0, SHARP, SHARP);
  }

  draw() {
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, SHARP, SHARP);
    pen.strokeStyle = "white";
    pen.lineWidth = WIDE * SHARP;
    pen.lineCap = pen.lineJoin = "round";
    for (const stroke of this.strokes) {
      pen.beginPath();
      pen.moveTo(stroke[0].x * SHARP, stroke[0].y * SHARP);
      for (const { x, y } of stroke) pen.lineTo(x * SHARP, y * SHARP);
      pen.stroke();
    }
    this.changed(this.strokes);
  }

  // Shows an image instead of strokes; the next stroke begins a new drawing.
  show(image, size) {
    this.clear();
    const small = new OffscreenCanvas(size, size);
    const pixels = new ImageData(size, size);
    image.forEach((value, one) => pixels.data.set([255, 255, 255, 255 * value], 4 * one));
    small.getContext("2d").putImageData(pixels, 0, 0);
    const pen = this.canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(small, 0, 0, SHARP, SHARP);
  }
}
