// Refreshes what is looked at, copies, and leads by keyboard. Everything can be read without it.
"use strict";
(() => {
  const REFRESH_MS = 2000;
  const isTyping = () => /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");

  // Times: the server wrote how long ago it was then.
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [0, "s"]];
  const rough = (seconds) => {
    const [size, unit] = UNITS.find(([size]) => seconds >= size);
    return `${Math.floor(seconds / (size || 1))} ${unit}`;
  };
  const tellTimes = () => {
    for (const time of document.querySelectorAll("time[data-at]")) {
      const seconds = (Date.now() - Number(time.dataset.at)) / 1000;
      const text = seconds < -1 ? `in ${rough(-seconds)}` : seconds < 1 ? "just now" : `${rough(seconds)} ago`;
      if (time.textContent !== text) time.textContent = text;
    }
  };

  const copied = async (button) => {
    const text = button.previousElementSibling.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      // Pages without TLS have no clipboard: what is selected can be copied by hand.
      getSelection().selectAllChildren(button.previousElementSibling);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  const addButtons = (root) => {
    for (const snippet of root.querySelectorAll(".snippet")) {
      if (snippet.querySelector(".copy")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.addEventListener("click", () => copied(button));
      snippet.append(button);
    }
  };

  // The page is asked for again, and what of it is live is put in place of what is shown.
  let tag = null;
  let shown = document.getElementById("live")?.innerHTML;
  const rowOf = (element) => element?.closest("[data-row]")?.querySelector("a[href]")?.getAttribute("href");
  const swap = (live, next) => {
    const focused = live.contains(document.activeElement) ? document.activeElement : null;
    const href = focused?.getAttribute("href") ?? rowOf(focused);
    const key = focused?.closest("details[data-key]")?.dataset.key;
    const folds = new Map([...live.querySelectorAll("details[data-key]")].map((it) => [it.dataset.key, it.open]));
    live.replaceChildren(...next.childNodes);
    for (const fold of live.querySelectorAll("details[data-key]")) {
      if (folds.has(fold.dataset.key)) fold.open = folds.get(fold.dataset.key);
    }
    addButtons(live);
    if (href) live.querySelector(`a[href="${CSS.escape(href)}"]`)?.focus({ preventScroll: true });
    else if (key) live.querySelector(`details[data-key="${CSS.escape(key)}"] > summary`)?.focus({ preventScroll: true });
  };
  const refresh = async () => {
    const live = document.getElementById("live");
    if (!live || document.hidden) return;
    // Not under the hands of whoever reads a selection, or chooses rows.
    if (!getSelection().isCollapsed || live.querySelector("input:checked") || (isTyping() && live.contains(document.activeElement))) return;
    const response = await fetch(location.href, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
    if (response.status === 304) return;
    if (response.redirected || response.status === 401) return location.reload();
    if (!response.ok) return;
    tag = response.headers.get("etag");
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const next = page.getElementById("live");
    if (!next) {
      // It has ended: what is shown now is the last word.
      const main = page.getElementById("main");
      if (main) document.getElementById("main").replaceChildren(...main.childNodes);
      addButtons(document);
      return;
    }
    if (next.innerHTML === shown) return;
    shown = next.innerHTML;
    swap(live, next);
  };
  const loop = async () => {
    try {
      await refresh();
      document.body.classList.remove("stale");
    } catch {
      // The server is away: what is shown stays, and it is asked again.
      document.body.classList.add("stale");
    }
    tellTimes();
    setTimeout(loop, REFRESH_MS);
  };

  const rows = () => [...document.querySelectorAll("[data-row]")].map((row) => row.querySelector("a[href]")).filter(Boolean);
  const move = (step) => {
    const all = rows();
    const here = all.findIndex((link) => link.closest("[data-row]").contains(document.activeElement));
    const next = here < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(here + step, 0), all.length - 1);
    all[next]?.focus();
    all[next]?.scrollIntoView({ block: "nearest" });
  };
  let leads = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && isTyping()) return document.activeElement.blur();
    if (isTyping()) return;
    const wasLead = leads;
    leads = false;
    if (wasLead) {
      const link = document.querySelector(`a[data-go="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    switch (event.key) {
      case "/": event.preventDefault(); document.querySelector("[data-search]")?.focus(); break;
      case "j": move(1); break;
      case "k": move(-1); break;
      case "g": leads = true; break;
      case "x": document.activeElement.closest("[data-row]")?.querySelector("input[type=checkbox]")?.click(); break;
    }
  });

  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });
  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-all]")) return;
    for (const box of document.querySelectorAll('input[name="delivery"]')) box.checked = event.target.checked;
  });

  addButtons(document);
  tellTimes();
  setTimeout(loop, REFRESH_MS);
})();
