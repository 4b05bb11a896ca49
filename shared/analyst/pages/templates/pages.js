// What pages do better with a script; each works without it. Elements are made by the DOM, never of texts.
"use strict";
const root = new URL(document.currentScript.src).pathname.split("/static/")[0];  // the path of the server's address, or nothing
const $ = (selector, within = document) => [...within.querySelectorAll(selector)];
const html = window.trustedTypes ? trustedTypes.createPolicy("pages", { createHTML: (text) => text }) : { createHTML: (text) => text };

// Copy: a button beside a text.
function copyButtons(within) {
  for (const button of $("[data-copy]", within)) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = button.previousElementSibling.textContent;
      try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; }
      catch { getSelection().selectAllChildren(button.previousElementSibling); button.textContent = "Selected"; }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }
}

// Copy the rows of a grid, as a spreadsheet reads them: tabs between cells, quotes around what has tabs, quotes or line ends.
function copyRows(within) {
  const field = (text) => (/[\t\r\n"]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  for (const button of $("[data-copy-rows]", within)) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const table = document.getElementById(button.dataset.copyRows);
      const heads = $("thead th", table).map((head) => head.dataset.name);
      const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => (cell.querySelector(".null") ? "" : cell.title || cell.textContent)));
      const text = [heads, ...rows].map((row) => row.map(field).join("\t")).join("\n");
      try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch { button.textContent = "The browser refused"; }
      say(button.textContent);
      setTimeout(() => { button.textContent = "Copy rows"; }, 2000);
    });
  }
}

// Replace the region of a page by that of another state of it, as the server renders it.
async function replace(region, url, options) {
  const answer = await fetch(url, { headers: { Accept: "text/html" }, ...options });
  if (answer.redirected && new URL(answer.url).pathname === `${root}/login`) { location.reload(); return null; }
  if (!answer.ok) return null;
  const page = new DOMParser().parseFromString(html.createHTML(await answer.text()), "text/html");
  const fresh = page.getElementById(region.id);
  if (!fresh) return null;
  // The region itself stays, and what changed is said in a place that is always there, so that screen readers notice.
  if (fresh.dataset.refresh) region.dataset.refresh = fresh.dataset.refresh; else delete region.dataset.refresh;
  region.replaceChildren(...document.importNode(fresh, true).childNodes);
  region.removeAttribute("aria-busy");
  enhance(region);
  say(region.querySelector("[data-said]")?.textContent.trim());
  return region;
}
function say(text) {
  const place = document.getElementById("said");
  if (place && text && place.textContent !== text) place.textContent = text;
}

// Search as you type: the form of a page, and the region with its results.
function liveForms(within) {
  for (const form of $("form[data-live]", within)) {
    let timer, running;
    const search = async () => {
      running?.abort();
      running = new AbortController();
      const url = new URL(form.action), said = new URLSearchParams();
      for (const [name, value] of new FormData(form)) if (value) said.append(name, value);
      const options = { signal: running.signal }, posts = form.method === "post";
      if (posts) Object.assign(options, { method: "POST", body: said });
      else url.search = said;
      const region = document.getElementById(form.dataset.live);
      region.setAttribute("aria-busy", "true");
      try { if (await replace(region, url, options) && !posts) history.replaceState(null, "", url); region.removeAttribute("aria-busy"); }
      catch (error) { if (error.name !== "AbortError") form.submit(); }
    };
    form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 200); });
    form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(timer); search(); });
  }
}

// Progress: a region that says how often it changes is asked for again while it does.
function polling(within) {
  const regions = within.matches?.("[data-refresh]") ? [within] : $("[data-refresh]", within);
  for (const region of regions) {
    setTimeout(async () => {
      if (!region.isConnected) return;
      try { if (document.hidden || region.contains(document.activeElement) || !(await replace(region, location.href))) polling(region); } catch { polling(region); }
    }, 1000 * Number(region.dataset.refresh));
  }
}

// Result grids: sort by a click on a column, open a long text by a click on it.
function grids(within) {
  for (const table of $("table[data-sort]", within)) {
    const heads = $("thead th", table);
    heads.forEach((head, place) => {
      const button = document.createElement("button");
      button.className = "sort";
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const numeric = head.classList.contains("num");
        const key = (row) => { const cell = row.cells[place]; const text = cell.title || cell.textContent; return cell.querySelector(".null") ? null : numeric ? Number(text) : text; };
        const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
        rows.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : (numeric ? a - b : a < b ? -1 : a > b) * (down ? -1 : 1)));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
    table.tBodies[0]?.addEventListener("click", (event) => {
      const cell = event.target.closest("td");
      if (cell && !getSelection().toString()) cell.classList.toggle("open");
    });
  }
}

