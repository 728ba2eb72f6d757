// The queue of a read stream against an array, over random histories long enough to go round and to
// grow.

import { describe, expect, it } from "vitest";
import { Fifo } from "../../bindings/shared/fifo.ts";
import { Random, seed } from "../support/random.ts";

describe("a queue", () => {
  it("is an array from which the first is taken, whatever the order of its calls", () => {
    const random = new Random(seed);
    const queue = new Fifo<number>();
    let model: number[] = [];
    for (let step = 0; step < 20_000; step += 1) {
      const choice = random.below(100);
      if (choice < 45) {
        queue.push(step);
        model.push(step);
      } else if (choice < 92) {
        expect(queue.take()).toBe(model.shift());
      } else if (choice < 99) {
        const items = Array.from({ length: random.below(20) }, (_, index) => step + index);
        queue.putBack(items);
        model = [...items, ...model];
      } else {
        expect(queue.clear()).toEqual(model);
        model = [];
      }
      expect(queue.length).toBe(model.length);
      expect(queue.first).toBe(model[0]);
      const place = random.below(40);
      expect(queue.at(place), `place ${place}`).toBe(model[place]);
    }
    expect(queue.at(-1)).toBeUndefined();
  });
});
