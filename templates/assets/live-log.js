// A log that grows while it is read, the bar above it and what happens beside it: each [data-live-task] on the page.
// Whatever a program wrote is only ever put in as text; of a terminal's escapes the colours are kept, the rest is left out.
"use strict";

(() => {
  const KEPT_LINES = 5000;
  const TAIL_BYTES = 16384;
  const ESCAPE = /\x1b(?:\[([0-9;:?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])/g;
  const HALF_ESCAPE = /\x1b(?:\[[0-9;:?]*[ -/]*|\][^\x07\x1b]*|[ -/]*)?$/;
  const CONTROLS = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/g;
  const TURNS = /[\u202a-\u202e\u2066-\u2069]/g;

  class Screen {
    // One <div> a line, so that the oldest can go and a carriage return can begin its line anew.
    constructor(box) {
      this.box = box;
      this.styles = new Set();
      this.half = "";
      this.line = null;
      this.returned = false;
      box.textContent = "";
    }

    write(text) {
      text = this.half + text;
      const half = text.match(HALF_ESCAPE);
      this.half = half && half[0].length < 256 ? half[0] : "";
      text = text.slice(0, text.length - this.half.length);
      let at = 0;
      for (const escape of text.matchAll(ESCAPE)) {
        this.plain(text.slice(at, escape.index));
        if (escape[2] === "m") this.style(escape[1]);
        at = escape.index + escape[0].length;
      }
      this.plain(text.slice(at));
      while (this.box.childElementCount > KEPT_LINES) this.box.firstElementChild.remove();
    }

    plain(text) {
      for (const part of text.split(/(\r\n|\n|\r)/)) {
        if (part === "\n" || part === "\r\n") {
          if (!this.line) this.begin();
          this.line = null;
          this.returned = false;
        } else if (part === "\r") {
          this.returned = true;
        } else if (part) {
          if (!this.line) this.begin();
          else if (this.returned) this.line.textContent = "";
          this.returned = false;
          const shown = part.replace(CONTROLS, "").replace(TURNS, "\ufffd");
          if (this.styles.size) {
            const span = document.createElement("span");
            span.className = [...this.styles].join(" ");
            span.textContent = shown;
            this.line.append(span);
          } else {
            this.line.append(shown);
          }
        }
      }
    }

    begin() {
      this.line = document.createElement("div");
      this.box.append(this.line);
    }

    style(codes) {
      const numbers = codes.split(/[;:]/).map(Number);
      for (let i = 0; i < numbers.length; i += 1) {
        const code = numbers[i];
        if (code === 38 || code === 48) {
          i += numbers[i + 1] === 5 ? 2 : 4; // of 256 or of 16 million colours
        } else if (code === 0) {
          this.styles.clear();
        } else if (code === 1 || code === 3 || code === 4) {
          this.styles.add(`ansi-${code}`);
        } else if (code === 22 || code === 23 || code === 24) {
          this.styles.delete(`ansi-${code === 22 ? 1 : code - 20}`);
        } else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97) || code === 39) {
          for (const style of [...this.styles]) if (style.startsWith("ansi-c")) this.styles.delete(style);
          if (code !== 39) this.styles.add(`ansi-c${code % 10}`);
        }
      }
    }
  }

  class Live {
    constructor(root) {
      this.root = root;
      this.find = (name) => root.querySelector(`[data-live="${name}"]`);
      this.box = this.find("log");
      this.follows = true;
      this.tries = 0;
      this.place = null;
      this.box.addEventListener("scroll", () => {
        this.follows = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 24;
        this.press();
      });
      this.find("follow")?.addEventListener("click", () => {
        this.follows = !this.follows;
        this.press();
        this.scroll();
      });
      this.find("read-out")?.addEventListener("click", (click) => {
        const is = this.box.getAttribute("aria-live") !== "polite";
        this.box.setAttribute("aria-live", is ? "polite" : "off");
        click.target.setAttribute("aria-pressed", String(is));
      });
      this.listen("logs");
      if (this.find("events")) this.listen("events");
    }

    press() {
      this.find("follow")?.setAttribute("aria-pressed", String(this.follows));
    }

    scroll() {
      if (this.follows) this.box.scrollTop = this.box.scrollHeight;
    }

    async listen(what) {
      try {
        const answer = await fetch(`${this.root.dataset.liveTask}${what}/stream/`, { headers: { Accept: "application/json" } });
        if (!answer.ok) throw new Error(String(answer.status));
        const { url } = await answer.json();
        this.open(what, new URL(url, document.baseURI));
      } catch (problem) {
        this.later(what, problem);
      }
    }

    later(what) {
      this.tries += 1;
      if (this.tries > 20) {
        this.say("The stream is away. Reload the page to go on.");
        return;
      }
      setTimeout(() => this.listen(what), Math.min(30000, 500 * 2 ** this.tries) * (0.5 + Math.random()));
    }

    open(what, url) {
      if (what === "events") {
        if (this.lastEvent || this.root.dataset.liveAfter) url.searchParams.set("after", this.lastEvent || this.root.dataset.liveAfter);
      } else if (this.place) {
        url.searchParams.set("attempt", this.place.attempt);
        url.searchParams.set("offset", this.place.next);
      } else {
        url.searchParams.set("tail", TAIL_BYTES);
      }
      const source = new EventSource(url);
      const on = (kind, take) => source.addEventListener(kind, (message) => {
        this.tries = 0;
        take(JSON.parse(message.data), message.lastEventId);
      });
      if (what === "events") {
        on("event", (event, id) => this.happened(event, id));
        on("end", () => source.close());
      } else {
        on("log", (piece) => this.log(piece));
        on("task", (task) => this.task(task));
        on("attempt", (attempt) => this.attempt(attempt));
        on("end", (task) => {
          source.close();
          this.end(task);
        });
      }
      source.addEventListener("error", () => {
        // A browser tries again by itself, but not with a ticket that is over.
        if (source.readyState === EventSource.CLOSED) this.later(what);
      });
    }

    log(piece) {
      if (!this.screen) this.screen = new Screen(this.box);
      if (this.place && this.place.attempt !== piece.attempt) this.screen.write(`\x1b[0m\n\x1b[1m— attempt ${piece.number} —\x1b[0m\n`);
      if (!this.place && piece.offset > 0) this.screen.write(`\x1b[3m… the first ${piece.offset} bytes are left out here\x1b[0m\n`);
      this.place = piece;
      this.screen.write(piece.text);
      this.scroll();
    }

    task(task) {
      this.say(task.is_cancelling ? "Cancelling: its host ends the program." : this.words(task.status));
    }

    attempt(attempt) {
      const bar = this.find("bar"), words = this.find("progress"), progress = attempt.progress;
      if (!progress || typeof progress !== "object") return;
      const { step, of } = progress;
      const is = Number.isFinite(step) && Number.isFinite(of) && of > 0;
      bar.hidden = !is;
      if (is) {
        bar.max = of;
        bar.value = Math.min(step, of);
      }
      const metrics = Object.entries(progress.metrics || {}).filter(([, value]) => Number.isFinite(value)).slice(0, 8);
      const said = metrics.map(([name, value]) => `${name.slice(0, 40)} ${Number(value.toPrecision(4))}`);
      words.textContent = [...(is ? [`step ${step} of ${of}`] : []), ...said].join(" · ");
    }

    happened(event, id) {
      this.lastEvent = id;
      const item = document.createElement("li");
      const time = document.createElement("time");
      time.dateTime = event.at;
      time.textContent = event.at.slice(11, 19);
      const moved = event.from_status === event.to_status ? "" : `${event.to_status}: `;
      item.append(time, ` ${moved}${event.reason || `by ${event.by}`}`);
      this.find("events").append(item);
    }

    end(task) {
      const code = task.exit_code === null ? "" : ` with exit code ${task.exit_code}`;
      this.say(`${this.words(task.status)}${code}. `);
      if (this.root.hasAttribute("data-live-over")) return;
      const again = document.createElement("a");
      again.href = location.href;
      again.textContent = "Show what it cost and what came of it";
      this.find("status").append(again);
    }

    words(status) {
      return this.root.getAttribute(`data-live-${status.toLowerCase()}`) || status;
    }

    say(sentence) {
      const status = this.find("status");
      if (status.textContent !== sentence) status.textContent = sentence;
    }
  }

  // The admin loads its scripts before there is a body.
  const begin = () => document.querySelectorAll("[data-live-task]").forEach((root) => new Live(root));
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