// Check all boxes of a table at once.
function checkingAll(within) {
  for (const all of $("[data-check-all]", within)) {
    const boxes = $("tbody input[type=checkbox]", all.closest("table"));
    all.hidden = false;
    all.addEventListener("change", () => { for (const box of boxes) box.checked = all.checked; });
    const follow = () => { const count = boxes.filter((box) => box.checked).length; all.checked = count === boxes.length; all.indeterminate = count > 0 && count < boxes.length; };
    for (const box of boxes) box.addEventListener("change", follow);
  }
}

// Forms that ask again before they change something that can't be undone.
function confirming(within) {
  for (const form of $("form[data-confirm]", within)) {
    form.addEventListener("submit", (event) => { if (!confirm(form.dataset.confirm)) event.preventDefault(); });
  }
}

// The SQL editor: run with Ctrl+Enter, stop, and complete the names of tables and columns that one may read.
function editors(within) {
  for (const area of $("textarea[data-editor]", within)) {
    const form = area.form, run = form.querySelector("[data-run]"), stop = form.querySelector("[data-stop]");
    const list = document.createElement("ul");
    list.className = "suggest";
    list.id = "suggest";
    list.hidden = true;
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Suggestions");
    area.parentElement.append(list);
    area.setAttribute("aria-controls", "suggest");
    area.setAttribute("aria-autocomplete", "list");
    let names = null, asked = false, chosen = 0, running = false;
    const ended = () => { running = false; run.disabled = false; if (stop) stop.hidden = true; };
    form.addEventListener("submit", (event) => {
      if (event.submitter && event.submitter !== run) return;
      running = true;
      if (stop) stop.hidden = false;
      setTimeout(() => { run.disabled = true; }, 0);
    });
    stop?.addEventListener("click", () => { window.stop(); ended(); area.focus(); });
    addEventListener("pageshow", ended);
    const load = async () => {
      if (asked) return;
      asked = true;
      try { names = (await (await fetch(`${root}/api/query/names`)).json()).names; } catch { names = null; }
      asked = Boolean(names);  // else again when more is typed
    };
    area.addEventListener("focus", load);
    if (document.activeElement === area) load();  // it got the focus before this script was there
    const word = () => /[A-Za-z_][A-Za-z0-9_.]*$/.exec(area.value.slice(0, area.selectionStart))?.[0] ?? "";
    const close = () => { list.hidden = true; list.replaceChildren(); area.removeAttribute("aria-activedescendant"); };
    const mark = () => [...list.children].forEach((each, place) => {
      each.setAttribute("aria-selected", String(place === chosen));
      if (place === chosen) { area.setAttribute("aria-activedescendant", each.id); each.scrollIntoView({ block: "nearest" }); }
    });
    const accept = (name) => {
      const end = area.selectionStart, start = end - word().length;
      area.setRangeText(name, start, area.selectionEnd, "end");
      close();
      area.focus();
    };
    const suggest = () => {
      const typed = word().toLowerCase();
      if (!names || typed.length < 2) return close();
      const used = area.value.toLowerCase();
      const found = names.filter(([name]) => name.toLowerCase().startsWith(typed) && name.toLowerCase() !== typed)
        .sort((a, b) => used.includes(b[2].toLowerCase()) - used.includes(a[2].toLowerCase())).slice(0, 12);
      if (!found.length) return close();
      chosen = 0;
      list.replaceChildren(...found.map(([name, kind], place) => {
        const item = document.createElement("li"), about = document.createElement("span");
        item.id = `suggest-${place}`;
        item.setAttribute("role", "option");
        about.className = "soft small";
        about.textContent = kind;
        item.append(name, about);
        item.addEventListener("mousedown", (event) => { event.preventDefault(); accept(name); });
        return item;
      }));
      const lines = area.value.slice(0, area.selectionStart).split("\n").length;
      list.style.top = `${Math.min(12 + lines * parseFloat(getComputedStyle(area).lineHeight) - area.scrollTop, area.clientHeight)}px`;
      list.style.left = "1rem";
      list.hidden = false;
      mark();
    };
    area.addEventListener("input", () => { load(); suggest(); });
    area.addEventListener("blur", close);
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); if (!running) form.requestSubmit(run); return; }
      if (list.hidden) return;
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) { event.preventDefault(); chosen = (chosen + step + list.children.length) % list.children.length; mark(); }
      else if (event.key === "Tab" || event.key === "Enter") { event.preventDefault(); accept(list.children[chosen].firstChild.textContent); }
      else if (event.key === "Escape") { event.preventDefault(); close(); }
    });
  }
}

