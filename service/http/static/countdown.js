// A wait that the server asked for: counted down to its end, read out now and then, and over by itself.
//
//   data-countdown  whole seconds, as in Retry-After
//   data-then       what comes at the end: "enable" (the button works again), "send" (a form that was sent
//                   meanwhile goes on its way) or "reload" (the page is asked for again)
//   data-instead    the id of what stands there without scripts
//   data-minutes, data-seconds, data-over   the texts; [data-early] in it: what is said of a form sent too early
//
// A button with `data-waits` is the one whose form has to wait.

/** How often a page asks again by itself before it leaves that to the person. */
const MOST_RELOADS = 5;

function announce(text) {
  document.dispatchEvent(new CustomEvent("doorward:announce", { detail: text }));
}

function start(box) {
  const { countdown, then, minutes, seconds, over } = box.dataset;
  const timer = box.querySelector("[role=timer]");
  const button = document.querySelector("button[data-waits]");
  // The count stays with the page's place in the history, and with nothing else.
  const reloads = (then === "reload" && history.state?.reloads) || 0;
  // Each time the wait doubles: whoever is overloaded must not be asked by every open page at once.
  const end = Date.now() + Number(countdown) * 2 ** reloads * 1000;
  let wanted = null;
  let shown = 0;

  const told = (left) =>
    (left >= 60 ? minutes : seconds).replace("{minutes}", Math.floor(left / 60)).replace("{seconds}", left % 60);

  function finish() {
    if (then === "reload") {
      history.replaceState({ reloads: reloads + 1 }, "");
      location.reload();
      return;
    }
    box.replaceChildren(over);
    box.classList.replace("bad", "good");
    if (button) button.disabled = false;
    if (wanted) wanted.form.requestSubmit(wanted);
  }

  function look() {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left <= 0) {
      clearInterval(ticking);
      finish();
      return;
    }
    if (left === shown) return;
    timer.textContent = told(left);
    // The notice itself was read when it came.
    if (shown && (left % 60 === 0 || left === 30 || left === 10)) announce(box.innerText.trim());
    shown = left;
  }

  if (reloads >= MOST_RELOADS) return;
  const plain = document.getElementById(box.dataset.instead ?? "");
  if (plain) {
    plain.hidden = true;
    box.hidden = false;
  }
  if (button && then === "enable") button.disabled = true;
  if (button && then === "send") {
    button.form.addEventListener("submit", (event) => {
      if (Date.now() >= end) return;
      // Not refused, only early: it is sent when the wait is over, and nobody has to watch the clock.
      event.preventDefault();
      wanted = button;
      const early = box.querySelector("[data-early]");
      early.hidden = false;
      announce(early.textContent.trim());
    });
  }
  const ticking = setInterval(look, 250);
  look();
}

document.querySelectorAll("[data-countdown]").forEach(start);
