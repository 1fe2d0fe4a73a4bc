// What a page must hold, looked at from inside it. Each function tells what is wrong, one line each.
(() => {
const all = (selector) => [...document.querySelectorAll(selector)];
const told = (element) => {
  const id = element.id ? `#${element.id}` : "";
  const name = element.className && element.className.baseVal === undefined ? `.${element.className}` : "";
  return `<${element.localName}${id}${name}> “${(element.textContent ?? "").trim().slice(0, 40)}”`;
};
const isShown = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true })
  && element.getClientRects().length > 0;
const isHiddenFromSight = (element) => element.closest(".visually-hidden, .skip, caption.visually-hidden") !== null;
const reach = () => all("a[href], button, input:not([type=hidden]), select, textarea, summary")
  .filter((one) => isShown(one) && !isHiddenFromSight(one) && !(one.inert || one.closest("[inert]")));
/** A dialog that is open takes the whole page. */
const scope = () => document.querySelector("dialog[open]") ?? document;

const said = [];
document.addEventListener("securitypolicyviolation", (event) =>
  said.push(`${event.effectiveDirective} forbids ${event.blockedURI} (${event.sample})`));

/** U02: nothing inline. */
function inline() {
  const found = [];
  for (const element of all("*")) {
    for (const { name } of element.attributes) {
      if (name === "style" || name.startsWith("on")) found.push(`${told(element)} has ${name}`);
    }
  }
  for (const one of all("script, style")) {
    if (!one.nonce) found.push(`${told(one)} has no nonce`);
    if (one.localName === "script" && !one.src) found.push("a script stands in the page");
  }
  for (const one of all("script[src], link[href], img[src]")) {
    const address = new URL(one.src ?? one.href, location.href);
    if (address.protocol !== "data:" && address.origin !== location.origin) found.push(`${address} is elsewhere`);
  }
  return found;
}

/** U05: one heading, a language, a title; and what a page always has. */
function frame() {
  const found = [];
  if (all("h1").length !== 1) found.push(`${all("h1").length} h1`);
  if (!document.documentElement.lang) found.push("no lang");
  if (!["ltr", "rtl"].includes(document.documentElement.dir)) found.push("no dir");
  if (all("main").length !== 1) found.push(`${all("main").length} main`);
  if (all("meta[name=color-scheme]").length !== 1) found.push("no color-scheme");
  if (all("[data-live]").length !== 1) found.push("no live region");
  const ids = all("[id]").map((one) => one.id);
  for (const id of ids.filter((one, at) => ids.indexOf(one) !== at)) found.push(`two of #${id}`);
  for (const one of all("[tabindex]")) if (one.tabIndex > 0) found.push(`${told(one)} has tabindex ${one.tabIndex}`);
  return found;
}

/** U06: whatever takes the keyboard shows it, in the order of the eye, and is not hidden behind anything. */
const COLUMN = "nav, main, header, footer, td";
function keyboard() {
  const found = [];
  const before = document.activeElement;
  const within = scope();
  let last = null;
  for (const one of reach().filter((each) => within.contains(each) && each.tabIndex >= 0 && !each.disabled)) {
    one.focus({ focusVisible: true });
    if (document.activeElement !== one) { found.push(`${told(one)} takes no focus`); continue; }
    const ring = [one, one.closest(".code-slots")].some((each) => each
      && getComputedStyle(each).outlineStyle !== "none" && parseFloat(getComputedStyle(each).outlineWidth) >= 2);
    if (!ring) found.push(`${told(one)} has no ring`);
    one.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
    const box = one.getBoundingClientRect();
    const x = Math.min(Math.max(box.left + box.width / 2, 1), innerWidth - 2);
    const y = Math.min(Math.max(box.top + box.height / 2, 1), innerHeight - 2);
    const at = document.elementFromPoint(x, y);
    if (at && at !== one && !one.contains(at) && !at.contains(one) && !one.labels?.length) {
      found.push(`${told(one)} is behind ${told(at)}`);
    }
    // Down the page, and along the line within it; a column beside another begins anew.
    const here = { element: one, top: box.top + window.scrollY, bottom: box.bottom + window.scrollY, column: one.closest(COLUMN) };
    if (last && last.column === here.column && here.bottom < last.top - 1) {
      found.push(`${told(one)} is above ${told(last.element)}, which comes before it`);
    }
    last = here;
  }
  before?.focus?.({ preventScroll: true });
  window.scrollTo(0, 0);
  return found;
}

/** U07: nothing leaves the screen sideways, and what is pressed is large enough. */
function narrow() {
  const found = [];
  const { scrollWidth } = document.documentElement;
  if (scrollWidth > innerWidth) {
    const wide = all("body *").filter((one) => !one.closest(".scroll")
      && (one.getBoundingClientRect().right > innerWidth + 1 || one.getBoundingClientRect().left < -1) && isShown(one));
    found.push(`${scrollWidth} wide: ${wide.slice(0, 3).map(told).join(", ")}`);
  }
  for (const one of reach()) {
    let box = one.getBoundingClientRect();
    if (one.matches("input[type=checkbox], input[type=radio]") && one.labels?.length) {
      box = one.labels[0].getBoundingClientRect();
    }
    // A link within a sentence is as high as its line (WCAG 2.2, 2.5.8).
    const inText = one.matches("a:not(.button)") && getComputedStyle(one).display === "inline";
    const least = inText ? 0 : 24;
    const ours = inText ? 0 : one.matches("button, .button, input, select, textarea, summary, nav a, footer a") ? 44 : 24;
    if (box.height < Math.max(least, ours) - .5 || (!inText && box.width < 24)) {
      found.push(`${told(one)} is ${Math.round(box.width)} by ${Math.round(box.height)}`);
    }
  }
  return found;
}

