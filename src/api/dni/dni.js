// Shows each visitor of a page a number of its own:
//   <script src="https://HOST/v1/dni.js" data-key="SITE KEY" async></script>
// docs/dni.md says what else it takes. What is served is dni.min.js, made of this by `make dni`; CLICK_IDS is there
// what the server knows of them.
(() => {
  "use strict";
  const w = window, d = document, root = d.documentElement;
  const script = d.currentScript || d.querySelector('script[data-key][src*="dni.js"]');
  const asked = script && script.dataset;
  if (!asked || !asked.key || !w.fetch) return;

  const sessions = script.src.replace(/\/dni\.js.*/, "/sessions");
  const api = (w.tollbridge ||= {});
  let tags = { ...api.tags };
  let session, number, untold, busy, timer, resolve;
  let due = 0, failures = 0;
  api.ready = new Promise(done => (resolve = done));
  api.set = more => {
    untold = Object.assign(tags, more);
    if (session) beat();
  };

  // What is known of the visitor is kept in the page's storage, else in a cookie, else while the page is open.
  const shelf = "tollbridge_" + asked.key.replace(/\W/g, "");
  const attempt = act => {
    try {
      return act();
    } catch {}
  };
  let kept =
    attempt(() => JSON.parse(localStorage[shelf])) ||
    attempt(() => JSON.parse(decodeURIComponent(d.cookie.split(shelf + "=")[1].split(";")[0]))) ||
    {};

  // The click that led here is told for thirty days, or until there is another.
  const arrive = () => {
    const now = Date.now(), query = new URLSearchParams();
    const from = d.referrer.split("/")[2] === location.host ? "" : d.referrer;
    for (const [name, value] of new URLSearchParams(location.search))
      if (/^(utm_.*|CLICK_IDS)$/.test(name)) query.append(name, value);
    const said = `${query}`.slice(0, 4e3);
    if (said || from || !(now - kept.at < 2592e6)) kept = { id: kept.id, at: now, said, from: from.slice(0, 1e3) };
    kept.id ||= "v_" + crypto.getRandomValues(new Uint32Array(4)).join("");
    const text = JSON.stringify(kept);
    attempt(() => (localStorage[shelf] = text)) ||
      attempt(() => (d.cookie = shelf + "=" + encodeURIComponent(text) + ";path=/;max-age=2592000;samesite=lax"));
  };

  // The number as `pattern` is written, if that is a number like it.
  const written = pattern => {
    const there = pattern.replace(/\D/g, ""), american = /^\+1.{10}$/.test(number);
    const local = american && there.length === 10, digits = number.slice(local ? 2 : 1);
    if (!local && (digits.length !== there.length || digits[0] !== there[0])) return american ? usual() : number;
    let n = 0;
    return pattern.replace(/\d/g, () => digits[n++]);
  };
  const usual = () => written("(000) 000-0000");
  const called = () => "tel:" + number;

  // Numbers in texts: those that the script is told of, and in what is marked any.
  const swap = numbers => {
    const pattern = RegExp("(^|[^\\d+(])([+(]*" + numbers + ")(?!\\d)", "g");
    return text => text.replace(pattern, (_, before, found) => before + written(found));
  };
  const own = (asked.number || "").split(",").flatMap(text => {
    const digits = text.replace(/\D/g, "").replace(/^1(?=.{10}$)/, "");
    return digits[6] ? (digits[10] ? "" : "(?:1\\W{0,2})?") + digits.split("").join("\\W{0,2}") : [];
  });
  const inText = own[0] ? swap(`(?:${own.join("|")})`) : text => text;
  const inMarked = swap("\\d(?:[^\\w/,;:|]{0,2}\\d){6,14}");

  // By node: what the page had there (`text`), what is shown, and what makes this of that.
  const places = new Map();
  const put = (node, field, make) => {
    const text = node[field];
    if (places.get(node)?.shown === text) return;
    if (places.size > 999) for (const old of places.keys()) if (!old.isConnected) places.delete(old);
    if (places.size > 999 || make(text) === text) return;
    const place = { text, shown: text, field, make };
    places.set(node, place);
    show(place, node);
  };
  // What the page has written anew is no longer ours.
  const show = (place, node) => {
    const { text, shown, field, make } = place;
    if (node[field] !== shown) places.delete(node);
    else if ((place.shown = number ? make(text) : text) !== shown) node[field] = place.shown;
  };
  const look = node => {
    const element = node.closest ? node : node.parentElement;
    if (!element || element.closest("script,style,textarea,noscript,[contenteditable]")) return;
    const mark = element.closest(asked.selector || ".tollbridge-number,[data-tollbridge]");
    const link = element.closest('a[href^="tel:"]');
    if (node !== element) put(node, "data", mark && inText(node.data) === node.data ? inMarked : inText);
    else if (mark === node && !node.textContent) put(node.appendChild(new Text()), "data", usual);
    if (link && (mark || inText(link.href) !== link.href)) put(link, "href", called);
  };
  const walk = top => {
    const steps = d.createTreeWalker(top, 5);
    for (let node = top, left = 2e4; node && left--; node = steps.nextNode()) look(node);
  };

  // What is inserted later is looked at twenty times a second at most.
  const fresh = new Set();
  let soon;
  const insert = () => {
    soon = 0;
    if (number) fresh.forEach(walk);
    fresh.clear();
    observer.takeRecords();
  };
  const observer = new MutationObserver(changes => {
    for (const { target, addedNodes } of changes) (target.data ? [target] : addedNodes).forEach(it => fresh.add(it));
    if (fresh.size > 500) fresh.clear(), fresh.add(root);
    soon ||= setTimeout(insert, 50);
  });
  const change = to => {
    if (to === number) return;
    number = to;
    places.forEach(show);
    fresh.add(root);
    insert();
    if (api.onnumber) setTimeout(() => api.onnumber(number || null, number ? usual() : null));
  };

  const post = (path, body, more) =>
    fetch(sessions + path, {
      method: "POST",
      credentials: "omit",
      body: JSON.stringify({ key: asked.key, ...body }),
      ...more,
    });

  // Opens the session, or keeps it; and again when it is time.
  const beat = async () => {
    clearTimeout(timer);
    if (busy) return;
    if (session && d.hidden) {
      due = 0;
      return;
    }
    busy = 1;
    const limit = new AbortController(), late = setTimeout(() => limit.abort(), 1e4);
    const opens = !session;
    const body = { page_url: location.origin + location.pathname + "?" + kept.said, referrer: kept.from };
    if (opens) Object.assign(body, { visitor_id: kept.id, pool: asked.pool, campaign: asked.campaign });
    else body.tags = untold;
    untold = undefined;
    let status, wait = 0;
    try {
      const answer = await post(opens ? "" : `/${session}:heartbeat`, body, { signal: limit.signal });
      const said = await answer.json();
      wait = answer.headers.get("retry-after") * 1e3;
      status = answer.status;
      if (answer.ok) {
        failures = 0;
        session = said.session_id;
        if (opens && Object.keys(tags)[0]) untold = tags;
        wait = untold ? 0 : said.heartbeat_every_s * 1e3;
        change(said.number);
      }
      if (/40[013]|422/.test(status)) console.warn("tollbridge:", said.detail);
    } catch {}
    clearTimeout(late);
    busy = 0;
    resolve(number || null);
    if (/40[13]/.test(status) || (opens && /4(0[04]|22)/.test(status))) wait = 2e9;
    else if (status === 404) session = undefined;
    else if (status === 422) (tags = {}), (wait = 6e4);
    else if (!(status < 300)) {
      untold ||= body.tags;
      wait = Math.max(wait, (1 + Math.random()) * Math.min(1e3 * 2 ** failures++, 3e5));
    }
    due = Date.now() + wait;
    timer = setTimeout(beat, wait);
  };

  const start = () => {
    arrive();
    observer.observe(root, { childList: true, characterData: true, subtree: true });
    d.addEventListener("visibilitychange", () => d.hidden || Date.now() < due || beat());
    w.addEventListener("pageshow", event => event.persisted && beat());
    w.addEventListener("pagehide", () => {
      const path = `/${session}:release`;
      if (!session) return;
      // A beacon of a page with the referrer policy `no-referrer` does not say whose page it is.
      if ("keepalive" in Request.prototype) post(path, {}, { keepalive: true }).catch(() => {});
      else navigator.sendBeacon(sessions + path, JSON.stringify({ key: asked.key }));
    });
    beat();
  };
  if (d.prerendering) d.addEventListener("prerenderingchange", start, { once: true });
  else start();
})();
