// A list of any length that has only the rows on the screen in the document.

import { h } from "./text.js";

const OVERSCAN = 6;

export class WindowedList {
  /**
   * `paint(id, row)` fills a row, a button that is empty or has been painted before. `onOpen(id)` is
   * called for a row that is chosen, `onEnd()` when the end comes near, and `onShown(ids)` with the
   * ids of the rows in the document.
   */
  constructor(label, paint, onOpen, onEnd, onShown) {
    this.onShown = onShown;
    this.paint = paint;
    this.onOpen = onOpen;
    this.onEnd = onEnd;
    this.ids = [];
    this.total = 0;
    this.rows = new Map();
    this.list = h("ul", { class: "window", "aria-label": label });
    this.element = h("div", { class: "scroller", onscroll: () => this.schedule() }, this.list);
    this.list.addEventListener("keydown", (event) => this.move(event));
    this.frame = 0;
    this.observer = new ResizeObserver(() => this.schedule());
    this.observer.observe(this.element);
  }

  /** `total` is how many there are, also those that are not loaded yet. */
  set(ids, total) {
    this.ids = ids;
    this.total = Math.max(total, ids.length);
    this.schedule();
  }

  /** The numbers of the first row in the document, and of the one behind the last. */
  range() {
    const { height } = this;
    const top = this.element.scrollTop;
    const end = Math.ceil((top + this.element.clientHeight) / height) + OVERSCAN;
    return [Math.min(this.ids.length, Math.max(0, Math.floor(top / height) - OVERSCAN)), end];
  }

  /** Paint the rows on the screen again. */
  repaint() {
    for (const [id, item] of this.rows) this.paint(id, item.firstChild);
  }

  schedule() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.render();
    });
  }

  close() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  get height() {
    return parseFloat(getComputedStyle(this.list).getPropertyValue("--row")) || 72;
  }

  render() {
    const height = this.height;
    const [first, end] = this.range();
    const last = Math.min(this.ids.length, end);
    this.list.style.height = `${this.ids.length * height}px`;
    const shown = new Set(this.ids.slice(first, last));
    for (const [id, item] of this.rows) {
      if (!shown.has(id)) {
        if (item.contains(document.activeElement)) this.lost = id;
        item.remove();
        this.rows.delete(id);
      }
    }
    for (let number = first; number < last; number += 1) {
      const id = this.ids[number];
      let item = this.rows.get(id);
      if (!item) {
        item = h("li", {}, h("button", { type: "button", class: "row", onclick: () => this.onOpen(id) }));
        this.rows.set(id, item);
        this.paint(id, item.firstChild);
      }
      item.style.transform = `translateY(${number * height}px)`;
      item.setAttribute("aria-posinset", number + 1);
      item.setAttribute("aria-setsize", this.total);
      // The order in the document is the order on the screen, for Tab and for screen readers.
      const place = this.list.children[number - first];
      if (place !== item) this.list.insertBefore(item, place ?? null);
    }
    this.onShown(shown);
    if (last + 40 > this.ids.length && this.ids.length < this.total) this.onEnd();
  }

  move(event) {
    const rows = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8, Home: -Infinity, End: Infinity };
    const step = rows[event.key];
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    const item = event.target.closest("li");
    const now = this.ids.findIndex((id) => this.rows.get(id) === item);
    if (now < 0) return;
    event.preventDefault();
    this.focus(Math.min(this.ids.length - 1, Math.max(0, now + step)));
  }

  focus(number) {
    const height = this.height;
    const top = number * height;
    const box = this.element;
    if (top < box.scrollTop) box.scrollTop = top;
    if (top + height > box.scrollTop + box.clientHeight) box.scrollTop = top + height - box.clientHeight;
    this.render();
    this.rows.get(this.ids[number])?.firstChild.focus({ preventScroll: true });
  }
}
