// Password fields: a button that shows what was typed, and a word when Caps Lock is on.

function announce(text) {
  document.dispatchEvent(new CustomEvent("doorward:announce", { detail: text }));
}

for (const button of document.querySelectorAll("button[data-shows]")) {
  const field = document.getElementById(button.dataset.shows);
  const words = { text: button.textContent, label: button.getAttribute("aria-label") };
  const show = (shown) => {
    field.type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", String(shown));
    button.textContent = shown ? button.dataset.hide : words.text;
    button.setAttribute("aria-label", shown ? button.dataset.hideLabel : words.label);
  };
  button.hidden = false;
  button.addEventListener("click", () => show(field.type === "password"));
  // Browsers keep what is sent as text, and offer it to whoever types here next.
  field.form.addEventListener("submit", () => show(false));
  addEventListener("pagehide", () => show(false));
}

for (const hint of document.querySelectorAll("[data-caps]")) {
  const field = document.getElementById(hint.dataset.caps);
  const say = (on) => {
    if (on !== hint.hidden) return;
    hint.hidden = !on;
    const others = (field.getAttribute("aria-describedby") ?? "").split(" ").filter((id) => id && id !== hint.id);
    // Even a hidden text counts as the description of a field that names it.
    field.setAttribute("aria-describedby", [...others, ...(on ? [hint.id] : [])].join(" "));
    if (on) announce(hint.textContent.trim());
  };
  // What fills a field in by itself sends key events that know nothing of keys.
  const look = (event) => { if (event.getModifierState) say(event.getModifierState("CapsLock")); };
  field.addEventListener("keydown", look);
  field.addEventListener("keyup", look);
  // It stays when the field is left: to go then would move the button away from under a click.
}