// A form that is sent when a choice in it changes; its button is then not needed.
function autoForms(within) {
  for (const form of $("form[data-auto]", within)) {
    form.addEventListener("change", () => form.requestSubmit());
  }
}

// What a form led to can't be opened again: an answer that has an address of its own gets it, for going back and reloading.
function addresses() {
  for (const each of $("[data-address]")) history.replaceState(null, "", each.dataset.address);
}

// Where the navigation is wider than the window, the place of the page is scrolled into view.
function navigation() {
  for (const here of $("nav a[aria-current]")) {
    const bar = here.parentElement, at = here.getBoundingClientRect(), all = bar.getBoundingClientRect();
    if (at.right > all.right - 40 || at.left < all.left) bar.scrollLeft += at.left - all.left - (all.width - at.width) / 2;
  }
}

// The bell: how much is unread, beside the entry of notifications. One stream, and none while nobody looks at the page.
function bell() {
  const entry = document.querySelector(`nav a[href="${root}/notifications"]`);
  if (!entry || !window.EventSource) return;
  const badge = document.createElement("span"), number = document.createTextNode(""), what = document.createElement("span"), seen = new Set();
  let source = null, unread = 0;
  badge.className = "badge key";
  badge.hidden = true;
  what.className = "hidden";
  what.textContent = " unread";
  badge.append(number, what);
  entry.append(" ", badge);
  const show = (count) => {
    unread = count;
    badge.hidden = !count;
    number.data = count > 99 ? "99+" : String(count);
  };
  const close = () => { source?.close(); source = null; };
  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource(`${root}/api/notifications/stream?every=10`);
    source.addEventListener("ready", (event) => show(JSON.parse(event.data).unread));
    source.addEventListener("notification", (event) => {
      const it = JSON.parse(event.data);
      if (seen.has(it.id)) return;  // each is sent at least once
      seen.add(it.id);
      show(unread + 1);
      say(`New notification: ${it.title}`);
    });
  };
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
}

// Keys of the review: they go through the items and to the buttons, and decide nothing by themselves. They can be turned off.
function reviewKeys() {
  const form = document.querySelector("form[data-review]"), help = document.getElementById("review-keys");
  if (!form || !help) return;
  const boxes = $("tbody input[type=checkbox]", form), wanted = help.querySelector("[name=keys]"), button = document.querySelector("[data-keys]");
  let last = -1;
  try { wanted.checked = localStorage.getItem("review-keys") !== "off"; } catch { /* the browser keeps nothing */ }
  wanted.addEventListener("change", () => { try { localStorage.setItem("review-keys", wanted.checked ? "on" : "off"); } catch { /* nor this */ } });
  button.hidden = false;
  button.addEventListener("click", () => help.showModal());
  help.querySelector("[data-close]").addEventListener("click", () => help.close());
  form.addEventListener("focusin", (event) => {
    const place = boxes.findIndex((box) => box.closest("tr").contains(event.target));
    if (place >= 0) last = place;
  });
  const go = (place) => { const box = boxes[Math.max(0, Math.min(place, boxes.length - 1))]; box.focus(); box.closest("tr").scrollIntoView({ block: "nearest" }); };
  const aim = (action) => {
    const target = form.querySelector(`button[name=action][value=${action}]`);
    if (!boxes.some((box) => box.checked)) boxes[last].click();
    const count = boxes.filter((box) => box.checked).length;
    target.focus();
    say(`Enter: ${action} ${count} ${count === 1 ? "item" : "items"}`);
  };
  const keys = { j: () => go(last + 1), k: () => go(last - 1), "?": () => help.showModal() };
  const ofItem = { x: () => boxes[last].click(), a: () => aim("approve"), r: () => aim("reject") };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
    if (!wanted.checked || help.open || typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat && !(event.key in keys)) return;
    const does = keys[event.key] ?? (last >= 0 ? ofItem[event.key] : undefined);
    if (does) { event.preventDefault(); does(); }
  });
}

function enhance(within) {
  for (const start of [copyButtons, copyRows, liveForms, polling, grids, checkingAll, confirming, editors, autoForms]) start(within);
}
enhance(document);
addresses();
navigation();
bell();
reviewKeys();
