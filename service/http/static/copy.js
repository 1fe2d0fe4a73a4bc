// Copies the text of one element: <button data-copy="#selector">. A list is copied line by line; with
// `data-copy-joined` the blanks of a key in groups go. `data-copied` and `data-failed` are what is said of it,
// in the nearest [data-told], or else by the page's own live region.

const textOf = (button, target) => {
  const lines = target.matches("ol, ul") ? [...target.children] : [target];
  const text = lines.map((line) => line.textContent.trim()).join("\n");
  return button.hasAttribute("data-copy-joined") ? text.replace(/\s+/g, "") : text;
};

const say = (button, text) => {
  const place = button.closest("dialog, section, form, main")?.querySelector("[data-told]");
  if (!place) {
    document.dispatchEvent(new CustomEvent("doorward:announce", { detail: text }));
    return;
  }
  // Emptied first: the same words once more are news only then.
  place.textContent = "";
  requestAnimationFrame(() => (place.textContent = text));
};

const copy = async (button) => {
  const target = document.querySelector(button.dataset.copy);
  if (!target) return;
  try {
    await navigator.clipboard.writeText(textOf(button, target));
    say(button, button.dataset.copied);
    button.dispatchEvent(new CustomEvent("doorward:copied", { bubbles: true }));
  } catch {
    // Refused, or not there (a page that is not secure): the person copies it by hand.
    getSelection().selectAllChildren(target);
    say(button, button.dataset.failed);
  }
};

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}
