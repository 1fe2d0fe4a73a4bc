// Times in the person's time zone and the page's language, beside the exact time in UTC. Without scripts the
// page says UTC, and says so.
//
// A pointer finds the exact time in the title. For the keyboard, a touch screen or a screen reader, a tab stop
// on each of a hundred times would be no help: one button (data-exact) writes all of them out, and back.

// The page's language, as the reader's browser writes it: English dates of a Briton are not an American's.
const language = document.documentElement.lang || "en";
const own = navigator.languages.find((tag) => tag.startsWith(`${language}-`)) || language;

function formats() {
  for (const wanted of [own, "en"]) {
    try {
      return {
        there: new Intl.DateTimeFormat(wanted, { dateStyle: "medium", timeStyle: "short" }),
        zone: new Intl.DateTimeFormat(wanted, { timeZoneName: "long" }),
      };
    } catch {
      // A tag that this browser does not know.
    }
  }
}

const { there, zone } = formats();
const times = [...document.querySelectorAll("time[data-moment]")].map((shown) => {
  const at = new Date(shown.dateTime);
  // 2026-11-24T14:03:22.123Z reads as 2026-11-24 14:03:22 UTC.
  const exact = `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
  return { shown, exact, local: there.format(at) };
});

function write(exact) {
  for (const time of times) {
    time.shown.textContent = exact ? time.exact : time.local;
    time.shown.title = exact ? time.local : time.exact;
  }
}

write(false);

for (const named of document.querySelectorAll("[data-zone]")) {
  const part = zone.formatToParts(new Date()).find((one) => one.type === "timeZoneName");
  named.textContent = part ? part.value : Intl.DateTimeFormat().resolvedOptions().timeZone;
}

for (const asked of document.querySelectorAll("[data-zoned]")) {
  asked.hidden = times.length === 0;
}

for (const button of document.querySelectorAll("button[data-exact]")) {
  button.addEventListener("click", () => {
    const exact = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(exact));
    write(exact);
  });
}
