/**
 * First in, first out, for queues that are short and always in motion: `Array.shift` moves all that
 * is behind, by a call out of compiled code, which a page of a scan would pay twice.
 *
 *   items  ┌───┬───┬───┬───┬───┬───┬───┬───┐   a power of two; the queue goes round
 *          │ f │ g │   │   │ b │ c │ d │ e │
 *          └───┴───┴───┴───┴─▲─┴───┴───┴───┘
 *                            first
 *
 * PostgreSQL: src/backend/storage/aio/read_stream.c, struct ReadStream: buffers (a ring there too)
 */

const LEAST = 16;

/** A queue. @internal */
export class Fifo<Item> {
  #items: (Item | undefined)[] = new Array(LEAST).fill(undefined);
  #first = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** What comes first, or undefined. */
  get first(): Item | undefined {
    return this.#length === 0 ? undefined : this.#items[this.#first];
  }

  /** What stands at a place, counted from the first; undefined if nothing does. */
  at(place: number): Item | undefined {
    if (place < 0 || place >= this.#length) return undefined;
    return this.#items[(this.#first + place) & (this.#items.length - 1)];
  }

  push(item: Item): void {
    if (this.#length === this.#items.length) this.#grow();
    this.#items[(this.#first + this.#length) & (this.#items.length - 1)] = item;
    this.#length += 1;
  }

  /** Takes what comes first, or undefined. */
  take(): Item | undefined {
    if (this.#length === 0) return undefined;
    const item = this.#items[this.#first];
    this.#items[this.#first] = undefined;
    this.#first = (this.#first + 1) & (this.#items.length - 1);
    this.#length -= 1;
    return item;
  }

  /** These come before all others, in their order. */
  putBack(items: readonly Item[]): void {
    for (let place = items.length - 1; place >= 0; place -= 1) {
      if (this.#length === this.#items.length) this.#grow();
      this.#first = (this.#first - 1) & (this.#items.length - 1);
      this.#items[this.#first] = items[place];
      this.#length += 1;
    }
  }

  /** Takes all, in their order. */
  clear(): Item[] {
    const items: Item[] = [];
    while (this.#length > 0) items.push(this.take() as Item);
    return items;
  }

  #grow(): void {
    const { length } = this.#items;
    const items = Array.from({ length }, (_, place) => this.at(place));
    this.#items = [...items, ...new Array(length).fill(undefined)];
    this.#first = 0;
  }
}
