// The connection to `GET /watch`. It reconnects automatically, and reports when the server is down.

const SILENCE = 12000; // ms without an event after which the server hangs: it sends one every 5 s

export class Feed {
  /** @type {EventSource | undefined} */
  #source;
  #heard = Date.now();
  #hear;
  #lost;

  /**
   * @param {(message: Message) => void} hear @param {(words: string) => void} lost gets a text if the server is
   * down
   */
  constructor(hear, lost) {
    this.#hear = hear;
    this.#lost = lost;
    this.#listen();
    setInterval(() => {
      if (this.#source?.readyState === EventSource.OPEN && Date.now() - this.#heard > SILENCE) {
        lost(`The server at ${location.host} does not answer. This page is waiting for it.`);
      }
    }, 1000);
  }

  #listen() {
    const source = new EventSource("/watch");
    this.#source = source;
    source.addEventListener("message", ({ data }) => {
      this.#heard = Date.now();
      this.#hear(JSON.parse(data));
    });
    source.addEventListener("error", () => {
      this.#lost(`The server at ${location.host} has disconnected. This page reconnects automatically.`);
      // The browser retries a lost connection, but not an answer that is not a stream.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.#listen(), 1000);
    });
  }
}