/** U09: for whoever wants no motion, nothing moves. */
function still() {
  const seconds = (text) => Math.max(...text.split(",").map((one) => parseFloat(one) * (one.trim().endsWith("ms") ? .001 : 1)));
  const found = [];
  for (const one of all("*")) {
    for (const part of [null, "::before", "::after"]) {
      const style = getComputedStyle(one, part);
      if (seconds(style.transitionDuration) > .01 || (style.animationName !== "none" && seconds(style.animationDuration) > .01)) {
        found.push(`${told(one)} moves`);
      }
    }
  }
  return found;
}

const DATA = "bdi, time, code, .code, .codes, .key, .product, [translate=no], [lang][hreflang], option[lang]";
/** Whoever's words a text is: ours, which are translated, or a name, an address, a code, a time. */
function isData(element) {
  return element.closest(DATA) !== null;
}

/** U11: each word of ours stands between the brackets of the pseudo-locale. */
function untranslated() {
  const found = [];
  const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
  let depth = 0;
  while (walker.nextNode()) {
    const { data, parentElement } = walker.currentNode;
    if (parentElement.closest("script, style, svg, head > :not(title)")) continue;
    const outside = [...data].filter((letter) => {
      if (letter === "⟦") depth += 1;
      const isOut = depth === 0 && /\p{L}/u.test(letter);
      if (letter === "⟧") depth -= 1;
      return isOut;
    }).join("");
    if (outside && parentElement.localName !== "title" && !isData(parentElement)) {
      found.push(`${told(parentElement)}: ${outside}`);
    }
  }
  if (depth !== 0) found.push(`brackets do not meet (${depth})`);
  const read = ["aria-label", "placeholder", "alt", "title", "data-label", "aria-description", "data-busy", "data-missing"];
  for (const one of all(read.map((name) => `[${name}]`).join(", "))) {
    if (isData(one)) continue;
    for (const name of read) {
      const text = one.getAttribute(name);
      if (text && /\p{L}/u.test(text) && !text.includes("⟦")) found.push(`${told(one)} ${name}: ${text}`);
    }
  }
  return found;
}

/** U12: nothing is cut off. */
function clipped() {
  const found = [];
  for (const one of all("body *").filter((each) => isShown(each) && !isHiddenFromSight(each))) {
    if (one.closest("svg, .code-slots, select, thead") || one.matches("input, textarea, dialog")) continue;
    const style = getComputedStyle(one);
    const cuts = (way) => ["hidden", "clip"].includes(way);
    const isControl = one.matches("button, .button, .badge, .notice");
    if ((cuts(style.overflowX) || isControl) && one.scrollWidth > one.clientWidth + 1 && style.display !== "inline") {
      found.push(`${told(one)} is cut: ${one.scrollWidth} in ${one.clientWidth}`);
    }
    if ((cuts(style.overflowY) || isControl) && one.scrollHeight > one.clientHeight + 1 && style.display !== "inline") {
      found.push(`${told(one)} is cut: ${one.scrollHeight} high in ${one.clientHeight}`);
    }
  }
  return found;
}

/** U10: the page is mirrored, and what is read from the left stays so. */
function mirrored() {
  const found = [];
  const middle = innerWidth / 2;
  if (getComputedStyle(document.body).direction !== "rtl") found.push("not from the right");
  const product = document.querySelector(".product");
  if (product && product.getBoundingClientRect().right < middle) found.push("the mark stands on the left");
  const kept = ".codes, .key, input.code, .code-slots input, input[type=email], input[name=username]";
  for (const one of all(kept).filter((each) => each.type !== "hidden" && isShown(each))) {
    if (getComputedStyle(one).direction !== "ltr") found.push(`${told(one)} is turned`);
  }
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { data, parentElement } = walker.currentNode;
    if (!/\S+@\S+\.\S+/.test(data) || parentElement.closest("script, .notice, [hidden]")) continue;
    if (!parentElement.closest("bdi, [dir=ltr]:not(html)")) found.push(`${told(parentElement)} has an address without bdi`);
  }
  for (const heading of all("h1")) {
    if (getComputedStyle(heading).textAlign !== "start") found.push("the heading has a side");
  }
  return found;
}

/** WCAG 1.4.12: whoever reads spreads the letters. */
function spread(percent) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`* { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important }
    p { margin-block-end: 2em !important } html { font-size: ${percent}% }`);
  document.adoptedStyleSheets.push(sheet);
}
function gather() { document.adoptedStyleSheets = []; }

/** B3: how far the page moved while it was made, which no press of a key excuses. */
function shift() {
  return new Promise((resolve) => {
    let sum = 0;
    new PerformanceObserver((list) => {
      for (const one of list.getEntries()) if (!one.hadRecentInput) sum += one.value;
    }).observe({ type: "layout-shift", buffered: true });
    requestAnimationFrame(() => setTimeout(() => resolve(sum), 0));
  });
}

window.look = { said, inline, frame, keyboard, narrow, still, untranslated, clipped, mirrored, spread, gather, shift };
})();
