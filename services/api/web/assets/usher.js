// What Usher's pages do beyond HTML and htmx. Every page works without it.
(() => {
  "use strict";
  document.documentElement.classList.add("script");

  const sheet = () => document.getElementById("sheet");

  // A link marked data-sheet opens its page's content in the dialog; where that fails, it is followed as a link.
  async function open(link) {
    const answer = await fetch(link.href, { headers: { "HX-Request": "true" }, credentials: "same-origin" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const content = page.getElementById("sheet-content");
    if (!answer.ok || answer.redirected || !content) {
      location.assign(link.href);
      return;
    }
    const body = document.getElementById("sheet-body");
    body.replaceChildren(document.importNode(content, true));
    htmx.process(body);
    const title = body.querySelector("#sheet-title");
    if (title) sheet().setAttribute("aria-labelledby", "sheet-title");
    if (!sheet().open) sheet().showModal();
    const first = body.querySelector("input:not([type=hidden]):not([type=checkbox]), select, .danger") || title;
    if (first) first.focus();
  }

  // typed reports whether closing the dialog would lose something.
  const typed = () => [...document.querySelectorAll("#sheet-body input[type=email], #sheet-body textarea")].some((f) => f.value !== f.defaultValue);

  const close = () => {
    sheet().close();
    document.getElementById("sheet-body").replaceChildren();
  };

  document.addEventListener("click", (event) => {
    const inSheet = event.target.closest("#sheet");
    const link = event.target.closest("a[data-sheet]");
    if (link && sheet() && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
      event.preventDefault();
      open(link).catch(() => location.assign(link.href));
      return;
    }
    if (inSheet && (event.target.closest("[data-close]") || event.target.closest(".close button"))) {
      event.preventDefault();
      close();
      return;
    }
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
  });

  // Escape closes the dialog, but never over something typed without asking twice.
  let warned = false;
  document.addEventListener("cancel", (event) => {
    if (event.target === sheet() && typed() && !warned) {
      event.preventDefault();
      warned = true;
      setTimeout(() => { warned = false; }, 1500);
    }
  }, true);

  // Pasting several addresses into one field makes rows of them.
  document.addEventListener("paste", (event) => {
    const field = event.target.closest?.(".person-row input[name=email]");
    const text = event.clipboardData?.getData("text/plain") || "";
    if (!field || (text.match(/@/g) || []).length < 2) return;
    event.preventDefault();
    const form = field.form;
    form.elements.paste.value = text;
    form.querySelector("button[value=paste]").click();
  });

  // A list that somebody is reading, ticking or writing above keeps its rows where they are; only their states change.
  document.addEventListener("htmx:config:request", (event) => {
    const { sourceElement: list, request } = event.detail.ctx;
    if (list?.id !== "list" || !list.dataset.top) return;
    if (scrollY > 120 || sheet()?.open || list.querySelector("input[name=id]:checked")) {
      request.action += (request.action.includes("?") ? "&" : "?") + "pin=" + encodeURIComponent(list.dataset.top);
    }
  });

  // A new row is where typing goes on.
  const rowFields = () => document.querySelectorAll("#invite-form input[name=email]");
  let before = Infinity; // the rows there were; verdicts on single rows may arrive before the new one does
  document.addEventListener("click", (event) => { before = event.target.closest("button[value=add]") ? rowFields().length : Infinity; }, true);
  document.addEventListener("htmx:after:swap", () => {
    localTimes();
    const wrong = document.querySelector("#invite-form [aria-invalid=true]");
    const rows = rowFields();
    if (rows.length > before) {
      rows[rows.length - 1].focus();
      before = Infinity;
    } else if (wrong && !document.activeElement?.closest("#invite-form")) wrong.focus();
  });

  // A form is sent once: its buttons rest until the answer is there.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.submitter?.formTarget) return; // into a frame: the page stays
    if (form.method === "dialog" || form.hasAttribute("hx-post") || form.method === "get") return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "yes";
  });
  addEventListener("pageshow", () => { for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent; });

  // The preview follows what is typed. Each is drawn in a new frame, so that going back leads through none of them, and takes
  // the place of the one before it once it is there.
  const drawer = () => document.querySelector("button[formtarget^=preview]");
  let drawn = 0;
  function draw() {
    for (const late of document.querySelectorAll("iframe.late")) late.remove();
    const now = document.getElementById("preview");
    const fresh = now.cloneNode();
    fresh.removeAttribute("src");
    fresh.removeAttribute("id");
    fresh.classList.add("late");
    fresh.name = drawer().formTarget = "preview-" + ++drawn;
    now.after(fresh);
    fresh.addEventListener("load", () => {
      now.remove();
      fresh.id = "preview";
      fresh.classList.remove("late");
    }, { once: true });
    drawer().form.requestSubmit(drawer());
  }
  let drawing;
  document.addEventListener("input", (event) => {
    if (!drawer() || event.target.form !== drawer().form || event.target.type === "file") return;
    clearTimeout(drawing);
    drawing = setTimeout(draw, 400);
  });
  addEventListener("DOMContentLoaded", () => { if (drawer()?.form.hasAttribute("data-typed")) draw(); });

  // A colour can be chosen or typed.
  document.addEventListener("input", (event) => {
    const text = document.getElementById(event.target.dataset?.for || "");
    const picker = event.target.id && document.querySelector(`input[data-for="${CSS.escape(event.target.id)}"]`);
    if (text) {
      text.value = event.target.value;
      text.dispatchEvent(new Event("input", { bubbles: true }));
    } else if (picker && /^#[0-9a-f]{6}$/i.test(event.target.value)) {
      picker.value = event.target.value;
    }
  });

  // Ticking the box in the head ticks all.
  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-all]")) return;
    for (const box of event.target.form.querySelectorAll("input[name=id]")) box.checked = event.target.checked;
  });

  // The reader may no longer look, or not like this: the page is asked for anew, and says why. What is being typed stays.
  document.addEventListener("ended", () => { if (!sheet()?.open) location.reload(); });

  // Exact times in the reader's own zone.
  const exact = new Intl.DateTimeFormat(document.documentElement.lang || "en", { dateStyle: "full", timeStyle: "long" });
  function localTimes() {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const instant = new Date(time.dateTime);
      if (!isNaN(instant)) time.title = exact.format(instant);
    }
  }

  addEventListener("DOMContentLoaded", () => {
    localTimes();
    for (const box of document.querySelectorAll("[data-all], [data-for]")) box.hidden = false;
  });
})();
