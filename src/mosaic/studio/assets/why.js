// Points on references: a click, a pointer at rest, or the arrow keys say which place is meant.
// Server side: why_tab.py. Triggered with {reference, x, y, meant}, x and y in [0, 1]; meant: not just passed over.
let pinned = null, asked = "", timer = null;

function placed(box, x, y) {
  const rows = +box.dataset.rows, columns = +box.dataset.columns;
  const column = Math.min(columns - 1, Math.max(0, Math.floor(x * columns)));
  const row = Math.min(rows - 1, Math.max(0, Math.floor(y * rows)));
  return { row, column, x: (column + 0.5) / columns, y: (row + 0.5) / rows };
}

function mark(box, at) {
  element.querySelectorAll(".point").forEach((other) => other.classList.toggle("on", other === box));
  const dot = box.querySelector(".dot");
  dot.style.left = 100 * at.x + "%";
  dot.style.top = 100 * at.y + "%";
  box.dataset.row = at.row;
  box.dataset.column = at.column;
}

function ask(box, at, meant) {
  mark(box, at);
  const key = [box.dataset.reference, at.row, at.column].join();
  if (key === asked && !meant) return;
  asked = key;
  trigger("click", { reference: +box.dataset.reference, x: at.x, y: at.y, meant });
}

function under(event) {
  const box = event.target.closest ? event.target.closest(".point") : null;
  if (!box) return null;
  const edge = box.getBoundingClientRect();
  return { box, at: placed(box, (event.clientX - edge.left) / edge.width, (event.clientY - edge.top) / edge.height) };
}

element.addEventListener("click", (event) => {
  const found = under(event);
  if (!found) return;
  clearTimeout(timer);
  pinned = found;
  ask(found.box, found.at, true);
});

element.addEventListener("pointermove", (event) => {
  if (event.pointerType === "touch") return;
  const found = under(event);
  clearTimeout(timer);
  if (found) timer = setTimeout(() => ask(found.box, found.at, false), 140);
});

element.addEventListener("pointerleave", () => {
  clearTimeout(timer);
  if (pinned && pinned.box.isConnected) ask(pinned.box, pinned.at, false);
});

element.addEventListener("keydown", (event) => {
  const box = event.target.closest ? event.target.closest(".point") : null;
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Enter: [0, 0], " ": [0, 0] };
  if (!box || !(event.key in steps)) return;
  event.preventDefault();
  const rows = +box.dataset.rows, columns = +box.dataset.columns;
  const row = box.dataset.row === undefined ? Math.floor(rows / 2) : +box.dataset.row + steps[event.key][0];
  const column = box.dataset.column === undefined ? Math.floor(columns / 2) : +box.dataset.column + steps[event.key][1];
  const at = placed(box, (column + 0.5) / columns, (row + 0.5) / rows);
  pinned = { box, at };
  ask(box, at, true);
});

// a new picture: nothing of it has been asked yet
watch("value", () => { asked = ""; pinned = null; });
