// How hard a new password is to guess, while it is typed: a hint, which the server's rules do not depend on.
// Nothing is fetched and nothing is kept. All words stand in the page.

// What most people type along: rows of keyboards, the alphabet, the digits.
const ROWS = ["abcdefghijklmnopqrstuvwxyz", "0123456789", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "yxcvbnm"];
const CLASSES = [/[a-z]/, /[A-Z]/, /[0-9]/, /[\x20-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e]/, /[^\x00-\x7f]/u];
const SIZES = [26, 26, 10, 33, 100];

function together(before, after) {
  if (before === after) return true;
  return ROWS.some((row) => row.includes(before + after) || row.includes(after + before));
}

// Bits of a guesser who knows of repeats and rows: what goes on as it began counts for little.
function bits(text) {
  const characters = [...text];
  const pool = SIZES.filter((_, which) => CLASSES[which].test(text)).reduce((sum, size) => sum + size, 0);
  const lower = characters.map((one) => one.toLowerCase());
  let length = 0;
  lower.forEach((one, at) => {
    length += at > 0 && together(lower[at - 1], one) ? 0.25 : 1;
  });
  // A word that stands twice is one word.
  const half = text.length / 2;
  if (Number.isInteger(half) && text.slice(0, half) === text.slice(half)) length /= 2;
  return length * Math.log2(pool || 1);
}

// The words that the server refuses in a password: parts of the address, and the name of this service.
function names(box) {
  return box.dataset.never.toLowerCase().split(/\s+/).filter((word) => word.length >= 4);
}

function judged(box, field) {
  const text = field.value.normalize("NFKC");
  const length = [...text].length;
  const least = Number(box.dataset.least);
  if (length < least) return { level: 0, told: "short", missing: least - length };
  if (names(box).some((word) => text.toLowerCase().includes(word))) return { level: 1, told: "named" };
  const found = bits(text);
  if (found < 45) return { level: 1, told: "weak" };
  return found < 65 ? { level: 2, told: "fair" } : { level: 3, told: "strong" };
}

for (const box of document.querySelectorAll("[data-strength]")) {
  const field = document.getElementById(box.dataset.strength);
  const meter = box.querySelector("meter");
  const words = box.querySelector("[data-words]");
  let waiting;
  const show = () => {
    clearTimeout(waiting);
    box.hidden = field.value === "";
    if (box.hidden) {
      words.textContent = "";
      return;
    }
    const { level, told, missing } = judged(box, field);
    const text = box.dataset[told].replace("#", String(missing));
    meter.value = level;
    if (text === words.textContent) return;
    words.textContent = text;
    // Said once the typing pauses, not at each key.
    waiting = setTimeout(() => {
      document.dispatchEvent(new CustomEvent("doorward:announce", { detail: text }));
    }, 900);
  };
  field.addEventListener("input", show);
  show();
}
