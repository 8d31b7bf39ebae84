// gradio opens a menu again when Tab leaves it: it takes every key but Escape for a wish to choose
addEventListener("keydown", (event) => {
  if (event.key === "Tab" && event.target.matches("[role=combobox]")) event.stopImmediatePropagation();
}, true);
