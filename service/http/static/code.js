// The field of a passcode: digits of every script are taken, the gap that apps show is not kept, a code that is
// pasted or filled in whole is sent, and a backup code has the room it needs.

const DIGITS = 6;
/** How text comes into a field when nobody types it; what fills a field in by itself says nothing at all. */
const AT_ONCE = ["insertFromPaste", "insertFromDrop", "insertReplacementText"];

/** The value of a decimal digit of any script: the ten of a script stand together, from …0 or from …6 on. */
function ascii(digit) {
  const at = digit.codePointAt(0);
  const row = at - (at % 16);
  return String((at - (/\p{Nd}/u.test(String.fromCodePoint(row)) ? row : row + 6)) % 10);
}

function plain(text) {
  const digits = text.normalize("NFKC").replace(/\p{Nd}/gu, ascii);
  const joined = digits.replace(/[\s\p{Pd}]/gu, "");
  return /^[0-9]*$/.test(joined) ? joined : digits;
}

for (const box of document.querySelectorAll("[data-code]")) {
  const field = box.querySelector("input");
  // After an error the browser may fill the same code in again: somebody has to touch the field first.
  let isArmed = box.dataset.code !== "again";

  const shape = () => {
    const shown = plain(field.value);
    if (shown !== field.value) {
      const fromEnd = field.value.length - field.selectionEnd;
      field.value = shown;
      field.setSelectionRange(shown.length - fromEnd, shown.length - fromEnd);
    }
    box.toggleAttribute("data-long", shown.length > DIGITS || /[^0-9]/.test(shown));
  };

  field.addEventListener("input", (event) => {
    // An input method is not done with its text.
    if (event.isComposing) return;
    shape();
    const isTyped = event.inputType && !AT_ONCE.includes(event.inputType);
    const isWhole = field.value.length === DIGITS && /^[0-9]+$/.test(field.value);
    if (isTyped) isArmed = true;
    else if (isArmed && isWhole && ![...field.form.elements].some((one) => one.required && !one.value)) {
      isArmed = false;
      field.form.requestSubmit();
    }
  });
  field.addEventListener("compositionend", shape);
  addEventListener("pageshow", (event) => { if (event.persisted) field.value = ""; });
  shape();
}
