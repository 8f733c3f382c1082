"""A pad to draw on with mouse, pen or finger. It sends the drawing once, when the pen lifts."""

SIDE = 280  # pixels
PEN = 18

HTML = f"""
<div class="pad"><canvas width="{SIDE}" height="{SIDE}" aria-label="Draw a digit here"></canvas>
<button type="button">Clear</button></div>
"""

# `element` and `trigger` are gradio's. The white ground is part of the picture that is sent.
SCRIPT = f"""
const canvas = element.querySelector('canvas'), pen = canvas.getContext('2d');
const clear = () => {{ pen.fillStyle = 'white'; pen.fillRect(0, 0, {SIDE}, {SIDE}); }};
const place = event => {{
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * {SIDE} / box.width, (event.clientY - box.top) * {SIDE} / box.height];
}};
let down = false;
clear();
canvas.addEventListener('pointerdown', event => {{
  down = true;
  canvas.setPointerCapture(event.pointerId);
  pen.lineWidth = {PEN}; pen.lineCap = pen.lineJoin = 'round'; pen.strokeStyle = 'black';
  pen.beginPath(); pen.moveTo(...place(event)); pen.lineTo(...place(event)); pen.stroke();
}});
canvas.addEventListener('pointermove', event => {{
  if (down) {{ pen.lineTo(...place(event)); pen.stroke(); }}
}});
const lift = () => {{
  if (down) {{ down = false; trigger('input', {{picture: canvas.toDataURL()}}); }}
}};
canvas.addEventListener('pointerup', lift);
canvas.addEventListener('pointercancel', lift);
element.querySelector('button').addEventListener('click', () => {{ clear(); trigger('clear'); }});
"""
