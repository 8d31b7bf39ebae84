// A picture of the history is a button; which one was pressed goes to making_tab.py as {entry}.
element.addEventListener("click", (event) => {
  const button = event.target.closest ? event.target.closest("[data-entry]") : null;
  if (button) trigger("click", { entry: button.dataset.entry });
});
