// Crashes in thousands of operations of long histories, over several lives of a data directory, and
// many images of every operation of short ones. The killed process of test/durability/kill.test.ts
// belongs to this run too, with more kills.

import { expect, test } from "vitest";
import { campaign } from "../durability/crashes.ts";
import { nothingYet } from "../durability/history.ts";
import { seed } from "../support/random.ts";

const LONG_HISTORIES = 60;
const SHORT_HISTORIES = 40;

test("crashes of long histories leave the last checkpoint", async () => {
  const occurred = nothingYet();
  const count = { images: 0 };
  for (let turn = 0; turn < LONG_HISTORIES; turn += 1) {
    const plan = { seed: seed + 1000 + turn, turns: 3000, lives: 4, often: 4 };
    await campaign(plan, occurred, count);
  }
  process.stdout.write(`${count.images} crashes, ${JSON.stringify(occurred)}\n`);
  expect(count.images).toBeGreaterThan(20_000);
});

test("every crash of short histories does, in ten images each", async () => {
  const count = { images: 0 };
  for (let turn = 0; turn < SHORT_HISTORIES; turn += 1) {
    const plan = { seed: seed + 2000 + turn, turns: 120, often: 100, images: 10 };
    await campaign(plan, nothingYet(), count);
  }
  process.stdout.write(`${count.images} crashes\n`);
  expect(count.images).toBeGreaterThan(20_000);
});
