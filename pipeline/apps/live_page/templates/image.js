// Images of SIZE x SIZE numbers from 0 to 1: how strokes become one, and how it is turned.

export const SIZE = 28;
const BOX = 20; // pixels of a digit's longer side, as in the data
const PEN = 2.6; // pixels
const CENTRE = 14; // the pixel that holds the digit's centre of mass, as in the data
const FINE = 4; // finer pixels in each direction, which are averaged

// Lays out strokes, lists of {x, y} in any unit, as the data lays out its digits. Returns null without strokes.
export function layOut(strokes) {
  const points = strokes.flat();
  if (!points.length) return null;
  const [xs, ys] = [points.map((point) => point.x), points.map((point) => point.y)];
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const [width, height] = [Math.max(...xs) - left, Math.max(...ys) - top];
  const scale = (BOX - PEN) / Math.max(width, height, 1e-6);
  const side = SIZE * FINE;
  const canvas = new OffscreenCanvas(side, side);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const place = ({ x, y }) => [
    FINE * (CENTRE + (x - left - width / 2) * scale),
    FINE * (CENTRE + (y - top - height / 2) * scale),
  ];
  pen.lineWidth = PEN * FINE;
  pen.lineCap = pen.lineJoin = "round";
  for (const stroke of strokes) {
    pen.beginPath();
    pen.moveTo(...place(stroke[0]));
    for (const point of stroke) pen.lineTo(...place(point));
    pen.stroke();
  }
  const { data } = pen.getImageData(0, 0, side, side);
  const ink = Float32Array.from({ length: side * side }, (_, one) => data[4 * one + 3] / 255);
  return reduced(ink, side);
}

// Averages the finer pixels after moving their centre of mass to where it is in the data.
function reduced(ink, side) {
  const [right, down] = [(one) => one % side, (one) => Math.floor(one / side)].map((coordinate) => {
    let [sum, moment, first, last] = [0, 0, side, 0];
    for (let one = 0; one < ink.length; one++) {
      if (!ink[one]) continue;
      const place = coordinate(one);
      sum += ink[one];
      moment += ink[one] * place;
      [first, last] = [Math.min(first, place), Math.max(last, place)];
    }
    const middle = FINE * (CENTRE + 0.5) - 0.5;
    return Math.min(Math.max(Math.round(middle - moment / sum), -first), side - 1 - last); // all of it stays inside
  });
  const image = new Float32Array(SIZE * SIZE);
  for (let one = 0; one < ink.length; one++) {
    const [x, y] = [(one % side) + right, Math.floor(one / side) + down];
    if (x < 0 || y < 0 || x >= side || y >= side) continue;
    image[Math.floor(y / FINE) * SIZE + Math.floor(x / FINE)] += ink[one] / FINE ** 2;
  }
  return image;
}

// Turns an image counter-clockwise about its centre, with bilinear interpolation, to whole grey levels of 255.
export function turn(image, degrees) {
  const angle = (degrees * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const middle = (SIZE - 1) / 2;
  const at = (x, y) => (x < 0 || y < 0 || x >= SIZE || y >= SIZE ? 0 : image[y * SIZE + x]);
  return Float32Array.from({ length: SIZE * SIZE }, (_, one) => {
    const [x, y] = [(one % SIZE) - middle, Math.floor(one / SIZE) - middle];
    const [fromX, fromY] = [cos * x - sin * y + middle, sin * x + cos * y + middle];
    const [left, top] = [Math.floor(fromX), Math.floor(fromY)];
    const [a, b] = [fromX - left, fromY - top];
    const value =
      (1 - b) * ((1 - a) * at(left, top) + a * at(left + 1, top)) +
      b * ((1 - a) * at(left, top + 1) + a * at(left + 1, top + 1));
    return Math.round(255 * value) / 255;
  });
}

// Draws an image of one number a pixel on a canvas of its own size; `colour` gives red, green, blue and opacity.
export function paint(canvas, image, width, colour) {
  const height = image.length / width;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const pixels = new ImageData(width, height);
  image.forEach((value, one) => pixels.data.set(colour(value), 4 * one));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

export const white = (value) => [255, 255, 255, 255 * value];
