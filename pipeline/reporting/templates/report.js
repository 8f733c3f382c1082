// Sorts a table by the column whose header is pressed: ascending, descending, and back to the order of the page.
// Opens a picture on the whole screen when it is pressed. Without this script, a picture is a link to its file.
"use strict";

const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

// The value by which a cell is sorted: "1,411,344" and "96.81 ± 0.64" by their first number, which may have a minus sign.
function value(cell, numeric) {
  const text = cell.textContent.trim();
  return numeric ? parseFloat(text.replaceAll(",", "").replace("−", "-")) : text;
}

function compare(one, other) {
  return typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true });
}

function sort(rows, column, numeric, order) {
  if (order === "none") return rows;
  const filled = (row) => !["", "not run"].includes(row.cells[column].textContent.trim());
  const sign = order === "ascending" ? 1 : -1;
  const known = rows.filter(filled);
  known.sort((a, b) => sign * compare(value(a.cells[column], numeric), value(b.cells[column], numeric)));
  return [...known, ...rows.filter((row) => !filled(row))]; // empty cells are last in either order
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  for (const [column, header] of headers.entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const order = NEXT[header.getAttribute("aria-sort") ?? "none"];
      for (const each of headers) each.removeAttribute("aria-sort");
      if (order !== "none") header.setAttribute("aria-sort", order);
      body.append(...sort(rows, column, header.classList.contains("number"), order));
    });
  }
}

const view = document.createElement("dialog");
const close = document.createElement("button");
view.className = "view";
close.type = "button";
close.textContent = "Close";
view.append(close);
view.addEventListener("click", () => view.close());
document.body.append(view);

for (const plate of document.querySelectorAll(".plate")) {
  plate.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab or window is meant
    event.preventDefault();
    const image = plate.querySelector("img");
    const enlarged = image.cloneNode();
    // On a wide screen as large as it fits, on a narrow one in its own size, to be moved under the finger.
    const fitting = Math.min(innerWidth, (innerHeight * image.naturalWidth) / image.naturalHeight, image.naturalWidth);
    enlarged.width = Math.max(fitting, image.getAttribute("width"));
    view.replaceChildren(enlarged, close);
    view.showModal();
    view.scrollTo(0, 0);
  });
}
