// Questions to the worker: one at a time, and of those that wait only the newest is asked.

export class Asking {
  constructor() {
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.worker.addEventListener("message", ({ data }) => this.hear(data));
    this.worker.addEventListener("error", (event) => this.hear({ error: event.message || "the worker did not start" }));
    this.asked = null; // the question that the worker is at, with what is to be done with its answer
    this.next = null;
    this.id = 0;
  }

  // Asks a question; `then` is called with its answer, unless a newer question comes before it is asked.
  ask(question, then) {
    this.next = { question: { ...question, id: ++this.id }, then };
    if (!this.asked) this.send();
  }

  send() {
    [this.asked, this.next] = [this.next, null];
    if (this.asked) this.worker.postMessage(this.asked.question);
  }

  hear(answer) {
    const { then } = this.asked ?? {};
    this.asked = null;
    then?.(answer);
    if (!this.asked) this.send();
  }
}
