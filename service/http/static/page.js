// What every page does where scripts run: a form is sent once, a service out of reach is said, what happens is
// read out, a sign-in that ran out of time says so by itself, and the tabs of a browser hear of each other.
// Every text stands in the page, in the person's language.

/** What the page tells this script. */
const told = document.body.dataset;

// What is read out

function announce(text) {
  document.dispatchEvent(new CustomEvent("doorward:announce", { detail: text }));
}

document.addEventListener("doorward:announce", (event) => {
  const live = document.querySelector("[data-live]");
  if (!live) return;
  // A text that stands there already would be no change, and nobody would hear it again.
  live.textContent = "";
  setTimeout(() => { live.textContent = event.detail; }, 50);
});

const notice = document.querySelector("#notice[role=alert]");
if (notice && !document.querySelector("[autofocus]") && document.activeElement === document.body) notice.focus();

// What is missing in a form, without asking the server

/** Says what a field lacks, or that it lacks nothing any more. */
function mark(field, text) {
  const fault = document.getElementById(`${field.id}-fault`);
  fault.textContent = text;
  fault.hidden = !text;
  if (text) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}

function isFilled(form) {
  const empty = [...form.querySelectorAll("input[required][data-missing]")].filter((field) => !field.value);
  for (const field of empty) {
    mark(field, field.dataset.missing);
    field.addEventListener("input", () => mark(field, ""), { once: true });
  }
  empty[0]?.focus();
  return !empty.length;
}

// A form is sent once

/** The forms on their way, each with what makes it ready again. */
const sent = new Map();

function hold(form, button) {
  const parts = button ? [...button.childNodes] : [];
  const text = button?.dataset.busy ?? told.busy;
  const patience = Number(told.patience);
  const timer = patience ? setTimeout(() => { window.stop(); lost(form); }, patience * 1000) : undefined;
  if (button) {
    // Not `disabled`: it would drop the button's own value from what is sent, and the focus with it.
    button.setAttribute("aria-disabled", "true");
    button.setAttribute("aria-busy", "true");
    if (text) button.replaceChildren(text);
  }
  if (text) announce(text);
  sent.set(form, () => {
    clearTimeout(timer);
    button?.removeAttribute("aria-disabled");
    button?.removeAttribute("aria-busy");
    button?.replaceChildren(...parts);
    sent.delete(form);
  });
}

/** The server did not hear a form, or does not answer: what is no secret stays as it was typed. */
function lost(form) {
  sent.get(form)?.();
  const secrets = [...form.querySelectorAll("input[autocomplete$=password]")];
  for (const field of secrets) field.value = "";
  const words = document.querySelector("[data-unreachable]");
  if (words) words.hidden = false;
  secrets[0]?.focus();
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (sent.has(form) || !isFilled(form)) {
    event.preventDefault();
  } else if (!navigator.onLine) {
    event.preventDefault();
    lost(form);
  } else {
    hold(form, event.submitter ?? form.querySelector("button:not([type=button])"));
  }
});

addEventListener("online", () => {
  const words = document.querySelector("[data-unreachable]");
  if (words) words.hidden = true;
});

addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  // A page that comes back as it was left.
  for (const ready of [...sent.values()]) ready();
  for (const field of document.querySelectorAll("input[autocomplete$=password]")) field.value = "";
});

// A sign-in has its minutes: after them the page's own address leads to the beginning

const step = document.querySelector("[data-expires]");
if (step) {
  // A second more: the server's clock decides, and a page that asks too early would only be shown again.
  const end = Date.now() + (Number(step.dataset.expires) + 1) * 1000;
  const look = () => {
    if (Date.now() >= end && !sent.size && navigator.onLine) location.reload();
  };
  setTimeout(look, end - Date.now() + 10);
  for (const when of ["pageshow", "online"]) addEventListener(when, look);
  document.addEventListener("visibilitychange", look);
}

// The tabs of a browser: each says whether somebody is signed in, where it knows

if ("BroadcastChannel" in window) {
  const tabs = new BroadcastChannel("doorward");
  tabs.addEventListener("message", ({ data }) => {
    const words = document.querySelector(data === "in" ? "[data-signed-in-elsewhere]" : "[data-signed-out-elsewhere]");
    if (!words || !words.hidden) return;
    words.hidden = false;
    announce(words.textContent.trim());
  });
  if (told.session) tabs.postMessage(told.session);
}
