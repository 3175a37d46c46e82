// Keeps a page current. Without it the page is complete, and shows the moment at which it was made.
"use strict";
(() => {
  const strip = document.getElementById("strip");
  const live = document.getElementById("live");
  if (!strip) return;
  const RETRY_MS = 10000;
  let source = null;
  let retry = 0;

  // Change `old` into `fresh` in place, so that focus, selection and scroll positions stay.
  function morph(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(fresh);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    children(old, fresh);
  }

  function children(old, fresh) {
    const before = [...old.childNodes];
    const after = [...fresh.childNodes];
    after.forEach((node, i) => (i < before.length ? morph(before[i], node) : old.append(node)));
    before.slice(after.length).forEach((node) => node.remove());
  }

  function show(element, html) {
    children(element, new DOMParser().parseFromString(html, "text/html").body);
  }

  function lost(text) {
    const badge = strip.querySelector(".badge");
    if (badge && !badge.dataset.lost) {
      badge.className = "badge bad";
      badge.dataset.lost = "yes";
      badge.removeAttribute("href");
      badge.textContent = text + " since " + new Date().toISOString().replace(/\.\d+Z/, "Z");
    }
  }

  function open() {
    clearTimeout(retry);
    if (source || document.hidden) return;
    source = new EventSource("/events?view=" + (live ? "overview" : "strip"));
    source.onmessage = (message) => {
      const state = JSON.parse(message.data);
      show(strip, state.strip);
      if (live && state.live) show(live, state.live);
      const made = document.body.dataset.mark;
      const news = strip.querySelector(".news");
      if (news && !live && made && state.mark && state.mark !== made) news.hidden = false;
    };
    source.onerror = () => {
      lost("no connection to omnicdc ui");
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        retry = setTimeout(open, RETRY_MS);
      }
    };
  }

  function close() {
    if (source) source.close();
    source = null;
  }

  // A page that nobody looks at costs nothing.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
  open();
})();
