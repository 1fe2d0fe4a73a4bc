// The backup codes: shown in a modal dialog for as long as the page says (`data-seconds`, 0 without a limit),
// and then in the page no more. All texts come from the HTML.

// Who needs longer says so on the form before: the choice makes sense only where a script counts.
for (const one of document.querySelectorAll("[data-limit]")) one.hidden = false;

const dialog = document.querySelector("dialog[data-codes]");

const run = () => {
  const all = (name) => document.querySelectorAll(`[data-${name}]`);
  const the = (name) => document.querySelector(`[data-${name}]`);
  const show = (name, shown) => all(name).forEach((one) => (one.hidden = !shown));
  const { title, list, opener, heard, ring, left, warn, more, finish, saved } = Object.fromEntries(
    ["title", "list", "opener", "heard", "ring", "left", "warn", "more", "finish", "saved"].map(
      (name) => [name, the(name)],
    ),
  );
  const [WARNED_AT, TOLD_AT, ADDED] = [20, 10, 30];
  const total = Number(dialog.dataset.seconds);
  const told = new Set();
  // By the wall clock: a machine that slept shows no codes when it wakes.
  let until = Date.now() + total * 1000;
  let span = total;
  let ticking = 0;
  let gone = false;
  let isKept = false;

  const hear = (text) => {
    if (!dialog.open) {
      document.dispatchEvent(new CustomEvent("doorward:announce", { detail: text }));
      return;
    }
    // Words in a closed dialog, or behind an open one, are heard by nobody.
    heard.textContent = "";
    requestAnimationFrame(() => (heard.textContent = text));
  };
  const once = (name, act) => {
    if (!told.has(name)) act();
    told.add(name);
  };

  const forget = () => {
    gone = true;
    clearInterval(ticking);
    // The list leaves the page; nothing else holds a code.
    all("secret").forEach((one) => one.remove());
    getSelection()?.removeAllRanges();
    show("again", false);
    show("gone", true);
  };

  const tick = () => {
    const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    if (!seconds) {
      // Whoever stands at what goes away with the codes must not fall back to the top of the page.
      const next = dialog.open ? title : document.activeElement === opener && the("onward");
      forget();
      hear(dialog.dataset.over);
      if (next) next.focus();
      return;
    }
    left.textContent = left.dataset.left.replace("#", seconds);
    ring.setAttribute("stroke-dashoffset", String(100 - (100 * seconds) / span));
    ring.ownerSVGElement.toggleAttribute("data-low", seconds <= WARNED_AT);
    if (seconds <= WARNED_AT && warn.hidden) {
      warn.hidden = false;
      // One key adds time, unless the person is at something else just now.
      if (!dialog.open) hear(warn.querySelector("p").textContent);
      else if (!document.activeElement.matches("a, button, input")) more.focus();
    }
    if (seconds <= TOLD_AT) once("soon", () => hear(dialog.dataset.soon));
  };

  const add = () => {
    until += ADDED * 1000;
    span = Math.ceil((until - Date.now()) / 1000);
    told.clear();
    warn.hidden = true;
    title.focus();
    hear(dialog.dataset.added);
    tick();
  };

  const open = () => {
    // As the HTML has it, the dialog stands open in the page, for whoever has no script.
    dialog.removeAttribute("open");
    dialog.showModal();
    title.focus();
  };

  const judge = () => {
    if (finish) finish.disabled = !(isKept || saved.checked);
  };
  const kept = () => {
    isKept = true;
    judge();
  };

  const download = () => {
    const codes = [...list.children].map((line) => line.textContent.trim());
    const lines = [...dialog.dataset.head.split("\n"), "", ...codes, ""];
    const file = new Blob([lines.join("\r\n")], { type: "text/plain;charset=utf-8" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = dialog.dataset.file;
    link.click();
    // The browser has read it by then.
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    hear(dialog.dataset.downloaded);
    kept();
  };

  const print = () => {
    kept();
    const before = Date.now();
    window.print();
    // The browser's own window stood in front: that time is not the person's.
    until += Date.now() - before;
  };

  show("scripted", true);
  show("unscripted", false);
  the("close").addEventListener("click", () => dialog.close());
  the("download").addEventListener("click", download);
  the("print").addEventListener("click", print);
  opener.addEventListener("click", open);
  more?.addEventListener("click", add);
  dialog.addEventListener("close", () => {
    show("again", !gone);
    (gone ? the("onward") : opener).focus();
  });
  judge();
  saved?.addEventListener("change", judge);
  dialog.addEventListener("doorward:copied", kept);
  // By hand, from the list itself.
  dialog.addEventListener("copy", () => list.contains(getSelection().anchorNode) && kept());
  window.addEventListener("beforeprint", () => dialog.open && !gone && kept());
  // What the browser keeps to go back to holds no code.
  window.addEventListener("pagehide", forget);

  // This page is the answer to a form: a reload, or Back, goes on from it and sends the form no second time.
  history.replaceState(null, "", the("onward").href);
  open();
  if (total) {
    hear(dialog.dataset.begun);
    tick();
    ticking = setInterval(tick, 200);
  }
};

if (dialog) run();
