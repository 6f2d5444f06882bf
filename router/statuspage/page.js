// Brings the page up to date while it is open. Without it the page is the same,
// as of when it was loaded.
(() => {
  'use strict';
  const root = document.documentElement;
  root.classList.add('js');
  const live = document.getElementById('live');
  const said = document.getElementById('said');

  // morph makes an element like another and leaves alone what is alike, so that
  // focus, scroll positions, selected text and opened details stay.
  const morph = (now, next) => {
    if (now.nodeType !== Node.ELEMENT_NODE) {
      if (now.data !== next.data) now.data = next.data;
      return;
    }
    for (const { name, value } of next.attributes) {
      if (now.getAttribute(name) !== value) now.setAttribute(name, value);
    }
    for (const { name } of [...now.attributes]) {
      const opened = name === 'open' && now.localName === 'details';
      if (!next.hasAttribute(name) && !opened) now.removeAttribute(name);
    }
    const wanted = [...next.childNodes];
    const named = new Map([...now.children].filter((e) => e.id).map((e) => [e.id, e]));
    wanted.forEach((to, i) => {
      let from = now.childNodes[i];
      // One that moved in a list is still itself.
      const known = to.id && named.get(to.id);
      if (known && known !== from) {
        now.insertBefore(known, from || null);
        from = known;
      }
      const alike = from && from.nodeType === to.nodeType && from.nodeName === to.nodeName &&
        (from.id || '') === (to.id || '');
      if (alike) morph(from, to);
      else now.insertBefore(document.importNode(to, true), from || null);
    });
    while (now.childNodes.length > wanted.length) now.lastChild.remove();
  };

  const show = ({ release, sections }) => {
    if (release !== document.body.dataset.release) {
      location.reload();
      return;
    }
    for (const [id, html] of Object.entries(sections)) {
      const now = document.getElementById(id);
      const next = new DOMParser().parseFromString(html, 'text/html').getElementById(id);
      if (now && next) morph(now, next);
      if (id === 'state') document.title = next.dataset.title;
    }
  };

  const tell = (connected, words) => {
    root.classList.toggle('live', connected);
    live.textContent = words;
  };

  const retry = 15000; // ms, where the browser does not try by itself
  const listen = () => {
    const events = new EventSource(document.body.dataset.events);
    events.onopen = () => tell(true, 'This page is live.');
    events.onmessage = (event) => show(JSON.parse(event.data));
    events.onerror = () => {
      tell(false, 'The connection is lost; trying again. What is shown may be old.');
      if (events.readyState === EventSource.CLOSED) setTimeout(listen, retry);
    };
  };
  listen();

  // select is for where there is no clipboard to be had: the page came over
  // plain HTTP.
  const select = (button) => {
    const range = document.createRange();
    range.selectNodeContents(button.parentElement.querySelector('code'));
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  };

  const byHand = (text) => {
    const field = document.createElement('textarea');
    field.value = text;
    field.className = 'unseen';
    document.body.append(field);
    field.select();
    const done = document.execCommand('copy');
    field.remove();
    return done;
  };

  document.addEventListener('click', async (event) => {
    const button = event.target.closest('button.copy');
    if (!button) return;
    const text = button.dataset.copy;
    let done = false;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch {
      done = byHand(text);
      button.focus();
    }
    if (!done) select(button);
    said.textContent = done ? `Copied: ${text}` : 'Could not copy; the name is selected.';
    said.classList.add('shown');
    clearTimeout(said.timer);
    said.timer = setTimeout(() => said.classList.remove('shown'), 2500);
  });
})();
